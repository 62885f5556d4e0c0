//! API keys: `/admin/v1/organizations/{id}/keys` and `/admin/v1/keys/{id}/…`.

pub(super) mod create;
pub(super) mod list;
pub(super) mod revoke;
pub(super) mod rotate;
mod view;
