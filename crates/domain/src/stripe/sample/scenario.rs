//! Whole lives for trying things out, and single events of every handled type.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::{Life, LifeParams, Start};
use crate::stripe::event::EventKind;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A life worth trying out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Checkout, a subscription, its first payment.
    Signup,
    /// A renewal that fails twice and is then paid.
    PaymentFailure,
    /// Another price in the middle of a period.
    Upgrade,
    /// An end that is scheduled, and then comes.
    Cancel,
}

/// Text that names no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such scenario; there are signup, payment-failure, upgrade and cancel")]
pub struct UnknownScenario;

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Signup, Self::PaymentFailure, Self::Upgrade, Self::Cancel];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signup => "signup",
            Self::PaymentFailure => "payment-failure",
            Self::Upgrade => "upgrade",
            Self::Cancel => "cancel",
        }
    }

    /// The life it tells; each begins with a sign-up.
    #[must_use]
    pub fn life(self, params: LifeParams) -> Life {
        let (price, upgrade) = (params.price.clone(), params.upgrade.clone());
        let mut life = Life::new(params);
        life.subscribe(&price, Start::Paid);
        life.checkout();
        match self {
            Self::Signup => {}
            Self::PaymentFailure => {
                life.renew();
                life.wait(HOUR);
                life.fail();
                life.wait(3 * DAY);
                life.fail();
                life.wait(DAY);
                life.pay();
            }
            Self::Upgrade => {
                life.wait(10 * DAY);
                life.change_price(&upgrade);
            }
            Self::Cancel => {
                life.wait(10 * DAY);
                life.schedule_cancellation();
                life.renew();
            }
        }
        life
    }
}

/// A complete sample event of one handled type; `None` for a type that is not handled.
#[must_use]
pub fn event(kind: &EventKind, params: LifeParams) -> Option<Value> {
    let (price, upgrade) = (params.price.clone(), params.upgrade.clone());
    let mut life = Life::new(params);
    let start = match kind {
        EventKind::SubscriptionPaused
        | EventKind::SubscriptionResumed
        | EventKind::TrialWillEnd => Start::Trial(14),
        EventKind::InvoicePaymentFailed | EventKind::InvoiceVoided => Start::Unpaid,
        _ => Start::Paid,
    };
    life.subscribe(&price, start);
    match kind {
        EventKind::CheckoutCompleted => life.checkout(),
        EventKind::SubscriptionUpdated => life.change_price(&upgrade),
        EventKind::SubscriptionDeleted => life.cancel(),
        EventKind::SubscriptionPaused => life.pause(),
        EventKind::SubscriptionResumed => {
            life.pause();
            life.resume();
        }
        EventKind::TrialWillEnd => life.announce_trial_end(),
        EventKind::InvoiceVoided => life.void(),
        EventKind::CustomerDeleted => life.delete_customer(),
        EventKind::DisputeCreated => life.dispute(),
        EventKind::DisputeClosed => {
            life.dispute();
            life.close_dispute();
        }
        EventKind::MeterErrorReport => life.report_meter_errors(),
        EventKind::SubscriptionCreated
        | EventKind::InvoicePaid
        | EventKind::InvoicePaymentSucceeded
        | EventKind::InvoicePaymentFailed
        | EventKind::InvoiceFinalized
        | EventKind::Other(_) => {}
    }
    let wanted = |event: &Value| event["type"].as_str() == Some(kind.as_str());
    life.into_events().into_iter().rev().find(wanted)
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, UnknownScenario> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(UnknownScenario)
    }
}
