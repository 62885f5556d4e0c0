//! Step 6: sends the request to the backend, with the gateway's headers and without the client's
//! credentials.
//!
//! An answer whose framing is ambiguous, or whose status is not final, is refused here. So every
//! reader of an answer that is settled and passed on finds the same end of its body.

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::headers::{Forward, from_backend, to_backend, trace_context};
use driftlock_domain::response::ResponseFraming;
use driftlock_domain::websocket::{Asked, asked, write_upgrade};
use http::{Request, StatusCode, Version};

use super::call::{Admitted, Answered, Forwarded};
use crate::ports::{Entropy, Platform, Refusal, SendError, Upstream};
use crate::streams;

pub(crate) async fn forward<P: Platform>(
    admitted: Admitted<P>,
    request: Forwarded<P>,
) -> Result<Answered<P>, Refusal> {
    let Forwarded { mut head, body, .. } = request;
    let (gateway, call) = (&admitted.gateway, &admitted.call);
    let forward = Forward {
        client: &gateway.shared.client_headers,
        caller: &call.key.headers,
        request_id: &call.id.value,
        ip: call.ip,
        trusted: call.trusted,
    };
    let is_handshake = call.route.websocket && asked(&head) == Asked::WebSocket;
    to_backend(&mut head.headers, &forward);
    if is_handshake {
        write_upgrade(&mut head.headers);
    }
    trace_context(&mut head.headers, || {
        let mut bytes = [0; 24];
        gateway.entropy.fill(&mut bytes);
        bytes
    });
    for (name, value) in &gateway.shared.backend_headers {
        head.headers.insert(name, value.clone());
    }
    head.version = Version::HTTP_11;
    let request = Request::from_parts(head, body);
    let mut response =
        gateway.upstream.send(request, &call.route).await.map_err(|error| match error {
            SendError::Fault(fault) => Refusal::Fault(fault),
            SendError::Denied(denial) => denial.into(),
        })?;
    let framing = ResponseFraming::of(&call.method, response.status(), response.headers())
        .map_err(|malformed| Fault::new(FaultKind::BackendBroken, malformed.to_string()))?;
    from_backend(response.headers_mut());
    framing.strip(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        write_upgrade(response.headers_mut());
    }
    let response =
        response.map(|body| P::Upstream::ended_by(body, || streams::must_end(gateway, call)));
    Ok(Answered { admitted, response })
}
