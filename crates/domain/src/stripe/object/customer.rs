//! A customer, deleted or not.

use serde_json::Value;

use super::{MissingMember, id, path};

/// The members of a customer object that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// `cus_…`.
    pub id: String,
    /// Whether it was deleted (`deleted: true`, as Stripe answers when it is fetched).
    pub deleted: bool,
    /// `metadata.organization`, as we set it.
    pub organization: Option<String>,
}

impl Customer {
    /// Reads a customer object.
    ///
    /// # Errors
    /// [`MissingMember`] when it has no id.
    pub fn read(object: &Value) -> Result<Self, MissingMember> {
        Ok(Self {
            id: id(object, "customer")?,
            deleted: object.get("deleted").and_then(Value::as_bool).unwrap_or(false),
            organization: path(object, &["metadata", "organization"])
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }
}
