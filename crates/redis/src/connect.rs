//! Makes a connection to Redis, and tests that it runs the script in time.

use std::time::Duration;

use driftlock_domain::fleet::Share;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::limit::Limit;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind};
use tokio::time::timeout;

use crate::greeting::{self, Greeting};
use crate::script::{self, Loaded};
use crate::url::RedisUrl;

/// The timeout for connecting and loading the script.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(1);
const CLUSTER: &str = "it is a node of a cluster; connect to a proxy in front of the cluster";
/// The most requests of one core that wait at the same time: a server answers that many within
/// about 50 ms.
pub(crate) const WAITING_MAX: usize = 4_096;

/// A connection on which the script has run.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) script: Loaded,
    pub(crate) greeting: Greeting,
}

/// Why the server cannot be used, in a text without secrets.
#[derive(Debug)]
pub(crate) enum NotUsable {
    /// It is unavailable; a later attempt may succeed.
    Unavailable(String),
    /// It refuses until the configuration of the gateway or of the server is changed.
    Refused(String),
}

impl NotUsable {
    pub(crate) fn cause(&self) -> &str {
        let (Self::Unavailable(cause) | Self::Refused(cause)) = self;
        cause
    }
}

/// Connects and probes, so that missing permissions or a read-only server are found before the
/// first request.
pub(crate) async fn connect(url: &RedisUrl, answer_max: Duration) -> Result<Connected, NotUsable> {
    let opened = async {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING_MAX);
        let client = url.client();
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let greeting = greeting::ask(&mut connection).await?;
        if greeting.is_cluster || greeting.is_too_old() {
            return Ok(Err(greeting));
        }
        let script = script::load(&mut connection).await?;
        Ok::<_, RedisError>(Ok(Connected { connection, script, greeting }))
    };
    let opened = timeout(CONNECT_MAX, opened).await.map_err(|_| late("connecting", CONNECT_MAX))?;
    let mut opened = opened.map_err(|error| not_usable(&error))?.map_err(|greeting| {
        let cause = if greeting.is_cluster { CLUSTER.to_owned() } else { greeting.too_old() };
        NotUsable::Refused(cause)
    })?;
    probe(&mut opened, answer_max).await?;
    Ok(opened)
}

/// Takes one request from a limit that no organization has, within this time.
pub(crate) async fn probe(opened: &mut Connected, answer_max: Duration) -> Result<(), NotUsable> {
    let share = Share {
        key: KeyId::from_bytes([0; 16]),
        key_limit: Limit::per_minute(u32::MAX),
        organization_limit: None,
    };
    let unused = OrganizationId::from_bytes([0; 16]);
    let taken = script::take(&mut opened.connection, &opened.script, unused, &share);
    let taken = timeout(answer_max, taken).await.map_err(|_| late("an answer", answer_max))?;
    taken.map(drop).map_err(|error| not_usable(&error))
}

/// The cause of an error, in a text without secrets: the library's text, or the server's code.
pub(crate) fn cause(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::Server(kind) => format!("the server reports {}", server_code(error, kind)),
        ErrorKind::AuthenticationFailed => "the server rejects the credentials".to_owned(),
        ErrorKind::Io => format!("{error}"),
        _ => error.code().map_or_else(|| error.category().to_owned(), str::to_owned),
    }
}

pub(crate) fn late_cause(what: &str, max: Duration) -> String {
    format!("{what} took more than {} ms", max.as_millis())
}

fn late(what: &str, max: Duration) -> NotUsable {
    NotUsable::Unavailable(late_cause(what, max))
}

fn not_usable(error: &RedisError) -> NotUsable {
    let cause = cause(error);
    let is_refused = match error.kind() {
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::Moved) => true,
        _ => matches!(error.code(), Some("NOAUTH" | "WRONGPASS")),
    };
    if is_refused { NotUsable::Refused(cause) } else { NotUsable::Unavailable(cause) }
}

fn server_code(error: &RedisError, kind: ServerErrorKind) -> &str {
    match kind {
        ServerErrorKind::NoPerm => "NOPERM: the user may not run scripts on driftlock:rate:*",
        ServerErrorKind::Moved => CLUSTER,
        _ => error.code().unwrap_or("ERR"),
    }
}
