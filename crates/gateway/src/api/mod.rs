//! The gateway's API.

pub(crate) mod admin;
