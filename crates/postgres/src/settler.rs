//! Group commit of settlements.
//!
//! One batch is in progress at a time; settlements that arrive meanwhile form the next batch. So
//! under load one round trip and one commit serve many settlements, and a single settlement is sent
//! at once. If the database refuses a batch because of one settlement's values, each settlement is
//! sent alone. That is safe, since a usage id counts once.

use driftlock_domain::denial::Fault;
use driftlock_postgres_core::SETTLE;
use futures_channel::oneshot;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use crate::error::CallError;
use crate::pool::Database;

/// The maximum number of settlements in a batch.
const BATCH_MAX: usize = 512;
/// The maximum size of the answers in a batch, as bytes of hex. A single larger answer is sent
/// alone.
const ANSWERS_MAX: usize = 4 << 20;

pub(crate) struct Waiting {
    pub(crate) settlement: Value,
    pub(crate) reply: oneshot::Sender<Result<Value, Fault>>,
}

pub(crate) async fn run(database: Database, mut waiting: Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        while !batch.is_empty() {
            let (settlements, replies): (Vec<_>, Vec<_>) =
                batch.drain(..portion(&batch)).map(|one| (one.settlement, one.reply)).unzip();
            let outcomes = settle(&database, &settlements).await;
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Sending fails if the caller no longer waits.
                let _ = reply.send(outcome);
            }
        }
    }
}

/// The number of settlements for one call: as many as the bound on answers allows, at least one.
fn portion(batch: &[Waiting]) -> usize {
    let mut bytes = 0;
    let fits = |one: &&Waiting| {
        bytes += one.settlement["answer"]["body"].as_str().map_or(0, str::len);
        bytes <= ANSWERS_MAX
    };
    batch.iter().take_while(fits).count().max(1)
}

async fn settle(database: &Database, settlements: &[Value]) -> Vec<Result<Value, Fault>> {
    match batch(database, settlements).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(CallError::Refused(_)) if settlements.len() > 1 => {
            let mut outcomes = Vec::with_capacity(settlements.len());
            for one in settlements {
                let outcome = batch(database, std::slice::from_ref(one)).await;
                outcomes.push(outcome.map(|mut one| one.remove(0)).map_err(CallError::fault));
            }
            outcomes
        }
        Err(error) => vec![Err(error.fault()); settlements.len()],
    }
}

/// Settles all in one call; the outcome of each, in order.
async fn batch(database: &Database, settlements: &[Value]) -> Result<Vec<Value>, CallError> {
    let answer = database.call(SETTLE, &json!({ "settlements": settlements })).await?;
    let mut outcomes = vec![Value::Null; settlements.len()];
    for pair in answer.as_array().into_iter().flatten() {
        let place = pair[0].as_u64().and_then(|place| usize::try_from(place).ok());
        if let Some(outcome) = place.and_then(|place| outcomes.get_mut(place)) {
            *outcome = pair[1].clone();
        }
    }
    if outcomes.iter().any(Value::is_null) {
        return Err(CallError::unknown("the database did not answer for every settlement"));
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(answer_bytes: usize) -> Waiting {
        let settlement = match answer_bytes {
            0 => json!({ "answer": null }),
            bytes => json!({ "answer": { "body": "0".repeat(bytes) } }),
        };
        Waiting { settlement, reply: oneshot::channel().0 }
    }

    #[test]
    fn a_batch_takes_so_many_bytes_of_answers_at_once() {
        let plain: Vec<_> = (0..BATCH_MAX).map(|_| waiting(0)).collect();
        assert_eq!(portion(&plain), BATCH_MAX);
        let half = ANSWERS_MAX / 2;
        let kept = [waiting(0), waiting(half), waiting(half), waiting(0), waiting(1), waiting(0)];
        assert_eq!(portion(&kept), 4);
        assert_eq!(
            portion(&[waiting(ANSWERS_MAX + 1), waiting(0)]),
            1,
            "it must be sent some time"
        );
    }
}
