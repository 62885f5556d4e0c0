//! What a server says of itself: which one it is, how old, and whether it is a cluster's node.

use std::collections::HashMap;
use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

/// The oldest Redis that the documentation promises to work. Every Valkey is later.
const REDIS_MIN: u32 = 6;

/// A server's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// `redis`, `valkey`, or how else it calls itself.
    name: String,
    /// Such as `7.0.15`; none where it may not be asked.
    version: Option<String>,
    /// It takes the buckets of its own slots only.
    pub(crate) is_cluster: bool,
}

impl Greeting {
    /// Whether it is a Redis from before the oldest one that works.
    pub(crate) fn is_too_old(&self) -> bool {
        let major = self.version.as_ref().and_then(|version| version.split('.').next());
        let major = major.and_then(|major| major.parse::<u32>().ok());
        self.name == "redis" && major.is_some_and(|major| major < REDIS_MIN)
    }

    /// What is said of one that is.
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

/// Asks it: by `HELLO`, which needs no permission. Servers from before Redis 6 do not know that,
/// and have no permissions.
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
            // A proxy that knows neither is taken as it is: the script will tell.
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
    fn what_is_new_enough_or_says_nothing_is_taken() {
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
