//! A gateway in virtual time, over any store and the double of Stripe. The test decides when a wait
//! ends; a crash is a future that never continues.

mod lives;
mod platform;
mod run;
mod upstream;

use bytes::Bytes;
use driftlock_domain::config::Config;
use driftlock_domain::stripe::{api, signature};
use driftlock_gateway::ports::Clock;
use driftlock_gateway::{AdminTokens, Gateway, Listener, LocalCells, Parts, Secrets, Shared};
use http::{Request, Response};
use serde_json::Value;

pub use lives::{Course, EventContent, live};
pub use platform::{Seeded, SimPlatform, SimStore, ToDouble};
pub use run::{Later, run, run_for};
pub use upstream::Echo;

use crate::clock::VirtualClock;
use crate::make::node;
use crate::stripe::{SECRET_KEY, StripeDouble};

/// The secret that signs deliveries.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_simulation_0123456789";

/// The token of the gateway's admin API.
const ADMIN_TOKEN: &str = "admin-token-of-the-simulation-0123456789";

/// Whether the gateway calls Stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// With a secret key: it calls Stripe.
    Online,
    /// Without a secret key: it knows only the events.
    Offline,
}

/// One process of the gateway.
pub struct Sim<S: SimStore> {
    /// The gateway.
    pub gateway: Gateway<SimPlatform<S>>,
    /// The work that the gateway left for later.
    pub later: Later,
    clock: VirtualClock,
}

/// Ends the process, and drops the work left for later, which keeps the gateway alive.
impl<S: SimStore> Drop for Sim<S> {
    fn drop(&mut self) {
        self.later.forget();
    }
}

/// The default settings with minimal tables, since a test starts many gateways.
#[must_use]
pub fn config() -> Config {
    let mut config = Config::default();
    config.limits.addresses_max = 1_024;
    config.keys.cache_entries_max = 1_024;
    config
}

impl<S: SimStore> Sim<S> {
    /// Starts a gateway over a store.
    ///
    /// # Panics
    /// When the configuration is wrong.
    #[must_use]
    pub fn start(
        store: &S,
        clock: &VirtualClock,
        double: &StripeDouble,
        asking: Asking,
        config: &Config,
    ) -> Self {
        let routes = config.route_table().expect("it is valid");
        let access = api::Access::new(SECRET_KEY, "http://stripe.invalid").expect("well-formed");
        let secrets = Secrets {
            admin_tokens: AdminTokens::parse(ADMIN_TOKEN).expect("long enough"),
            webhook_secrets: Some(signature::Secrets::parse(WEBHOOK_SECRET).expect("well-formed")),
            stripe: (asking == Asking::Online).then_some(access),
            ..Secrets::default()
        };
        let later = Later::default();
        let parts = Parts {
            shared: Shared::new(config.clone(), routes, secrets),
            directory: store.clone(),
            admission: LocalCells::new(store.clone(), clock.clone(), node(1)),
            usage: store.clone(),
            audit: store.clone(),
            inbox: store.clone(),
            reports: store.clone(),
            alerts: store.clone(),
            http: ToDouble(double.clone()),
            upstream: Echo,
            clock: clock.clone(),
            entropy: Seeded::default(),
            background: later.clone(),
        };
        Self { gateway: Gateway::new(parts), later, clock: clock.clone() }
    }

    /// Delivers an event, signed at the wall clock's time; returns the status of the answer.
    pub async fn deliver(&self, event: &[u8]) -> u16 {
        let signed = signature::sign(WEBHOOK_SECRET, self.clock.wall().secs(), event);
        let request = Request::post("/webhooks/stripe")
            .header("host", "gateway")
            .header("content-type", "application/json")
            .header("stripe-signature", signed)
            .body(Bytes::copy_from_slice(event))
            .expect("a request");
        self.handle(request).await.status().as_u16()
    }

    /// Calls the admin API; returns the status and body of the answer.
    pub async fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1{path}"))
            .header("host", "gateway")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .body(if method == "GET" { Bytes::new() } else { body.to_string().into() })
            .expect("a request");
        let answer = self.handle(request).await;
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        (answer.status().as_u16(), body)
    }

    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let peer = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
        self.gateway.handle(request, peer, Listener::Public).await
    }
}
