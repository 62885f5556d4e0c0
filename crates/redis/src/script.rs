//! The script that checks both limits and then takes from both or from neither, in one round trip.
//!
//! Both keys of a request have the organization as their hash tag, so that a cluster keeps them in
//! the same slot.

use std::time::Duration;

use driftlock_domain::fleet::{FleetAnswer, Share, Verdict};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::limit::Limit;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind};

/// The script's text.
pub(crate) const SCRIPT: &str = include_str!("take.lua");

/// The digest by which a server knows the loaded script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded(String);

/// Loads the script into a server.
pub(crate) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<Loaded> {
    redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(connection).await.map(Loaded)
}

/// Runs the script by its digest, or by its text if the server has lost it.
pub(crate) async fn take(
    connection: &mut MultiplexedConnection,
    loaded: &Loaded,
    organization: OrganizationId,
    share: &Share,
) -> RedisResult<FleetAnswer> {
    let by_digest = command("EVALSHA", &loaded.0, organization, share);
    let answer = match by_digest.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            command("EVAL", SCRIPT, organization, share).query_async(connection).await
        }
        answer => answer,
    };
    answer.and_then(fleet_answer)
}

fn command(name: &str, script: &str, organization: OrganizationId, share: &Share) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(1 + usize::from(share.organization_limit.is_some()));
    let bucket = format!("driftlock:rate:{{{organization}}}");
    command.arg(format!("{bucket}:{}", share.key));
    if share.organization_limit.is_some() {
        command.arg(bucket);
    }
    let numbers = |limit: Limit| [limit.request_micros(), limit.burst_micros()];
    command.arg(&numbers(share.key_limit)[..]);
    if let Some(limit) = share.organization_limit {
        command.arg(&numbers(limit)[..]);
    }
    command
}

fn fleet_answer((used_up, key, organization): (u8, u64, u64)) -> RedisResult<FleetAnswer> {
    let verdict = match used_up {
        0 => Verdict::Taken,
        1 => Verdict::KeyUsedUp,
        2 => Verdict::OrganizationUsedUp,
        _ => return Err(RedisError::from((ErrorKind::UnexpectedReturnType, "no such key"))),
    };
    Ok(FleetAnswer {
        verdict,
        key_ahead: Duration::from_micros(key),
        organization_ahead: Duration::from_micros(organization),
    })
}

#[cfg(test)]
mod tests;
