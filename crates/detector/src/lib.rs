//! The reference backend: compression-based anomaly detection, with the JSON API that the gateway's
//! default routes lead to.

pub mod compress;
pub mod detect;
pub mod event;
mod explain;
pub mod fdr;
mod finding;
mod http;
pub mod input;
pub mod mask;
mod novelty;
pub mod permute;
pub mod prng;
pub mod redact;
mod series;
pub mod settings;
pub mod severity;
pub mod store;
mod vocabulary;
pub mod windows;

pub use http::{Bound, StartError, bind};
