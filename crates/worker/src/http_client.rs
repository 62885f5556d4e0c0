//! Calls of other services (Stripe, Supabase): the runtime's `fetch`, bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use driftlock_gateway::ports::{HttpClient, NoAnswer};
use futures_util::future::{Either, select};
use http::{Request, Response, StatusCode};
use js_sys::Uint8Array;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, RequestInit, RequestRedirect};
use worker::Delay;

use crate::js::thrown;
use crate::upstream::global_fetch;
use crate::{body, headers};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// See the module; the duration bounds one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EdgeHttp(pub(crate) Duration);

impl HttpClient for EdgeHttp {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let aborting = AbortController::new().map_err(|error| NoAnswer(thrown(&error)))?;
        let called = std::pin::pin!(call(request, &aborting));
        let patience = std::pin::pin!(Delay::from(self.0));
        match select(called, patience).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => {
                aborting.abort();
                Err(NoAnswer("no answer in time".to_owned()))
            }
        }
    }
}

async fn call(
    request: Request<Bytes>,
    aborting: &AbortController,
) -> Result<Response<Bytes>, NoAnswer> {
    let failed = |error| NoAnswer(thrown(&error));
    let (head, sent) = request.into_parts();
    let init = RequestInit::new();
    init.set_method(head.method.as_str());
    init.set_headers(&headers::write(&head.headers).map_err(failed)?.into());
    init.set_redirect(RequestRedirect::Manual);
    init.set_signal(Some(&aborting.signal()));
    if !sent.is_empty() {
        init.set_body(&Uint8Array::from(&*sent));
    }
    let request = web_sys::Request::new_with_str_and_init(&head.uri.to_string(), &init);
    let fetched = JsFuture::from(global_fetch(&request.map_err(failed)?)).await.map_err(failed)?;
    let fetched: web_sys::Response = fetched.dyn_into().map_err(failed)?;
    let read = match fetched.body() {
        Some(stream) => body::read(stream, ANSWER_BYTES_MAX).await,
        None => Ok(Bytes::new()),
    };
    let mut answer = Response::new(read.map_err(NoAnswer)?);
    *answer.status_mut() = StatusCode::from_u16(fetched.status())
        .map_err(|error| NoAnswer(format!("no status: {error}")))?;
    *answer.headers_mut() = headers::read(&fetched.headers()).map_err(failed)?;
    Ok(answer)
}
