//! A new key in an answer. Only the answer that creates a key contains its secret.

use driftlock_domain::key::{ApiKeySecret, KeyRecord};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct NewKey<'a> {
    #[serde(flatten)]
    pub(super) record: &'a KeyRecord,
    key: &'a str,
    /// After a rotation, the key that this key replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<&'a KeyRecord>,
}

impl<'a> NewKey<'a> {
    pub(super) fn of(
        record: &'a KeyRecord,
        secret: &'a ApiKeySecret,
        replaces: Option<&'a KeyRecord>,
    ) -> Self {
        Self { record, key: secret.expose(), replaces }
    }
}
