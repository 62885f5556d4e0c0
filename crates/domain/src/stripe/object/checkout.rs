//! A Checkout Session: it only *links* an organization to a customer and a subscription.
//!
//! It has no billing period, and in `payment` and `setup` mode no subscription.

use serde_json::Value;

use super::{path, reference, text};

/// The members of a Checkout Session that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSession {
    /// `cs_…`.
    pub id: Option<String>,
    /// What it was for.
    pub mode: Option<CheckoutMode>,
    /// `client_reference_id`, which we set to the organization's id.
    pub client_reference_id: Option<String>,
    /// `metadata.organization`, which we set to the same id.
    pub organization: Option<String>,
    /// The customer that completed it.
    pub customer: Option<String>,
    /// The subscription that it created.
    pub subscription: Option<String>,
}

/// What a Checkout Session was for; open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckoutMode {
    /// A subscription.
    Subscription,
    /// A single payment.
    Payment,
    /// A payment method for later.
    Setup,
    /// A mode that Stripe added later.
    Other(String),
}

impl CheckoutSession {
    /// Reads a Checkout Session.
    #[must_use]
    pub fn read(object: &Value) -> Self {
        Self {
            id: text(object, "id").map(str::to_owned),
            mode: text(object, "mode").map(mode),
            client_reference_id: text(object, "client_reference_id").map(str::to_owned),
            organization: path(object, &["metadata", "organization"])
                .and_then(Value::as_str)
                .map(str::to_owned),
            customer: reference(object, "customer").map(str::to_owned),
            subscription: reference(object, "subscription").map(str::to_owned),
        }
    }
}

fn mode(text: &str) -> CheckoutMode {
    match text {
        "subscription" => CheckoutMode::Subscription,
        "payment" => CheckoutMode::Payment,
        "setup" => CheckoutMode::Setup,
        other => CheckoutMode::Other(other.to_owned()),
    }
}
