//! Errors outside the gateway: malformed heads, an isolate that is not ready, and answers that the
//! runtime refuses to send. They have the same form as the gateway's own problem documents.

use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::filter::Malformed;
use driftlock_domain::id::uuid_v7;
use driftlock_domain::problem::Problem;
use driftlock_gateway::ports::{Clock, id_entropy};
use http::HeaderValue;
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use web_sys::ResponseInit;

use crate::clock::{EdgeClock, EdgeEntropy};
use crate::headers as js_headers;

/// Why the gateway's answer is missing.
#[derive(Debug)]
pub(crate) enum NotHandled {
    /// The head is malformed.
    Head(Malformed),
    /// The isolate's configuration or a binding is missing.
    NotReady(Fault),
    /// The runtime refuses the gateway's answer.
    Unsendable(Fault),
}

/// The problem document for a request; `own_id` is the client's request id, if it sent one.
///
/// # Errors
/// An exception of the runtime.
pub(crate) fn response(
    not_handled: NotHandled,
    own_id: Option<&HeaderValue>,
) -> Result<web_sys::Response, JsValue> {
    let problem = match not_handled {
        NotHandled::Head(malformed) => Problem::from(&Denial::Malformed(malformed)),
        NotHandled::NotReady(fault) => {
            tracing::error!(error = fault.cause, "the isolate is not ready to serve requests");
            Problem::from(&fault)
        }
        NotHandled::Unsendable(fault) => {
            tracing::error!(error = fault.cause, "the runtime refused the answer");
            Problem::from(&fault)
        }
    };
    let id = request_id(own_id);
    let mut answer = problem.response(&id);
    if let Ok(id) = HeaderValue::try_from(&id) {
        answer.headers_mut().insert("x-request-id", id);
    }
    let (head, body) = answer.into_parts();
    let init = ResponseInit::new();
    init.set_status(head.status.as_u16());
    init.set_headers(&js_headers::write(&head.headers)?.into());
    let body = Uint8Array::from(&*body);
    web_sys::Response::new_with_opt_js_u8_array_and_init(Some(&body), &init)
}

/// The client's request id, or a new one.
fn request_id(own: Option<&HeaderValue>) -> String {
    let own = own.and_then(|value| value.to_str().ok());
    let made = || uuid_v7(EdgeClock.now(), id_entropy(&EdgeEntropy)).simple().to_string();
    own.map_or_else(made, str::to_owned)
}
