//! What may be wrong with a database, and what an error of a call means.

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_postgres_core::{EXISTS_ALREADY, is_refusal};

/// Why a store cannot be opened or migrated. No message holds the URL.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not answer.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// It answers, and lets nobody of this name and password in.
    #[error("the database refuses the login: {0}; check user and password in ENV_DATABASE_URL")]
    Login(String),
    /// It answers, and refuses this.
    #[error("the database refuses: {0}")]
    Refused(String),
    /// The connection cannot be made safe.
    #[error(
        "TLS to the database: {0}; sslrootcert=PATH in ENV_DATABASE_URL names the certificates that \
         are trusted, sslmode=disable does without TLS"
    )]
    Tls(String),
    /// It is of an earlier version.
    #[error("the database has schema version {found}; {known} is needed: run `driftlock migrate`")]
    NotMigrated {
        /// Its version.
        found: i32,
        /// The one of this program.
        known: i32,
    },
    /// A later version of the gateway migrated it.
    #[error("the database has schema version {found}; this program knows {known}: use a later one")]
    TooNew {
        /// Its version.
        found: i32,
        /// The newest that this program knows.
        known: i32,
    },
    /// It was migrated by other texts than this program has.
    #[error(
        "the database was migrated by other texts of {}; a migration that was applied is not changed: \
         restore the files, or use the program that applied them", .0.join(", ")
    )]
    Changed(Vec<&'static str>),
    /// The server is too old.
    #[error(
        "the server is PostgreSQL {0}; 15 or later is needed: apt-get install postgresql, or upgrade \
         the project's database"
    )]
    TooOld(i32),
    /// A migration failed; nothing of it remains.
    #[error("migration {name}: {message}")]
    Migration {
        /// Which.
        name: &'static str,
        /// What the database says.
        message: String,
    },
    /// The system refuses a thread or an event loop.
    #[error("the system refuses what the store needs: {0}")]
    System(#[from] std::io::Error),
}

impl OpenError {
    /// What an error while connecting or looking means.
    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
    pub(crate) fn of(error: tokio_postgres::Error) -> Self {
        let text = full(&error);
        match error.as_db_error() {
            // Invalid authorization specification, of which a wrong password is one.
            Some(told) if told.code().code().starts_with("28") => {
                Self::Login(told.message().to_owned())
            }
            Some(told) => Self::Refused(told.message().to_owned()),
            None if text.contains("TLS") || text.contains("certificate") => Self::Tls(text),
            None => Self::Away(text),
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone)]
pub(crate) enum CallError {
    /// The database refused these values: nothing happened, and nothing will.
    Refused(Fault),
    /// Whether anything happened is not known.
    Unknown(Fault),
}

impl CallError {
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Refused(fault) | Self::Unknown(fault) => fault,
        }
    }

    pub(crate) fn unknown(cause: impl std::fmt::Display) -> Self {
        Self::Unknown(Fault::store(cause))
    }

    /// The message of the database, without the detail that may quote values.
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else { return Self::unknown(full(error)) };
        let cause = format!("{} ({})", told.message(), told.code().code());
        match told.code() {
            code if code.code() == EXISTS_ALREADY => {
                Self::Refused(Fault::new(FaultKind::Conflict, cause))
            }
            code if is_refusal(code.code()) => {
                Self::Refused(Fault::new(FaultKind::StoreRefused, cause))
            }
            _ => Self::unknown(cause),
        }
    }
}

/// An error with what caused it.
pub(crate) fn full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
