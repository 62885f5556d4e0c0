//! Health checks: each backend is asked for its path in a steady rhythm; any 2xx is well. The
//! question carries `backend.headers`, as requests do: a backend may want a key for its health,
//! too.

use std::time::Duration;

use driftlock_domain::config;
use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{Request, Uri};

use super::target::Target;
use super::{Backend, RequestBody};

impl Backend {
    /// Asks every backend in a steady rhythm; ends at once when no path is configured.
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

/// One backend has as much time as there is between two checks.
async fn check(target: &Target, mut request: Request<RequestBody>, path: &Uri, patience: Duration) {
    if target.address(&mut request, path.clone()).is_err() {
        return;
    }
    let well = match target.send(request, patience, Some(patience)).await {
        Ok(response) => response.status().is_success(),
        Err(_) => false,
    };
    match (target.health.checked(well), well) {
        (true, true) => tracing::info!(backend = %target.url(), "is well again"),
        (true, false) => tracing::warn!(backend = %target.url(), "failed its health check"),
        (false, _) => {}
    }
}
