//! The gateway of one core (or one isolate): its parts, and the dispatch of requests by path.

use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use driftlock_domain::address::{FORWARDED_FOR, Source, client_ip};
use driftlock_domain::denial::Denial;
use driftlock_domain::headers::{self, TrustedWay};
use driftlock_domain::id::uuid_v7;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::problem::Problem;
use driftlock_domain::request::normalize_path;
use driftlock_domain::text::Text;
use driftlock_domain::time::Timestamp;
use http::header::CONNECTION;
use http::request::Parts as Head;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use crate::buffers::Buffers;
use crate::ports::{Background, Clock, Entropy, Platform, Refusal, Upstream, id_entropy};
use crate::proxy::AuditContext;
use crate::shared::Shared;
use crate::shield::Count;
use crate::{api, cors, health, metrics, proxy, reply, single_source, webhook};

/// The client's body on this platform.
pub(crate) type RequestBody<P> = <<P as Platform>::Upstream as Upstream>::RequestBody;
/// The answer's body on this platform.
pub(crate) type ResponseBody<P> = <<P as Platform>::Upstream as Upstream>::ResponseBody;
/// An answer, or why there is none.
pub(crate) type Answer<P> = Result<Response<ResponseBody<P>>, Refusal>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A UUID without dashes.
const REQUEST_ID_CHARS: usize = 32;

/// The listener that received a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The listener for clients.
    Public,
    /// The listener for operators.
    Admin,
}

/// The parts of a gateway.
pub struct Parts<P: Platform> {
    /// The state that all cores of the process share.
    pub shared: Arc<Shared>,
    /// Organizations and keys.
    pub directory: P::Directory,
    /// Rate limits and quota.
    pub admission: P::Admission,
    /// Usage, receipts and idempotency records.
    pub usage: P::Usage,
    /// The audit log.
    pub audit: P::Audit,
    /// Stripe's events.
    pub inbox: P::Inbox,
    /// The outbox of usage for Stripe.
    pub reports: P::Reports,
    /// Alerts for people.
    pub alerts: P::Alerts,
    /// The HTTP client for Stripe.
    pub http: P::Http,
    /// The HTTP client for the backend.
    pub upstream: P::Upstream,
    /// The clock.
    pub clock: P::Clock,
    /// The source of unpredictable bytes.
    pub entropy: P::Entropy,
    /// Runs work that outlives its request.
    pub background: P::Background,
}

/// A gateway. Clones refer to the same one.
pub struct Gateway<P: Platform>(Rc<Parts<P>>);

impl<P: Platform> Clone for Gateway<P> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<P: Platform> Deref for Gateway<P> {
    type Target = Parts<P>;

    fn deref(&self) -> &Parts<P> {
        &self.0
    }
}

/// A request that was just received.
pub(crate) struct Arrival<P: Platform> {
    pub(crate) at: Timestamp,
    pub(crate) id: RequestId,
    pub(crate) ip: IpAddr,
    /// The source that abuse limits count the request for.
    pub(crate) source: Source,
    pub(crate) listener: Listener,
    pub(crate) trusted: TrustedWay,
    pub(crate) head: Head,
    pub(crate) body: RequestBody<P>,
}

/// A request's id, as a header and as text.
#[derive(Debug, Clone)]
pub(crate) struct RequestId {
    pub(crate) value: HeaderValue,
    pub(crate) text: Arc<str>,
}

impl<P: Platform> Gateway<P> {
    /// Makes a gateway from its parts.
    pub fn new(parts: Parts<P>) -> Self {
        Self(Rc::new(parts))
    }

    /// Answers one request from `peer`.
    pub async fn handle(
        &self,
        request: Request<RequestBody<P>>,
        peer: IpAddr,
        listener: Listener,
    ) -> Response<ResponseBody<P>> {
        let (head, body) = request.into_parts();
        let at = self.clock.now();
        let id = RequestId::of(&head.headers, at, &self.entropy);
        let proxies = &self.shared.trusted_proxies;
        let ip_header = &self.shared.config.filter.client_ip_header;
        let ip = client_ip(&head.headers, peer, proxies, ip_header);
        let is_proxy = proxies.contains(peer);
        let trusted = if is_proxy { TrustedWay::Proxied } else { TrustedWay::Direct };
        let source = Source::of(ip, &head.headers);
        // Not at the edge: there the platform states the client's address.
        if P::LEDGER == LedgerKind::Leases
            && listener == Listener::Public
            && self.shared.single_source.note(peer, is_proxy)
        {
            single_source::warn(peer, head.headers.contains_key(FORWARDED_FOR));
        }
        let arrival = Arrival { at, id: id.clone(), ip, source, listener, trusted, head, body };

        let mut audit_context = AuditContext::default();
        let origin = if listener == Listener::Public && is_routed(arrival.head.uri.path()) {
            cors::origin(self, &arrival)
        } else {
            Ok(None)
        };
        let (origin, answer) = match origin {
            Ok(origin) => (origin, self.dispatch(arrival, listener, &mut audit_context).await),
            // Report a malformed request or a refused address before the CORS refusal.
            Err(refusal) => (None, proxy::filter(self, &arrival).and(Err(refusal))),
        };
        let mut response = match answer {
            Ok(response) => response,
            Err(refusal) => {
                audit_context.refused(self, &id, ip, at, &refusal);
                reply::refusal::<P>(&refusal, &id)
            }
        };
        response.headers_mut().insert(REQUEST_ID, id.value);
        cors::finish(self, &mut response, origin);
        response
    }

    /// Answers a request whose head the host could not read, with the reason `refusal`. The request
    /// counts against the address limit of `peer`.
    pub fn unread(&self, refusal: impl Into<Refusal>, peer: IpAddr) -> Response<Bytes> {
        let at = self.clock.now();
        let id = RequestId::of(&HeaderMap::new(), at, &self.entropy);
        let source = Source::of(peer, &HeaderMap::new());
        let counted = self.shared.shields.of(Listener::Public).count(source, Count::All, at);
        let problem = match (counted, refusal.into()) {
            (Err(denial), _) | (Ok(()), Refusal::Denied(denial, _)) => Problem::from(&denial),
            (Ok(()), Refusal::Fault(fault)) => Problem::from(&fault),
        };
        let mut response = problem.response(&id.text);
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id.value);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        cors::add_configured(self, headers);
        response
    }

    /// Rarely used futures are boxed: otherwise their size is moved with every request.
    async fn dispatch(
        &self,
        arrival: Arrival<P>,
        listener: Listener,
        audit_context: &mut AuditContext,
    ) -> Answer<P> {
        let path = arrival.head.uri.path();
        let admin_here = listener == Listener::Admin || self.shared.config.admin.public;
        match path {
            "/healthz" | "/readyz" => health::answer(self, arrival).await,
            "/metrics" if listener == Listener::Admin => metrics::answer(self, &arrival).await,
            _ if path.starts_with("/admin/") && admin_here => {
                Box::pin(api::admin::answer(self, arrival)).await
            }
            _ if is_routed(path) && listener == Listener::Public => {
                match cors::preflight(self, &arrival) {
                    Some(answer) => answer,
                    None => proxy::proxy(self, arrival, audit_context).await,
                }
            }
            _ if webhook::is_webhook(path) && listener == Listener::Public => {
                Box::pin(webhook::answer(self, arrival)).await
            }
            _ => {
                proxy::filter(self, &arrival)?;
                Err(proxy::unrouted(self, &arrival, Denial::NotFound))
            }
        }
    }

    /// The budget for buffered bytes, for buffers of the host.
    pub fn buffers(&self) -> &Arc<Buffers> {
        self.shared.buffers()
    }

    /// A future that continues in the background when it is dropped before its end.
    pub(crate) fn uncancelled<T: 'static>(
        &self,
        work: impl Future<Output = T> + 'static,
    ) -> Uncancelled<P, T> {
        Uncancelled { gateway: self.clone(), work: Some(Box::pin(work)) }
    }
}

/// Whether the path, in normal form or not, is below the prefix of all routes.
fn is_routed(path: &str) -> bool {
    const ROUTED: &str = "/api/";
    path.starts_with(ROUTED) || normalize_path(path).is_ok_and(|path| path.starts_with(ROUTED))
}

impl RequestId {
    /// The request id that the client sent, or a new one.
    fn of(headers: &HeaderMap, at: Timestamp, entropy: &impl Entropy) -> Self {
        if let Some(value) = headers::request_id(headers)
            && let Ok(text) = value.to_str()
        {
            return Self { value: value.clone(), text: text.into() };
        }
        let mut text = Text::<REQUEST_ID_CHARS>::new();
        text.push_hex(uuid_v7(at, id_entropy(entropy)).as_bytes());
        let value = HeaderValue::from_bytes(text.as_bytes());
        let value = value.unwrap_or(HeaderValue::from_static("-"));
        Self { value, text: text.as_str().into() }
    }
}

/// See [`Gateway::uncancelled`].
pub(crate) struct Uncancelled<P: Platform, T: 'static> {
    gateway: Gateway<P>,
    work: Option<futures_util::future::LocalBoxFuture<'static, T>>,
}

impl<P: Platform, T: 'static> Future for Uncancelled<P, T> {
    type Output = T;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<T> {
        let work = self.work.as_mut().expect("a future is not polled once it is ready");
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<P: Platform, T: 'static> Drop for Uncancelled<P, T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.gateway.background.spawn(async move {
                work.await;
            });
        }
    }
}
