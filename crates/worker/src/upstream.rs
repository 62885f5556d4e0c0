//! Requests to the backend, by the runtime's `fetch`.
//!
//! The runtime pools connections and frames bodies. Redirects are passed on, never followed. The
//! route's head timeout bounds the time until the response's head; the time of the body is not
//! bounded.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::denial::{Denial, Fault, FaultKind};
use driftlock_domain::response::{BodyFraming, ResponseFraming};
use driftlock_domain::route::Route;
use driftlock_domain::websocket;
use driftlock_gateway::ports::{Background, BodyEnd, Collected, Refusal, SendError, Upstream};
use driftlock_gateway::{Buffers, Copies, Gathered};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt, stream};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, Request, Response, StatusCode};
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, ReadableStream, RequestInit, RequestRedirect};
use worker::Delay;

use crate::background::RequestContext;
use crate::body::{self, Overrun, RequestBody, ResponseBody};
use crate::headers;
use crate::js::thrown;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch)]
    pub(crate) fn global_fetch(request: &web_sys::Request) -> js_sys::Promise;
}

#[wasm_bindgen(module = "/src/glue.js")]
extern "C" {
    /// A WebSocket to the client, coupled to one to the backend until either is closed.
    type Tether;
    #[wasm_bindgen(constructor)]
    fn new(backend: &JsValue) -> Tether;
    #[wasm_bindgen(method, getter)]
    fn client(this: &Tether) -> JsValue;
    #[wasm_bindgen(method, getter)]
    fn closed(this: &Tether) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn end(this: &Tether);
}

/// The member of a runtime response that holds its WebSocket.
pub(crate) const SOCKET: &str = "webSocket";

thread_local! {
    static NEXT_BACKEND: Cell<usize> = const { Cell::new(0) };
}

/// A request's body, and whether it exceeded its limit.
pub(crate) struct ClientBody {
    body: RequestBody,
    overrun: Overrun,
}

/// An answer's body, and the context for work that outlives the answer.
pub(crate) struct AnswerBody {
    body: ResponseBody,
    context: Option<RequestContext>,
    /// Aborts the request to the backend; only for answers without an end.
    endless: Option<AbortController>,
}

/// The backends, for one request.
pub(crate) struct EdgeUpstream {
    backends: Rc<[Rc<str>]>,
    context: RequestContext,
}

impl EdgeUpstream {
    /// Backends at these base URLs (at least one), without a trailing slash.
    pub(crate) fn new(backends: Rc<[Rc<str>]>, context: RequestContext) -> Self {
        Self { backends, context }
    }

    /// The next backend, in rotation. There are no health checks here; use a balancer of the
    /// platform.
    fn base(&self) -> &str {
        let next = NEXT_BACKEND.get();
        NEXT_BACKEND.set(next.wrapping_add(1));
        &self.backends[next % self.backends.len()]
    }

    async fn fetch(
        &self,
        request: Request<RequestBody>,
        overrun: &Overrun,
        route: &Route,
    ) -> Result<(web_sys::Response, AbortController), Fault> {
        let aborting = AbortController::new().map_err(internal)?;
        overrun.stops(&aborting);
        let request = self.addressed(request, &aborting).map_err(internal)?;
        let fetched = std::pin::pin!(JsFuture::from(global_fetch(&request)));
        let patience = Delay::from(Duration::from_millis(route.head_timeout_ms));
        match select(fetched, std::pin::pin!(patience)).await {
            Either::Left((Ok(response), _)) => {
                Ok((response.dyn_into().map_err(internal)?, aborting))
            }
            Either::Left((Err(error), _)) => {
                Err(Fault::new(FaultKind::BackendUnreachable, thrown(&error)))
            }
            Either::Right(((), _)) => {
                aborting.abort();
                Err(Fault::new(FaultKind::BackendTimeout, "no response head in time"))
            }
        }
    }

    fn addressed(
        &self,
        request: Request<RequestBody>,
        aborting: &AbortController,
    ) -> Result<web_sys::Request, JsValue> {
        let (mut head, body) = request.into_parts();
        head.headers.remove(HOST);
        let init = RequestInit::new();
        init.set_method(head.method.as_str());
        init.set_headers(&headers::write(&head.headers)?.into());
        init.set_redirect(RequestRedirect::Manual);
        init.set_signal(Some(&aborting.signal()));
        match body {
            RequestBody::Stream(Some(stream)) => init.set_body(&stream),
            RequestBody::Bytes(bytes) if !bytes.is_empty() => {
                init.set_body(&Uint8Array::from(&*bytes));
            }
            RequestBody::Stream(None) | RequestBody::Bytes(_) => {}
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        web_sys::Request::new_with_str_and_init(&format!("{}{path}", self.base()), &init)
    }
}

impl ClientBody {
    /// The body of a request as it came.
    pub(crate) fn of(request: &web_sys::Request) -> Self {
        Self { body: RequestBody::Stream(request.body()), overrun: Overrun::default() }
    }
}

impl AnswerBody {
    /// The body for a response of the runtime.
    pub(crate) fn into_js(self) -> JsValue {
        match self.body {
            ResponseBody::Stream(Some(stream), _) => stream.into(),
            ResponseBody::Bytes(bytes) if !bytes.is_empty() => Uint8Array::from(&*bytes).into(),
            ResponseBody::Stream(None, _) | ResponseBody::Bytes(_) | ResponseBody::Socket(_) => {
                JsValue::NULL
            }
        }
    }

    /// The WebSocket that takes the place of a body, if there is one.
    pub(crate) fn socket(&self) -> Option<JsValue> {
        match &self.body {
            ResponseBody::Socket(socket) => Some(socket.clone()),
            ResponseBody::Stream(..) | ResponseBody::Bytes(_) => None,
        }
    }

    fn made(body: ResponseBody) -> Self {
        Self { body, context: None, endless: None }
    }
}

impl Upstream for EdgeUpstream {
    type RequestBody = ClientBody;
    type ResponseBody = AnswerBody;

    async fn send(
        &self,
        request: Request<ClientBody>,
        route: &Route,
    ) -> Result<Response<AnswerBody>, SendError> {
        let (head, ClientBody { body, overrun }) = request.into_parts();
        let method = head.method.clone();
        let asks_to_switch = websocket::is_forwarded(&head.headers);
        let fetched = self.fetch(Request::from_parts(head, body), &overrun, route).await;
        let (fetched, aborting) = fetched.map_err(|fault| match overrun.beyond() {
            Some(max) => SendError::Denied(Denial::BodyTooLarge(max)),
            None => SendError::Fault(fault),
        })?;
        let broken = |cause: String| SendError::Fault(Fault::new(FaultKind::BackendBroken, cause));
        let status = StatusCode::from_u16(fetched.status())
            .map_err(|error| broken(format!("no status: {error}")))?;
        let headers = headers::read(&fetched.headers()).map_err(|error| broken(thrown(&error)))?;
        let framing = ResponseFraming::of(&method, status, &headers)
            .map_err(|malformed| broken(malformed.to_string()))?;
        let body = if status == StatusCode::SWITCHING_PROTOCOLS {
            let unasked = || broken("switched protocols without being asked".to_owned());
            ResponseBody::Socket(socket(&fetched).filter(|_| asks_to_switch).ok_or_else(unasked)?)
        } else {
            ResponseBody::Stream(fetched.body(), length(framing, &headers))
        };
        let context = Some(self.context.clone());
        let endless = (route.stream || is_event_stream(&headers)).then_some(aborting);
        let mut response = Response::new(AnswerBody { body, context, endless });
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }

    async fn collect(
        &self,
        body: ClientBody,
        max: u64,
        buffers: &Arc<Buffers>,
    ) -> Result<Bytes, Refusal> {
        match body.body {
            RequestBody::Stream(Some(stream)) => body::collect(stream, max, buffers).await,
            RequestBody::Stream(None) => Ok(Bytes::new()),
            RequestBody::Bytes(bytes) if bytes.len() as u64 > max => {
                Err(Denial::BodyTooLarge(max).into())
            }
            RequestBody::Bytes(bytes) => Ok(bytes),
        }
    }

    fn request_body(bytes: Bytes) -> ClientBody {
        ClientBody { body: RequestBody::Bytes(bytes), overrun: Overrun::default() }
    }

    fn limited(body: ClientBody, max: u64) -> ClientBody {
        let ClientBody { body, overrun } = body;
        let body = match body {
            RequestBody::Stream(Some(stream)) => {
                RequestBody::Stream(Some(body::limited(stream, max, overrun.clone())))
            }
            other => other,
        };
        ClientBody { body, overrun }
    }

    fn response_body(bytes: Bytes) -> AnswerBody {
        AnswerBody::made(ResponseBody::Bytes(bytes))
    }

    fn stream_body(parts: impl Stream<Item = Result<Bytes, Fault>> + 'static) -> AnswerBody {
        let parts = parts.map(|part| part.map_err(|fault| body::broken(&fault)));
        AnswerBody::made(ResponseBody::Stream(Some(body::stream(parts)), None))
    }

    async fn collect_answer(
        &self,
        body: AnswerBody,
        max: usize,
        within: Duration,
        buffers: &Arc<Buffers>,
    ) -> Collected<AnswerBody> {
        let (source, length) = match body.body {
            ResponseBody::Bytes(bytes) => return Collected::Whole(bytes),
            ResponseBody::Stream(None, _) | ResponseBody::Socket(_) => {
                return Collected::Whole(Bytes::new());
            }
            ResponseBody::Stream(Some(stream), length) => (stream, length),
        };
        let again = |stream: ReadableStream| AnswerBody {
            body: ResponseBody::Stream(Some(stream), None),
            context: Some(self.context.clone()),
            endless: None,
        };
        if length.is_some_and(|length| length > max as u64) {
            let body = ResponseBody::Stream(Some(source), length);
            let context = Some(self.context.clone());
            return Collected::Unfinished(AnswerBody { body, context, endless: None });
        }
        let (mut rest, mut read) = (body::chunks(source), Gathered::new(buffers, Copies::Two));
        let mut patience = std::pin::pin!(Delay::from(within));
        let unfinished = |read: Gathered, last: Bytes, rest: body::Chunks| {
            let read = stream::iter([Ok(read.join()), Ok(last)]);
            Collected::Unfinished(again(body::stream(read.chain(rest))))
        };
        loop {
            match select(rest.next(), patience.as_mut()).await {
                Either::Left((Some(Ok(chunk)), _)) => {
                    // Without room in the budget the answer is passed on, like one that is too
                    // large.
                    if let Err((_, chunk)) = read.push(chunk) {
                        return unfinished(read, chunk, rest);
                    }
                }
                Either::Left((Some(Err(cause)), _)) => {
                    return Collected::Broken(format!("the backend's answer ended early: {cause}"));
                }
                Either::Left((None, _)) => return whole(read.join(), length),
                Either::Right(((), _)) => return unfinished(read, Bytes::new(), rest),
            }
            if read.len() > max {
                return unfinished(read, Bytes::new(), rest);
            }
        }
    }

    fn ended_by<F: Future<Output = ()> + 'static>(
        body: AnswerBody,
        over: impl FnOnce() -> F,
    ) -> AnswerBody {
        let AnswerBody { body, context, endless } = body;
        match (body, context, endless) {
            (ResponseBody::Stream(Some(source), None), Some(context), Some(backend)) => {
                let (passed, watch) = body::ended_by(&source, over(), backend);
                context.spawn(watch);
                AnswerBody {
                    body: ResponseBody::Stream(Some(passed), None),
                    context: Some(context),
                    endless: None,
                }
            }
            (ResponseBody::Socket(backend), Some(context), endless) => {
                let tether = Tether::new(&backend);
                let client = tether.client();
                let over = over();
                context.spawn(async move {
                    let closed = std::pin::pin!(JsFuture::from(tether.closed()));
                    if let Either::Right(_) = select(closed, std::pin::pin!(over)).await {
                        tether.end();
                    }
                });
                let body = ResponseBody::Socket(client);
                AnswerBody { body, context: Some(context), endless }
            }
            (body, context, endless) => AnswerBody { body, context, endless },
        }
    }

    fn watch(body: AnswerBody, ended: Box<dyn FnOnce(BodyEnd)>) -> AnswerBody {
        let AnswerBody { body, context, endless } = body;
        match (body, context) {
            (ResponseBody::Stream(Some(source), length), Some(context)) => {
                let (passed, watch) = body::watched(&source, length, ended);
                context.spawn(watch);
                let body = ResponseBody::Stream(Some(passed), length);
                AnswerBody { body, context: Some(context), endless }
            }
            (body, context) => {
                ended(BodyEnd::Complete);
                AnswerBody { body, context, endless }
            }
        }
    }
}

/// A body that ended: complete only if it has the length that its head declared.
fn whole(read: Bytes, length: Option<u64>) -> Collected<AnswerBody> {
    match length {
        Some(length) if length != read.len() as u64 => {
            let came = read.len();
            Collected::Broken(format!("the backend's answer ended after {came} of {length} bytes"))
        }
        Some(_) | None => Collected::Whole(read),
    }
}

/// Whether the body is a stream of events, which has no end.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The WebSocket of a response that has one:
/// <https://developers.cloudflare.com/workers/runtime-apis/response/#parameters>.
fn socket(response: &web_sys::Response) -> Option<JsValue> {
    let socket = Reflect::get(response, &JsValue::from_str(SOCKET)).ok()?;
    (!socket.is_null() && !socket.is_undefined()).then_some(socket)
}

/// The length of the body as it is read here. It is unknown with a content coding, which the
/// runtime decodes.
fn length(framing: ResponseFraming, headers: &HeaderMap) -> Option<u64> {
    match framing.body {
        BodyFraming::Length(length) if !headers.contains_key(CONTENT_ENCODING) => Some(length),
        BodyFraming::Length(_)
        | BodyFraming::None
        | BodyFraming::Chunked
        | BodyFraming::UntilClose => None,
    }
}

fn internal(error: JsValue) -> Fault {
    Fault::new(FaultKind::Internal, thrown(&error))
}
