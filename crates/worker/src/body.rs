//! Bodies at the edge: the runtime's own streams, whose bytes pass outside wasm where possible.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::denial::{Denial, Fault, FaultKind};
use driftlock_gateway::ports::{BodyEnd, Refusal};
use driftlock_gateway::{Buffers, Copies, Gathered};
use futures_util::future::{Either, select};
use futures_util::stream::LocalBoxStream;
use futures_util::{Stream, StreamExt, stream};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, ReadableStream};
use worker::Delay;

use crate::js::thrown;

#[wasm_bindgen]
extern "C" {
    /// A pipe whose bytes the runtime moves outside wasm:
    /// <https://developers.cloudflare.com/workers/runtime-apis/streams/transformstream/>.
    #[wasm_bindgen(js_name = IdentityTransformStream)]
    type IdentityPipe;
    #[wasm_bindgen(constructor, js_class = "IdentityTransformStream")]
    fn new() -> IdentityPipe;
    #[wasm_bindgen(method, getter)]
    fn readable(this: &IdentityPipe) -> ReadableStream;
    #[wasm_bindgen(method, getter)]
    fn writable(this: &IdentityPipe) -> web_sys::WritableStream;

    /// The same with a declared length, which the runtime sends as `Content-Length`.
    #[wasm_bindgen(js_name = FixedLengthStream, extends = IdentityPipe)]
    type FixedLengthPipe;
    #[wasm_bindgen(constructor, js_class = "FixedLengthStream")]
    fn new(length: f64) -> FixedLengthPipe;
}

/// The most bytes of an unwanted body that are read before its request is answered. The runtime
/// cannot read more after the answer, so this bound is greater than the native host's.
pub(crate) const UNWANTED_BYTES_MAX: usize = 4 << 20;
/// The longest time for which an unwanted body is read.
pub(crate) const UNWANTED_WITHIN: Duration = Duration::from_secs(1);

/// A client's body.
pub(crate) enum RequestBody {
    /// As it arrived; `None` when the request has no body.
    Stream(Option<ReadableStream>),
    /// Made here.
    Bytes(Bytes),
}

/// Whether a body exceeded its limit, and the controller that then aborts its forwarded request.
#[derive(Clone, Default)]
pub(crate) struct Overrun(Rc<OverrunState>);

#[derive(Default)]
struct OverrunState {
    beyond: Cell<Option<u64>>,
    stop: RefCell<Option<AbortController>>,
}

impl Overrun {
    /// The limit, if the body exceeded it.
    pub(crate) fn beyond(&self) -> Option<u64> {
        self.0.beyond.get()
    }

    /// Sets the controller that aborts the request if the body exceeds its limit.
    pub(crate) fn stops(&self, request: &AbortController) {
        self.0.stop.replace(Some(request.clone()));
    }

    fn ran_over(&self, max: u64) {
        self.0.beyond.set(Some(max));
        if let Some(request) = self.0.stop.take() {
            request.abort();
        }
    }
}

/// A body for an answer.
pub(crate) enum ResponseBody {
    /// The backend's body, and its length where it is known.
    Stream(Option<ReadableStream>, Option<u64>),
    /// Made here.
    Bytes(Bytes),
    /// No body: the backend accepted a WebSocket, which is this object of the runtime.
    Socket(JsValue),
}

/// The chunks of a stream; an error ends it early.
pub(crate) type Chunks = LocalBoxStream<'static, Result<Bytes, String>>;

/// The chunks of a stream, copied into wasm memory.
pub(crate) fn chunks(stream: ReadableStream) -> Chunks {
    let chunks = wasm_streams::ReadableStream::from_raw(stream.unchecked_into()).into_stream();
    let chunk = |chunk: Result<JsValue, JsValue>| match chunk {
        Ok(chunk) => Ok(Bytes::from(Uint8Array::new(&chunk).to_vec())),
        Err(error) => Err(thrown(&error)),
    };
    chunks.map(chunk).boxed_local()
}

/// A runtime stream of these chunks; an error ends it early.
pub(crate) fn stream(
    chunks: impl Stream<Item = Result<Bytes, String>> + 'static,
) -> ReadableStream {
    let chunk = |chunk: Result<Bytes, String>| match chunk {
        Ok(bytes) => Ok(JsValue::from(Uint8Array::from(&*bytes))),
        Err(cause) => Err(js_sys::Error::new(&cause).into()),
    };
    wasm_streams::ReadableStream::from_stream(chunks.map(chunk)).into_raw().unchecked_into()
}

/// Passes a stream on and reports how it ended. The runtime moves the bytes.
pub(crate) fn watched(
    source: &ReadableStream,
    length: Option<u64>,
    ended: Box<dyn FnOnce(BodyEnd)>,
) -> (ReadableStream, impl Future<Output = ()> + 'static) {
    #[expect(clippy::cast_precision_loss, reason = "no body has 2^53 bytes")]
    let pipe = match length {
        Some(length) => FixedLengthPipe::new(length as f64).unchecked_into::<IdentityPipe>(),
        None => IdentityPipe::new(),
    };
    let piped = source.pipe_to(&pipe.writable());
    let watch = async move {
        ended(match JsFuture::from(piped).await {
            Ok(_) => BodyEnd::Complete,
            Err(_) => BodyEnd::Truncated,
        });
    };
    (pipe.readable(), watch)
}

/// Passes a stream on until it ends or `over` is ready, which aborts the backend's request and with
/// it the client's stream. The runtime moves the bytes.
pub(crate) fn ended_by(
    source: &ReadableStream,
    over: impl Future<Output = ()> + 'static,
    backend: AbortController,
) -> (ReadableStream, impl Future<Output = ()> + 'static) {
    let pipe = IdentityPipe::new();
    let piped = source.pipe_to(&pipe.writable());
    let watch = async move {
        let piped = std::pin::pin!(JsFuture::from(piped));
        if let Either::Right(_) = select(piped, std::pin::pin!(over)).await {
            backend.abort();
        }
    };
    (pipe.readable(), watch)
}

/// A stream that stops once it received more than `max` bytes, and aborts its request.
///
/// The stream does not fail: the runtime would end the forwarded body properly, and the backend
/// would take a part of the body for the whole.
pub(crate) fn limited(source: ReadableStream, max: u64, overrun: Overrun) -> ReadableStream {
    let (mut chunks, mut came) = (chunks(source), 0_u64);
    let within = stream::poll_fn(move |context| {
        if overrun.beyond().is_some() {
            return Poll::Pending;
        }
        let chunk = std::task::ready!(chunks.poll_next_unpin(context));
        came += chunk.iter().flatten().map(|bytes| bytes.len() as u64).sum::<u64>();
        if came > max {
            overrun.ran_over(max);
            return Poll::Pending;
        }
        Poll::Ready(chunk)
    });
    self::stream(within)
}

/// Reads the answer to a call that the gateway itself made, of at most `max` bytes.
pub(crate) async fn read(source: ReadableStream, max: usize) -> Result<Bytes, String> {
    let (mut chunks, mut whole) = (chunks(source), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if whole.len() + chunk.len() > max {
            return Err(format!("the answer exceeds {max} bytes"));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

/// Reads a client's stream of at most `max` bytes. The rest of a refused body is read and dropped,
/// so that the client receives the refusal.
pub(crate) async fn collect(
    source: ReadableStream,
    max: u64,
    buffers: &Arc<Buffers>,
) -> Result<Bytes, Refusal> {
    let (mut chunks, mut body) = (chunks(source), Gathered::new(buffers, Copies::One));
    let refusal = loop {
        match chunks.next().await {
            None => return Ok(body.join()),
            Some(Err(_)) => return Err(Denial::ClientAborted.into()),
            Some(Ok(chunk)) if (body.len() + chunk.len()) as u64 > max => {
                break Denial::BodyTooLarge(max).into();
            }
            Some(Ok(chunk)) => {
                if let Err((no_room, _)) = body.push(chunk) {
                    break Fault::from(no_room).into();
                }
            }
        }
    };
    drop(body);
    drop_rest(chunks).await;
    Err(refusal)
}

/// Reads what a client still sends of a refused body, up to [`UNWANTED_BYTES_MAX`] and for
/// [`UNWANTED_WITHIN`]. The runtime closes a connection with an unread body, and the client would
/// lose the refusal.
async fn drop_rest(mut chunks: Chunks) {
    let dropping = async {
        let mut left = UNWANTED_BYTES_MAX;
        while let Some(Ok(chunk)) = chunks.next().await
            && let Some(fewer) = left.checked_sub(chunk.len())
        {
            left = fewer;
        }
    };
    select(std::pin::pin!(dropping), std::pin::pin!(Delay::from(UNWANTED_WITHIN))).await;
}

/// Logs why a body made by the gateway ends early; the error for its stream.
pub(crate) fn broken(fault: &Fault) -> String {
    tracing::error!(error = fault.cause, "an answer ended early");
    match fault.kind {
        FaultKind::Store => "the store failed".to_owned(),
        _ => "the answer could not be completed".to_owned(),
    }
}
