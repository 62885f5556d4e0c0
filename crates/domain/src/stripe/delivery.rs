//! A verified delivery from Stripe, as it is stored in the event inbox.

use serde::{Deserialize, Serialize};

use super::event::{Event, MalformedEvent};
use super::object::Subject;
use crate::time::Timestamp;

/// The error of an event of the mode whose events have no effect.
pub const OTHER_MODE: &str = "`livemode` does not match `stripe.livemode`";

/// The error of an event of a connected account, which sells nothing here.
#[must_use]
pub fn of_other_account(account: &str) -> String {
    let account: String = account.chars().take(ACCOUNT_CHARS_MAX).collect();
    format!("it happened in the connected account {account}: only the own account's events count")
}

/// The most characters of an account's id that the error repeats.
const ACCOUNT_CHARS_MAX: usize = 64;

/// What the event inbox stores of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event's id: a second delivery of it is a duplicate.
    pub event: String,
    /// The event's type.
    pub kind: String,
    /// When it happened.
    pub created: Timestamp,
    /// Whether it concerns real money, where it says so.
    pub livemode: Option<bool>,
    /// The customer that it is about.
    pub customer: Option<String>,
    /// When it was received.
    pub received_at: Timestamp,
    /// The bytes that were signed.
    pub body: Vec<u8>,
    /// Its first state.
    pub state: DeliveryState,
    /// Why it is not processed, if it is not.
    pub note: Option<String>,
}

/// A delivery as it is listed: everything but its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxEntry {
    /// The event's id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    pub created: Timestamp,
    /// Whether it concerns real money, where it says so.
    pub livemode: Option<bool>,
    /// The customer that it is about.
    pub customer: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// Its state.
    pub state: DeliveryState,
    /// How many attempts to process it failed.
    pub attempts: u32,
    /// When it had its effect.
    pub processed_at: Option<Timestamp>,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be processed.
    Pending,
    /// Processed: its effect is committed.
    Done,
    /// Stored without effect: its type is not handled, or its mode or account is another.
    Ignored,
    /// A dead letter: it is not processed until an operator replays it.
    Dead,
}

impl DeliveryState {
    /// The state's name in stores and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Ignored => "ignored",
            Self::Dead => "dead",
        }
    }
}

/// A text that is not the name of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a state; there are pending, done, ignored and dead")]
pub struct UnknownState;

impl std::str::FromStr for DeliveryState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let all = [Self::Pending, Self::Done, Self::Ignored, Self::Dead];
        all.into_iter().find(|state| state.as_str() == text).ok_or(UnknownState)
    }
}

impl Delivery {
    /// Reads a verified body. With `livemode` only events of that mode have an effect.
    ///
    /// # Errors
    /// [`MalformedEvent`] names what is missing or malformed.
    pub fn read(
        body: &[u8],
        now: Timestamp,
        livemode: Option<bool>,
    ) -> Result<Self, MalformedEvent> {
        let event = Event::parse(body)?;
        let subject = event.subject();
        let customer = subject.customer().map(str::to_owned);
        let (state, note) = if !event.kind.is_handled() {
            (DeliveryState::Ignored, None)
        } else if event.is_of_other_mode(livemode) {
            (DeliveryState::Ignored, Some(OTHER_MODE.to_owned()))
        } else if let Some(account) = &event.account {
            (DeliveryState::Ignored, Some(of_other_account(account)))
        } else if let Subject::Unreadable(missing) = &subject {
            (DeliveryState::Dead, Some(missing.to_string()))
        } else if customer.is_none() && event.kind.is_looked_up() {
            // A dispute names a charge, and the charge names a customer; a report of meter errors
            // is fetched. Processing does both, so the event stays pending.
            (DeliveryState::Pending, None)
        } else if customer.is_none() {
            let anonymous = matches!(&subject, Subject::Checkout(_));
            let state = if anonymous { DeliveryState::Ignored } else { DeliveryState::Dead };
            (state, Some("it names no customer".to_owned()))
        } else {
            (DeliveryState::Pending, None)
        };
        Ok(Self {
            event: event.id,
            kind: event.kind.as_str().to_owned(),
            created: event.created,
            livemode: event.livemode,
            customer,
            received_at: now,
            body: body.to_vec(),
            state,
            note,
        })
    }
}
