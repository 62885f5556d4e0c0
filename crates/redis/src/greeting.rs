//! Finds out a server's product, version, and whether it is a node of a cluster.

use std::collections::HashMap;
use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

/// The oldest supported major version of Redis. Every Valkey is newer.
const REDIS_MIN: u32 = 6;

/// What a server reports about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// `redis`, `valkey`, or another name that the server reports.
    name: String,
    /// The version, such as `7.0.15`; `None` if the server does not report it.
    version: Option<String>,
    /// Whether it is a node of a cluster, which accepts only the buckets of its own slots.
    pub(crate) is_cluster: bool,
}

impl Greeting {
    /// Whether it is a Redis older than the oldest supported one.
    pub(crate) fn is_too_old(&self) -> bool {
        let major = self.version.as_ref().and_then(|version| version.split('.').next());
        let major = major.and_then(|major| major.parse::<u32>().ok());
        self.name == "redis" && major.is_some_and(|major| major < REDIS_MIN)
    }

    /// The error text for a Redis that is too old.
    pub(crate) fn too_old(&self) -> String {
        format!("it runs {self}; Redis {REDIS_MIN} or later is needed, or a Valkey")
    }
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &*self.name {
            "redis" => "Redis",
            "valkey" => "Valkey",
            other => other,
        };
        match &self.version {
            Some(version) => write!(f, "{name} {version}"),
            None => f.write_str(name),
        }
    }
}

/// Asks the server by `HELLO`, which needs no permission. Servers before Redis 6 do not know
/// `HELLO`; they have no permissions and are asked by `INFO`.
pub(crate) async fn ask(connection: &mut MultiplexedConnection) -> RedisResult<Greeting> {
    let answer = redis::cmd("HELLO").query_async::<HashMap<String, Value>>(connection).await;
    match answer {
        Ok(answer) => Ok(Greeting {
            name: text(&answer, "server").unwrap_or("redis").to_owned(),
            version: text(&answer, "version").map(str::to_owned),
            is_cluster: text(&answer, "mode") == Some("cluster"),
        }),
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) => {
            let info = redis::cmd("INFO").arg("server").query_async::<String>(connection).await;
            // A proxy that knows neither command is accepted: loading the script tests it.
            Ok(of_info(&info.unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

fn text<'a>(answer: &'a HashMap<String, Value>, name: &str) -> Option<&'a str> {
    match answer.get(name)? {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn of_info(info: &str) -> Greeting {
    let line = |name: &str| {
        let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(|value| value.trim().to_owned())
    };
    Greeting {
        name: "redis".to_owned(),
        version: line("redis_version"),
        is_cluster: line("redis_mode").is_some_and(|mode| mode == "cluster"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_redis_is_named_with_what_is_needed() {
        let greeting = of_info("# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone\r\n");
        assert!(greeting.is_too_old() && !greeting.is_cluster);
        let answer = greeting.too_old();
        assert!(answer.contains("Redis 5.0.14; Redis 6 or later"), "{answer}");
    }

    #[test]
    fn a_server_that_is_new_enough_or_reports_no_version_is_accepted() {
        for (name, version) in [
            ("redis", Some("6.0.0")),
            ("redis", Some("10.1")),
            ("valkey", Some("1.0")),
            ("redis", None),
        ] {
            let version = version.map(str::to_owned);
            let greeting = Greeting { name: name.to_owned(), version, is_cluster: false };
            assert!(!greeting.is_too_old(), "{greeting}");
        }
        assert_eq!(of_info("-ERR").version, None);
    }
}
