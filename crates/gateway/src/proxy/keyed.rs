//! A metered request under an idempotency key, of any method (I3): charged at most once, replayed
//! when repeated.
//!
//! - Admission claims the key together with rate limits and quota, before the payload is read. So a
//!   denied request costs no memory, and a key has at most one payload in memory.
//! - The record of an earlier request is looked up after that.
//! - Once the payload is read, a client's disconnect cancels nothing: the request continues in the
//!   background.
//! - The answer is read before settling, so that one commit charges it and stores it.
//! - An answer that cannot be stored (too large, too slow, a stream) is charged and passed on. Its
//!   repetition is refused with the receipt of the first request.
//! - A repetition never reaches the backend.

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
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::admit::{admit, admit_uncharged, lifetime};
use super::call::{Admitted, Answered, Call, Forwarded, Settled};
use super::{forward, respond, settle};
use crate::gateway::{Answer, Gateway, ResponseBody};
use crate::ports::{Clock, Collected, Platform, Refusal, Upstream, UsageRecords};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const EVENTS: &[u8] = b"text/event-stream";

/// A request whose payload is in memory, and the claim of its key.
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
        let claim = Claim { key, fingerprint: fingerprint_of(gateway, &call, &head, &payload) };
        Ok(Keyed { call, head, payload, claim })
    };
    match admit(gateway, Rc::clone(&call), Some(key)).await {
        Ok(admitted) => {
            let keyed = read(call).await?;
            gateway.uncancelled(run(admitted, keyed)).await
        }
        // A replay needs no quota: the client has paid for the stored answer.
        Err(Refusal::Denied(
            denial @ (Denial::QuotaExceeded { .. } | Denial::QuotaHeld),
            limits,
        )) => match gateway.usage.kept(call.organization(), &key, gateway.clock.now()).await? {
            None => Err(Refusal::Denied(denial, limits)),
            Some(kept) => {
                let admitted = admit_uncharged(gateway, Rc::clone(&call)).await?;
                let keyed = read(call).await?;
                is_same(&keyed, kept.fingerprint)?;
                repeat(admitted, kept)
            }
        },
        Err(refusal) => Err(refusal),
    }
}

/// Runs a request whose payload is in memory. From here on nothing depends on the client.
async fn run<P: Platform>(mut admitted: Admitted<P>, keyed: Keyed) -> Answer<P> {
    if let Some(held) = &mut admitted.held {
        held.set_fingerprint(keyed.claim.fingerprint);
    }
    match claim(&admitted, &keyed).await? {
        None => charge(admitted, keyed).await,
        Some(kept) => repeat(admitted, kept),
    }
}

/// Claims the key in the store, for all nodes. Returns the record of the key if an earlier request
/// with it was settled.
async fn claim<P: Platform>(
    admitted: &Admitted<P>,
    keyed: &Keyed,
) -> Result<Option<Kept>, Refusal> {
    // Only a charged request claims its key.
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

/// Runs the first request under a key: one commit charges it and stores its answer.
async fn charge<P: Platform>(admitted: Admitted<P>, keyed: Keyed) -> Answer<P> {
    let (claim, gateway) = (keyed.claim, admitted.gateway.clone());
    let (organization, usage) =
        (keyed.call.organization(), admitted.held.as_ref().map(|held| held.hold.usage));
    let outcome = settled(admitted, keyed).await;
    let is_kept = outcome.as_ref().is_ok_and(|settled| settled.receipt.is_some());
    // Nothing was stored: release the key, so that the next request can use it on any node.
    if !is_kept
        && let Some(usage) = usage
        && let Err(fault) = gateway.usage.unclaim(organization, &claim.key, usage).await
    {
        tracing::warn!(
            error = fault.cause,
            "could not release the claim of an idempotency key; the claim will expire"
        );
    }
    outcome.map(respond::respond)
}

async fn settled<P: Platform>(admitted: Admitted<P>, keyed: Keyed) -> Result<Settled<P>, Refusal> {
    let Answered { admitted, response } = forward::forward(admitted, forwarded(keyed)).await?;
    let (response, answer) = collected(&admitted.gateway, &admitted.call, response).await?;
    settle::settle(Answered { admitted, response }, answer.map(Arc::new)).await
}

/// Answers a repetition with the stored answer. The repetition's hold and claim are released.
fn repeat<P: Platform>(admitted: Admitted<P>, kept: Kept) -> Answer<P> {
    let Admitted { gateway, call, limits, held } = admitted;
    drop(held);
    let Some(answer) = kept.answer else {
        let denial = Denial::IdempotencyAnswerNotKept(kept.usage);
        return Err(Refusal::Denied(denial, Some(limits)));
    };
    let mut response = replay::<P>(answer);
    respond::head(response.headers_mut(), &limits, Some(kept.usage));
    let row = call.audit(gateway.clock.now(), "request", "replayed");
    gateway.shared.audit.push(call.organization(), row);
    Ok(response)
}

/// Reads the body of an answer that will be charged, so that it can be stored. Returns the answer
/// to be stored, or `None` if it is too large, too slow or a stream. An answer that breaks off is
/// an error, and is not charged.
async fn collected<P: Platform>(
    gateway: &Gateway<P>,
    call: &Call,
    response: Response<ResponseBody<P>>,
) -> Result<(Response<ResponseBody<P>>, Option<KeptAnswer>), Refusal> {
    if !response.status().is_success() || call.route.stream || is_event_stream(response.headers()) {
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

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS))
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

/// The request with its payload from memory and a `Content-Length`, however the client framed it. A
/// request without a body stays without one.
fn forwarded<P: Platform>(keyed: Keyed) -> Forwarded<P> {
    let Keyed { mut head, payload, .. } = keyed;
    let length = payload.len();
    let is_framed =
        [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
    if is_framed || length > 0 {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let body_bytes_max = length as u64;
    Forwarded { head, body: P::Upstream::request_body(payload), body_bytes_max }
}

/// The fingerprint of the parts of a request that come from the client and reach the backend.
fn fingerprint_of<P: Platform>(
    gateway: &Gateway<P>,
    call: &Call,
    head: &Head,
    payload: &[u8],
) -> Fingerprint {
    let shared = &gateway.shared;
    let mut headers = head.headers.clone();
    shared.client_headers.remove_from(&mut headers, call.trusted);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    fingerprint(&head.method, target, &headers, &shared.ignored_headers, payload)
}

/// The headers that are stored with an answer, without its framing: a replay gets a new one.
fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    headers.iter().filter(|(name, _)| !is_framing(name)).map(pair).collect()
}
