//! The gateway's own API.

pub(crate) mod admin;
