//! Errors of opening a database, and of calls to it.

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_postgres_core::{EXISTS_ALREADY, is_refusal};

/// Why a store cannot be opened or migrated. No message contains the URL.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database does not answer.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// The database refuses the user or the password.
    #[error("the database refuses the login: {0}; check user and password in ENV_DATABASE_URL")]
    Login(String),
    /// The database answers with another error.
    #[error("the database refuses: {0}")]
    Refused(String),
    /// TLS failed.
    #[error(
        "TLS to the database failed: {0}; in ENV_DATABASE_URL, sslrootcert=PATH names the trusted \
         certificates, and sslmode=disable turns TLS off"
    )]
    Tls(String),
    /// The schema has an earlier version.
    #[error("the database has schema version {found}; {known} is needed: run `driftlock migrate`")]
    NotMigrated {
        /// The database's version.
        found: i32,
        /// The program's version.
        known: i32,
    },
    /// A later version of the gateway migrated the database.
    #[error("the database has schema version {found}; this program knows {known}: use a later one")]
    TooNew {
        /// The database's version.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// Applied migrations differ from those of this program.
    #[error(
        "the database was migrated by other texts of {}; an applied migration must not change: \
         restore the files, or use the program that applied them", .0.join(", ")
    )]
    Changed(Vec<&'static str>),
    /// The server is too old.
    #[error(
        "the server is PostgreSQL {0}; 15 or later is needed: apt-get install postgresql, or upgrade \
         the project's database"
    )]
    TooOld(i32),
    /// A migration failed and was rolled back.
    #[error("migration {name}: {message}")]
    Migration {
        /// The migration's name.
        name: &'static str,
        /// The database's message.
        message: String,
    },
    /// A thread or an event loop cannot be started.
    #[error("cannot start the store's thread: {0}")]
    System(#[from] std::io::Error),
}

impl OpenError {
    /// Classifies an error of connecting or of a query.
    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
    pub(crate) fn of(error: tokio_postgres::Error) -> Self {
        let text = full(&error);
        match error.as_db_error() {
            // Class 28: invalid authorization specification, including a wrong password.
            Some(refusal) if refusal.code().code().starts_with("28") => {
                Self::Login(refusal.message().to_owned())
            }
            Some(refusal) => Self::Refused(refusal.message().to_owned()),
            None if text.contains("TLS") || text.contains("certificate") => Self::Tls(text),
            None => Self::Away(text),
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone)]
pub(crate) enum CallError {
    /// The database refused the values: nothing happened, and a repetition is refused as well.
    Refused(Fault),
    /// It is unknown whether the call had its effect.
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

    /// Classifies an error of a call. Keeps the database's message, but not its detail, which may
    /// quote values.
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else { return Self::unknown(full(error)) };
        let cause = format!("{} ({})", refusal.message(), refusal.code().code());
        match refusal.code() {
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

/// An error with its causes.
pub(crate) fn full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
