//! One request of the runtime's, answered.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::filter::declared_length;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::Door;
use driftlock_gateway::ports::{Background, Clock};
use futures_util::future::select;
use http::{HeaderMap, Method, Request, Response, Uri};
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ResponseInit};
use worker::{Delay, Env};

use crate::background::RequestContext;
use crate::clock::EdgeClock;
use crate::headers;
use crate::isolate::Isolate;
use crate::js::thrown;
use crate::platform::gateway;
use crate::upstream::{AnswerBody, ClientBody, SOCKET};

/// Queued audit rows are written after this long.
const JOBS_AFTER: Duration = Duration::from_millis(50);
/// A body that is not wanted is read up to this length, for this long.
const DRAINED_BYTES_MAX: u64 = 64 << 10;
const DRAINED_WITHIN: Duration = Duration::from_secs(1);
/// A round of jobs that has not ended by then was cut off with its request.
const JOBS_LOST_AFTER: Duration = Duration::from_secs(10);

thread_local! {
    static PREPARED: Cell<bool> = const { Cell::new(false) };
    static JOBS_SINCE: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

/// Answers a request.
///
/// # Errors
/// What is wrong with configuration or bindings, for the log.
pub(crate) async fn exchange(
    request: &web_sys::Request,
    env: &Env,
    context: &RequestContext,
) -> Result<web_sys::Response, String> {
    let isolate = Isolate::get(env)?;
    let (gateway, directory) =
        gateway(&isolate, env, context.clone()).map_err(|fault| fault.cause)?;
    if !PREPARED.get() {
        directory.prepare().await.map_err(|fault: Fault| fault.cause)?;
        PREPARED.set(true);
    }
    let headers = headers::read(&request.headers()).map_err(|error| thrown(&error))?;
    let peer = peer(&headers);
    let length = declared_length(&headers);
    let arrived = arrived(request, headers).map_err(|error| error.to_string())?;
    let response = gateway.handle(arrived, peer, Door::Public).await;
    drain(request, length).await;

    if jobs_are_due() {
        let jobs = gateway.clone();
        context.spawn(async move {
            Delay::from(JOBS_AFTER).await;
            JOBS_SINCE.set(None);
            jobs.tick().await;
        });
    }
    answered(response).map_err(|error| thrown(&error))
}

/// Reads a small body that nobody wanted: the runtime closes the connection of an unread one, on
/// which the client may be sending its next request already.
async fn drain(request: &web_sys::Request, length: Option<u64>) {
    let small = length.is_some_and(|length| (1..=DRAINED_BYTES_MAX).contains(&length));
    let unread = !request.body_used() && request.body().is_some_and(|body| !body.locked());
    if small
        && unread
        && let Ok(read) = request.array_buffer()
    {
        let patience = std::pin::pin!(Delay::from(DRAINED_WITHIN));
        select(std::pin::pin!(JsFuture::from(read)), patience).await;
    }
}

/// One round at a time; whoever comes while it waits is served by it.
fn jobs_are_due() -> bool {
    let now = EdgeClock.now();
    let waits = JOBS_SINCE.get().is_some_and(|since| now.since(since) < JOBS_LOST_AFTER);
    if !waits {
        JOBS_SINCE.set(Some(now));
    }
    !waits
}

/// The runtime says who connected; nobody else can set this header.
fn peer(headers: &HeaderMap) -> IpAddr {
    let connecting = headers.get("cf-connecting-ip").and_then(|value| value.to_str().ok());
    let known = connecting.and_then(|text| text.parse().ok());
    known.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn arrived(
    request: &web_sys::Request,
    headers: HeaderMap,
) -> Result<Request<ClientBody>, http::Error> {
    let url = request.url();
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let target = url[after_scheme..].find('/').map_or("/", |at| &url[after_scheme + at..]);
    let target = target.split('#').next().unwrap_or(target);
    let mut arrived = Request::new(ClientBody::of(request));
    *arrived.method_mut() = Method::from_bytes(request.method().as_bytes())?;
    *arrived.uri_mut() = Uri::try_from(target)?;
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
