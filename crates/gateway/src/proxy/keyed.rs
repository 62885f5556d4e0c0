//! A metered request under an idempotency key (I3): charged at most once, replayed when repeated.
//!
//! The key is claimed together with rate limits and quota, before the payload is read: what is denied
//! costs no memory, and one key has one payload in memory at most. What was kept of an earlier request
//! is looked up after that. With a key a client's disconnect cancels nothing once the payload is read:
//! everything goes on in the background. The answer is read before it is paid for, so that one commit charges
//! and keeps it. A repetition is replayed; one whose answer was too great, or took too long, goes to
//! the backend again, uncharged, under the same receipt.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use driftlock_domain::denial::{Denial, Fault, FaultKind};
use driftlock_domain::filter::declared_length;
use driftlock_domain::idempotency::{
    ANSWER_BYTES_MAX, ANSWER_WITHIN, Claim, Claimed, Fingerprint, Kept, KeptAnswer,
    PAYLOAD_BYTES_MAX, fingerprint, scoped,
};
use driftlock_domain::response::is_framing;
use http::header::CONTENT_TYPE;
use http::request::Parts as Head;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::admit::{admit, admit_uncharged, lifetime};
use super::call::{Admitted, Answered, Call, Forwarded, Settled};
use super::{forward, respond, settle};
use crate::gateway::{Answer, Gateway, ResponseBody};
use crate::ports::{Clock, Collected, Platform, Refusal, Upstream, UsageRecords};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request whose payload is in memory, and what it claims.
struct Keyed {
    call: Rc<Call>,
    head: Head,
    payload: Bytes,
    claim: Claim,
}

pub(super) async fn keyed<P: Platform>(
    gateway: &Gateway<P>,
    call: Rc<Call>,
    request: Forwarded<P>,
    key: &str,
) -> Answer<P> {
    let Forwarded { head, body, body_bytes_max } = request;
    let max = body_bytes_max.min(PAYLOAD_BYTES_MAX);
    if declared_length(&head.headers).is_some_and(|length| length > max) {
        return Err(Denial::BodyTooLarge(max).into());
    }
    let key = scoped(call.organization(), &call.route.label, key);
    let read = async |call: Rc<Call>| -> Result<Keyed, Refusal> {
        let payload = gateway.upstream.collect(body, max, &gateway.shared.buffers).await?;
        let claim = Claim { key, fingerprint: fingerprint_of(&head, &payload) };
        Ok(Keyed { call, head, payload, claim })
    };
    match admit(gateway, Rc::clone(&call), Some(key)).await {
        Ok(admitted) => {
            let keyed = read(call).await?;
            gateway.uncancelled(run(admitted, keyed)).await
        }
        // Replay comes before the quota: what was paid for is given again.
        Err(Refusal::Denied(
            denial @ (Denial::QuotaExceeded { .. } | Denial::QuotaHeld),
            limits,
        )) => match gateway.usage.kept(call.organization(), &key, gateway.clock.now()).await? {
            None => Err(Refusal::Denied(denial, limits)),
            Some(kept) => {
                let admitted = admit_uncharged(gateway, Rc::clone(&call)).await?;
                let keyed = read(call).await?;
                is_same(&keyed, kept.fingerprint)?;
                gateway.uncancelled(repeat(admitted, keyed, kept)).await
            }
        },
        Err(refusal) => Err(refusal),
    }
}

/// The payload is in memory: from here on nothing depends on the client.
async fn run<P: Platform>(mut admitted: Admitted<P>, keyed: Keyed) -> Answer<P> {
    if let Some(held) = &mut admitted.held {
        held.stands_for(keyed.claim.fingerprint);
    }
    match claim(&admitted, &keyed).await? {
        None => charge(admitted, keyed).await,
        Some(kept) => repeat(admitted, keyed, kept).await,
    }
}

/// Claims the key beyond this node; what was kept of it before, if it was settled.
async fn claim<P: Platform>(
    admitted: &Admitted<P>,
    keyed: &Keyed,
) -> Result<Option<Kept>, Refusal> {
    // Only what is charged runs under a key.
    let (gateway, Some(held)) = (&admitted.gateway, &admitted.held) else { return Ok(None) };
    let lifetime = lifetime(&keyed.call.route, &gateway.shared.config.timeouts);
    let (organization, usage, now) =
        (keyed.call.organization(), held.hold.usage, gateway.clock.now());
    match gateway.usage.claim(organization, &keyed.claim, usage, lifetime, now).await? {
        Claimed::Own => Ok(None),
        Claimed::Kept(kept) => is_same(keyed, kept.fingerprint).map(|()| Some(kept)),
        Claimed::InFlight(usage, fingerprint) => {
            is_same(keyed, fingerprint)?;
            Err(Denial::IdempotencyInFlight(usage).into())
        }
    }
}

fn is_same(keyed: &Keyed, fingerprint: Fingerprint) -> Result<(), Refusal> {
    if fingerprint == keyed.claim.fingerprint {
        return Ok(());
    }
    Err(Denial::IdempotencyMismatch.into())
}

/// The first time: charged and kept in one commit.
async fn charge<P: Platform>(admitted: Admitted<P>, keyed: Keyed) -> Answer<P> {
    let (claim, gateway) = (keyed.claim, admitted.gateway.clone());
    let (organization, usage) =
        (keyed.call.organization(), admitted.held.as_ref().map(|held| held.hold.usage));
    let outcome = settled(admitted, keyed).await;
    let is_kept = outcome.as_ref().is_ok_and(|settled| settled.receipt.is_some());
    // Nothing is kept: the next one under this key begins anew, wherever it comes in.
    if !is_kept
        && let Some(usage) = usage
        && let Err(fault) = gateway.usage.unclaim(organization, &claim.key, usage).await
    {
        tracing::warn!(cause = fault.cause, "an idempotency key is free only when its claim ends");
    }
    outcome.map(respond::respond)
}

async fn settled<P: Platform>(admitted: Admitted<P>, keyed: Keyed) -> Result<Settled<P>, Refusal> {
    let Answered { admitted, response } = forward::forward(admitted, forwarded(keyed)).await?;
    let (response, answer) = collected(&admitted.gateway, &admitted.call, response).await?;
    settle::settle(Answered { admitted, response }, answer.map(Arc::new)).await
}

async fn repeat<P: Platform>(admitted: Admitted<P>, keyed: Keyed, kept: Kept) -> Answer<P> {
    let Admitted { gateway, call, limits, held } = admitted;
    if let Some(answer) = kept.answer {
        drop(held);
        let mut response = replay::<P>(answer);
        respond::head(response.headers_mut(), &limits, Some(kept.usage));
        let row = call.audit(gateway.clock.now(), "request", "replayed");
        gateway.shared.audit.push(call.organization(), row);
        return Ok(response);
    }
    let in_flight = held.and_then(super::call::Held::give_back);
    let uncharged = Admitted { gateway, call, limits, held: None };
    let claim = keyed.claim;
    let answered = forward::forward(uncharged, forwarded(keyed)).await?;
    let settled = settle::settle(answered, None).await?;
    if !settled.response.status().is_success() {
        return Ok(respond::respond(settled));
    }
    let settled = Settled { receipt: Some(kept.usage), claim: in_flight, ..settled };
    Ok(respond::respond(keep(settled, claim).await?))
}

/// Keeps the answer of a repetition, if this one can be kept.
async fn keep<P: Platform>(settled: Settled<P>, claim: Claim) -> Result<Settled<P>, Refusal> {
    let Settled { gateway, call, response, .. } = settled;
    let (response, answer) = collected(&gateway, &call, response).await?;
    if let Some(answer) = answer {
        let kept = gateway.usage.keep_answer(call.organization(), &claim.key, &answer).await;
        if let Err(fault) = kept {
            // The charge stands: a repetition goes to the backend again, uncharged.
            tracing::warn!(request_id = &*call.id.text, cause = fault.cause, "answer not kept");
        }
    }
    Ok(Settled { gateway, call, response, ..settled })
}

/// Reads an answer that is paid for, as far as it may be kept: what is to be kept, if that is all of it.
///
/// An answer that breaks off while it is read is a fault: nothing is charged yet.
async fn collected<P: Platform>(
    gateway: &Gateway<P>,
    call: &Call,
    response: Response<ResponseBody<P>>,
) -> Result<(Response<ResponseBody<P>>, Option<KeptAnswer>), Refusal> {
    if call.route.stream || !settle::is_success(response.status()) {
        return Ok((response, None));
    }
    let (head, body) = response.into_parts();
    let (max, within, buffers) = (ANSWER_BYTES_MAX, ANSWER_WITHIN, &gateway.shared.buffers);
    let read = gateway.upstream.collect_answer(body, max, within, buffers).await;
    let (body, answer) = match read {
        Collected::Whole(bytes) => {
            let answer = KeptAnswer {
                status: head.status.as_u16(),
                headers: listed(&head.headers),
                body: bytes.to_vec(),
            };
            (P::Upstream::response_body(bytes), Some(answer))
        }
        Collected::Unfinished(body) => (body, None),
        Collected::Broken(cause) => {
            return Err(Fault::new(FaultKind::BackendBroken, cause).into());
        }
    };
    Ok((Response::from_parts(head, body), answer))
}

fn replay<P: Platform>(answer: KeptAnswer) -> Response<ResponseBody<P>> {
    let mut response = Response::new(P::Upstream::response_body(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value))
            && !is_framing(&name)
        {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// The payload is whole: its length is known, however the client sent it.
fn forwarded<P: Platform>(keyed: Keyed) -> Forwarded<P> {
    let Keyed { mut head, payload, .. } = keyed;
    let length = payload.len();
    head.headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    let body_bytes_max = length as u64;
    Forwarded { head, body: P::Upstream::request_body(payload), body_bytes_max }
}

fn fingerprint_of(head: &Head, payload: &[u8]) -> Fingerprint {
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    fingerprint([
        head.method.as_str().as_bytes(),
        head.uri.path().as_bytes(),
        query,
        content_type,
        payload,
    ])
}

/// The headers that are kept with an answer. Its framing is not: whoever sends the kept body states
/// that body's own length.
fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    headers.iter().filter(|(name, _)| !is_framing(name)).map(pair).collect()
}
