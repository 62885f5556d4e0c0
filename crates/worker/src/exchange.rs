//! Converts a request of the runtime, lets the gateway handle it, and converts the answer.

use std::net::{IpAddr, Ipv4Addr};

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::filter::{Malformed, declared_length};
use driftlock_domain::headers::request_id;
use driftlock_gateway::Listener;
use http::{HeaderMap, Method, Request, Response, Uri};
use js_sys::Reflect;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{ReadableStream, ResponseInit};
use worker::Env;

use crate::background::RequestContext;
use crate::body::{UNWANTED_BYTES_MAX, UNWANTED_WITHIN};
use crate::headers;
use crate::isolate::Isolate;
use crate::js::thrown;
use crate::platform::gateway;
use crate::queued::write_later;
use crate::refusal::{self, NotHandled};
use crate::upstream::{AnswerBody, ClientBody, SOCKET};

#[wasm_bindgen(module = "/src/glue.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = dropBody)]
    async fn drop_body(body: &ReadableStream, bytes: u32, millis: u32) -> Result<(), JsValue>;
}

/// `Uri` refuses targets of this length or more.
const URI_BYTES_MAX: usize = u16::MAX as usize;

/// Answers a request.
///
/// # Errors
/// An exception of the runtime.
pub(crate) async fn exchange(
    request: &web_sys::Request,
    env: &Env,
    context: &RequestContext,
) -> Result<web_sys::Response, JsValue> {
    let head = headers::Head::of(request)?;
    let length = declared_length(&head.headers);
    let own_id = request_id(&head.headers).cloned();
    let response = match arrived(request, head) {
        Ok(arrived) => handled(arrived, env, context).await,
        Err(malformed) => Err(NotHandled::Head(malformed)),
    };
    drain(request, length).await;
    match response {
        Ok(response) => answered(response).or_else(|error| {
            let fault = Fault::new(FaultKind::Internal, thrown(&error));
            refusal::response(NotHandled::Unsendable(fault), own_id.as_ref())
        }),
        Err(not_handled) => refusal::response(not_handled, own_id.as_ref()),
    }
}

async fn handled(
    arrived: Request<ClientBody>,
    env: &Env,
    context: &RequestContext,
) -> Result<Response<AnswerBody>, NotHandled> {
    let not_ready = |cause: String| NotHandled::NotReady(Fault::store(cause));
    let isolate = Isolate::get(env).map_err(not_ready)?;
    let made = gateway(&isolate, env, context.clone());
    let (gateway, _) = made.map_err(NotHandled::NotReady)?;
    let peer = peer(arrived.headers());
    let response = gateway.handle(arrived, peer, Listener::Public).await;
    write_later(context, gateway);
    Ok(response)
}

/// Reads an unread request body before the answer is sent. The runtime reads nothing after the
/// answer and closes the connection of an unread body, so that the client would lose the answer or
/// its next request.
async fn drain(request: &web_sys::Request, length: Option<u64>) {
    let fits = length.is_none_or(|length| length <= UNWANTED_BYTES_MAX as u64);
    let body = request.body().filter(|body| !request.body_used() && !body.locked());
    if let Some(body) = body.filter(|_| fits) {
        let millis = u32::try_from(UNWANTED_WITHIN.as_millis()).unwrap_or(u32::MAX);
        let bytes = u32::try_from(UNWANTED_BYTES_MAX).unwrap_or(u32::MAX);
        // If reading fails, the client is gone and needs no answer.
        let _ = drop_body(&body, bytes, millis).await;
    }
}

/// The client's address. Cloudflare sets this header; a client cannot.
fn peer(headers: &HeaderMap) -> IpAddr {
    let connecting = headers.get("cf-connecting-ip").and_then(|value| value.to_str().ok());
    let known = connecting.and_then(|text| text.parse().ok());
    known.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn arrived(
    request: &web_sys::Request,
    head: headers::Head,
) -> Result<Request<ClientBody>, Malformed> {
    let headers::Head { method, url, headers } = head;
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let target = url[after_scheme..].find('/').map_or("/", |at| &url[after_scheme + at..]);
    // `Uri` would silently drop the fragment.
    if target.contains('#') {
        return Err(Malformed::Fragment);
    }
    let mut arrived = Request::new(ClientBody::of(request));
    *arrived.method_mut() = Method::try_from(&*method).map_err(|_| Malformed::Method)?;
    *arrived.uri_mut() = Uri::try_from(target).map_err(|_| match target.len() {
        URI_BYTES_MAX.. => Malformed::TargetTooLong,
        _ => Malformed::TargetCharacter,
    })?;
    *arrived.headers_mut() = headers;
    Ok(arrived)
}

fn answered(response: Response<AnswerBody>) -> Result<web_sys::Response, JsValue> {
    let (head, body) = response.into_parts();
    let init = ResponseInit::new();
    init.set_status(head.status.as_u16());
    init.set_headers(&headers::write(&head.headers)?.into());
    if let Some(socket) = body.socket() {
        Reflect::set(&init, &JsValue::from_str(SOCKET), &socket)?;
    }
    let body = body.into_js();
    let bodiless = matches!(head.status.as_u16(), 101 | 204 | 205 | 304);
    match body.dyn_ref::<ReadableStream>() {
        _ if bodiless => web_sys::Response::new_with_opt_str_and_init(None, &init),
        Some(stream) => {
            web_sys::Response::new_with_opt_readable_stream_and_init(Some(stream), &init)
        }
        None => web_sys::Response::new_with_opt_js_u8_array_and_init(body.dyn_ref(), &init),
    }
}
