//! Whole life cycles for trying out billing, and single events of every handled type.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::{Life, LifeParams, Start};
use crate::stripe::event::EventKind;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A life cycle to try out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Checkout, a subscription, its first payment.
    Signup,
    /// A renewal that fails twice and is then paid.
    PaymentFailure,
    /// A change to another price in the middle of a period.
    Upgrade,
    /// A scheduled end that then happens.
    Cancel,
}

/// A text that names no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such scenario; there are signup, payment-failure, upgrade and cancel")]
pub struct UnknownScenario;

impl Scenario {
    /// All scenarios.
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

    /// The scenario's life; each begins with a sign-up.
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

    /// Continues an existing life with this scenario. All its events happen now, since the earlier
    /// ones lie in the past. Without a live subscription it begins with another sign-up.
    #[must_use]
    pub fn continue_life(self, mut life: Life) -> Life {
        if self == Self::Signup || !life.is_live() {
            life.subscribe(&life.params().price.clone(), Start::Paid);
            life.checkout();
        }
        match self {
            Self::Signup => {}
            Self::PaymentFailure => {
                life.bill();
                life.fail();
                life.fail();
                life.pay();
            }
            Self::Upgrade => life.change_price(&life.params().upgrade.clone()),
            Self::Cancel => {
                life.schedule_cancellation();
                life.cancel();
            }
        }
        life
    }
}

/// A complete sample event of one handled type: the last event of this life. If the present
/// subscription cannot have such an event, a new one begins. `None` if the type is not handled.
#[must_use]
pub fn event(kind: &EventKind, mut life: Life) -> Option<Value> {
    if !kind.is_handled() {
        return None;
    }
    let price = life.params().price.clone();
    let start = match kind {
        EventKind::SubscriptionPaused
        | EventKind::SubscriptionResumed
        | EventKind::TrialWillEnd => Start::Trial(14),
        EventKind::InvoicePaymentFailed
        | EventKind::InvoiceVoided
        | EventKind::InvoiceMarkedUncollectible => Start::Unpaid,
        _ => Start::Paid,
    };
    if *kind == EventKind::SubscriptionCreated || !life.is_live() {
        life.subscribe(&price, start);
    }
    act(kind, &mut life);
    let wanted = |event: &Value| event["type"].as_str() == Some(kind.as_str());
    if !life.events().iter().any(wanted) {
        life.subscribe(&price, start);
        act(kind, &mut life);
    }
    life.into_events().into_iter().rev().find(wanted)
}

/// Does what makes such an event, unless the life has such an event already.
fn act(kind: &EventKind, life: &mut Life) {
    let has_one = |life: &Life| life.events().iter().any(|event| event["type"] == kind.as_str());
    match kind {
        EventKind::CheckoutCompleted => life.checkout(),
        EventKind::SubscriptionUpdated => {
            let (price, upgrade) = (life.params().price.clone(), life.params().upgrade.clone());
            life.change_price(if life.buys(&upgrade) { &price } else { &upgrade });
        }
        EventKind::SubscriptionDeleted => life.cancel(),
        EventKind::SubscriptionPaused => life.pause(),
        EventKind::SubscriptionResumed => {
            life.pause();
            life.resume();
        }
        EventKind::TrialWillEnd => life.announce_trial_end(),
        EventKind::CustomerDeleted => life.delete_customer(),
        EventKind::DisputeCreated => life.dispute(),
        EventKind::DisputeClosed => {
            life.dispute();
            life.close_dispute();
        }
        EventKind::MeterErrorReport => life.report_meter_errors(),
        EventKind::InvoiceCreated
        | EventKind::InvoiceFinalized
        | EventKind::InvoicePaid
        | EventKind::InvoicePaymentSucceeded
        | EventKind::InvoicePaymentFailed
            if has_one(life) => {}
        EventKind::InvoiceCreated | EventKind::InvoiceFinalized => life.bill(),
        EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => {
            life.bill();
            life.pay();
        }
        EventKind::InvoicePaymentFailed => {
            life.bill();
            life.fail();
        }
        EventKind::InvoiceVoided => {
            life.bill();
            life.void();
        }
        EventKind::InvoiceMarkedUncollectible => {
            life.bill();
            life.write_off();
        }
        EventKind::SubscriptionCreated | EventKind::Other(_) => {}
    }
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
