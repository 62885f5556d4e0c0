//! The flow of a request, for any host: `filter → route → authenticate → entitle → admit → forward
//! → settle → respond`.
//!
//! Runtime-free; it builds natively and for wasm. Decisions are `driftlock-domain`'s, effects go
//! through `ports`.

pub mod ports;
