//! `/admin/v1/organizations`.

pub(super) mod create;
mod customer;
pub(super) mod ledger_host;
pub(super) mod list;
pub(super) mod show;
pub(super) mod update;
mod valid;
mod view;
