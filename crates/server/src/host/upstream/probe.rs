//! Health checks: each backend's path is requested at a fixed interval; any 2xx means healthy. The
//! request has `backend.headers`, because a backend may require a key also for its health.

use std::time::Duration;

use driftlock_domain::config;
use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{Request, Uri};

use super::target::Target;
use super::{Backend, RequestBody};

impl Backend {
    /// Checks every backend at a fixed interval; returns at once if no path is configured.
    pub(crate) async fn probe(&self, config: &config::Backend) {
        let path = config.health_path.as_deref();
        let Some(path) = path.and_then(|path| path.parse::<PathAndQuery>().ok()) else { return };
        let (path, every) = (Uri::from(path), Duration::from_millis(config.health_every_ms));
        let mut rounds = tokio::time::interval(every);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let checks = self.0.targets.iter().map(|target| {
                let mut request = Request::new(RequestBody::Full(None));
                request.headers_mut().extend(self.0.headers.iter().cloned());
                check(target, request, &path, every)
            });
            join_all(checks).await;
        }
    }
}

/// Checks one backend. The timeout is the interval between two checks.
async fn check(target: &Target, mut request: Request<RequestBody>, path: &Uri, patience: Duration) {
    if target.address(&mut request, path.clone()).is_err() {
        return;
    }
    let well = match target.send(request, patience, Some(patience)).await {
        Ok(response) => response.status().is_success(),
        Err(_) => false,
    };
    match (target.health.checked(well), well) {
        (true, true) => {
            tracing::info!(backend = %target.url(), "backend passed its health check again")
        }
        (true, false) => tracing::warn!(backend = %target.url(), "backend failed its health check"),
        (false, _) => {}
    }
}
