//! The meter that usage is reported to: found by its event name, and its id cached.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::time::Timestamp;

use crate::gateway::Gateway;
use crate::ports::{Clock, Platform};

/// How long the meter's id is cached.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// The meter's id and until when it is cached.
#[derive(Debug, Default)]
pub(crate) struct KnownMeter(Mutex<Option<(String, Timestamp)>>);

impl KnownMeter {
    fn known(&self, now: Timestamp) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(_, until)| now < *until).map(|(id, _)| id.clone())
    }

    fn learn(&self, id: String, until: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, until));
    }
}

impl<P: Platform> Gateway<P> {
    /// The id of the meter that usage is reported to.
    pub(super) async fn meter(&self) -> Result<String, ApiError> {
        let now = self.clock.now();
        if let Some(known) = self.shared.meter.known(now) {
            return Ok(known);
        }
        let name = &self.shared.config.stripe.meter_event_name;
        let meters = self.stripe_list(&Call::get("/v1/billing/meters")).await?;
        let ours = meters.iter().find(|meter| meter["event_name"].as_str() == Some(name));
        let id = ours.and_then(|meter| meter["id"].as_str()).map(str::to_owned);
        let id = id.ok_or_else(|| {
            ApiError::Missing(format!(
                "a billing meter of event_name `{name}` ([stripe] meter_event_name)"
            ))
        })?;
        self.shared.meter.learn(id.clone(), now.plus(KNOWN_FOR));
        Ok(id)
    }
}
