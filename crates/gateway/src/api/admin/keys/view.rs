//! A key as the API shows it: with its secret once, in the answer that made it.

use driftlock_domain::key::{ApiKeySecret, KeyRecord};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct NewKey<'a> {
    #[serde(flatten)]
    pub(super) record: &'a KeyRecord,
    key: &'a str,
    /// The key that it takes over from, after a rotation.
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
