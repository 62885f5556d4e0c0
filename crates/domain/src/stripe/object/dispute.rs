//! A dispute: it names a charge, and only an expanded charge names the customer.

use serde_json::Value;

use super::{MissingMember, field, id, reference, text};

/// The members of a dispute object that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// `dp_…` or `du_…`.
    pub id: String,
    /// The disputed charge, `ch_…`; the charge names the customer.
    pub charge: Option<String>,
    /// The payment that the charge was made for.
    pub payment_intent: Option<String>,
    /// The customer, if the charge is expanded or the dispute names it.
    pub customer: Option<String>,
    /// `fraudulent`, ….
    pub reason: Option<String>,
    /// `needs_response`, ….
    pub status: Option<String>,
    /// The disputed amount, in the currency's smallest unit (cents).
    pub amount: i64,
}

impl Dispute {
    /// Reads a dispute object.
    ///
    /// # Errors
    /// [`MissingMember`] when it has no id.
    pub fn read(object: &Value) -> Result<Self, MissingMember> {
        let of_charge = field(object, "charge").and_then(|charge| reference(charge, "customer"));
        Ok(Self {
            id: id(object, "dispute")?,
            charge: reference(object, "charge").map(str::to_owned),
            payment_intent: reference(object, "payment_intent").map(str::to_owned),
            customer: reference(object, "customer").or(of_charge).map(str::to_owned),
            reason: text(object, "reason").map(str::to_owned),
            status: text(object, "status").map(str::to_owned),
            amount: field(object, "amount").and_then(Value::as_i64).unwrap_or(0),
        })
    }
}
