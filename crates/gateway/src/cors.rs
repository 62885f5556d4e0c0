//! CORS: answers preflights and adds the headers that let a web page read an answer. Also adds the
//! configured headers to every answer.

use driftlock_domain::denial::Denial;
use driftlock_domain::route::NoRoute;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::gateway::{Answer, Arrival, Gateway, ResponseBody};
use crate::ports::{Platform, Refusal, Upstream};
use crate::proxy;

/// The origin that may read the answer; `None` for a request without a cross-origin page.
///
/// # Errors
/// The denial when the page's origin is not allowed.
pub(crate) fn origin<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
) -> Result<Option<HeaderValue>, Refusal> {
    let origin = gateway.shared.cors.origin(&arrival.head.headers);
    origin.map_err(|_| Denial::OriginNotAllowed.into())
}

/// The answer to a preflight; `None` when the request is not a preflight.
pub(crate) fn preflight<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
) -> Option<Answer<P>> {
    let cors = &gateway.shared.cors;
    cors.preflight(&arrival.head.method, &arrival.head.headers)?;
    Some(proxy::filter(gateway, arrival).and_then(|path| {
        // No route takes TRACE, so the error lists the methods that the path does take.
        match gateway.shared.routes.find(&Method::TRACE, &path) {
            Err(NoRoute::MethodNotAllowed(methods)) => {
                let mut response = Response::new(P::Upstream::response_body(bytes::Bytes::new()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                cors.answer_preflight(response.headers_mut(), &methods);
                Ok(response)
            }
            Ok(_) | Err(NoRoute::NotFound) => Err(Denial::NotFound.into()),
        }
    }))
}

/// Adds the headers of every answer: the configured ones and those of CORS.
pub(crate) fn finish<P: Platform>(
    gateway: &Gateway<P>,
    response: &mut Response<ResponseBody<P>>,
    origin: Option<HeaderValue>,
) {
    add_configured(gateway, response.headers_mut());
    if let Some(origin) = origin {
        gateway.shared.cors.allow(response.headers_mut(), origin);
    }
}

/// Adds the headers that the operator has configured for every answer.
pub(crate) fn add_configured<P: Platform>(gateway: &Gateway<P>, headers: &mut HeaderMap) {
    for (name, value) in &gateway.shared.response_headers {
        if !headers.contains_key(name) {
            headers.insert(name, value.clone());
        }
    }
}
