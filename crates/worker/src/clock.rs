//! The time and unpredictable bytes, as the platform gives them.

use std::cell::Cell;
use std::time::Duration;

use driftlock_domain::time::Timestamp;
use driftlock_domain::trusted_time::ClockStatus;
use driftlock_gateway::ports::{Clock, Entropy};
use wasm_bindgen::prelude::wasm_bindgen;

/// The platform's clock. It does not advance while code runs and may be set back between requests;
/// this clock never goes backwards within an isolate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EdgeClock;

thread_local! {
    static LATEST: Cell<Timestamp> = const { Cell::new(Timestamp::from_micros(0)) };
    static IS_HELD: Cell<bool> = const { Cell::new(false) };
}

/// If the latest time is ahead of the platform's clock by more than this, it is wrong: the
/// platform's clock leapt and was set back.
const AHEAD_MAX: Duration = Duration::from_secs(600);

impl EdgeClock {
    /// Holds irreversible work (removing, sealing) in this isolate, or allows it again. The cron
    /// decides at each run, since there is no monotonic clock here.
    pub(crate) fn hold(is_held: bool) {
        IS_HELD.set(is_held);
    }
}

impl Clock for EdgeClock {
    fn now(&self) -> Timestamp {
        let latest = LATEST.get().max(self.wall());
        LATEST.set(latest);
        latest
    }

    fn wall(&self) -> Timestamp {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit")]
        let millis = js_sys::Date::now() as i64;
        Timestamp::from_micros(millis * 1_000)
    }

    fn status(&self) -> ClockStatus {
        let is_ahead = self.now().since(self.wall()) > AHEAD_MAX;
        ClockStatus { is_confirmed: !IS_HELD.get() && !is_ahead, ..ClockStatus::STEADY }
    }
}

/// The platform's random number generator.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EdgeEntropy;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(buffer: &mut [u8]);
}

impl Entropy for EdgeEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        get_random_values(buffer);
    }
}
