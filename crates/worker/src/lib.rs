//! The gateway on Cloudflare Workers: the shared flow, with the platform's storage and `fetch`.
//!
//! The entry points are called by `entry.mjs`. An organization's cell, ledger and audit chain are
//! one Durable Object; organizations and keys are in D1. Bodies stay the runtime's streams.

#![cfg(target_arch = "wasm32")]

mod admission;
mod background;
mod body;
mod clock;
mod d1;
mod directory;
mod exchange;
mod headers;
mod http_client;
mod isolate;
mod js;
mod log;
mod object;
mod objects;
mod platform;
mod queued;
mod refusal;
mod reports;
mod request_idempotency;
mod supabase;
mod sweep;
mod upstream;
mod usage;
mod wire;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Context, Env, ScheduleContext, ScheduledEvent, event};

use background::RequestContext;

/// Takes over the text of `gateway.toml`; called once, before anything else.
#[wasm_bindgen]
pub fn configure(text: String) {
    // A module that is evaluated again has its subscriber already.
    let _ = tracing::subscriber::set_global_default(log::Console);
    isolate::configure(text);
}

/// Answers one request.
#[event(fetch)]
async fn fetch(
    request: web_sys::Request,
    env: Env,
    context: Context,
) -> worker::Result<web_sys::Response> {
    let context = RequestContext::from(context);
    Ok(exchange::exchange(&request, &env, &context).await?)
}

/// The cron: what a request left undone is taken up.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, context: ScheduleContext) {
    if let Err(fault) = sweep::sweep(&env, context.into()).await {
        tracing::error!(cause = fault.cause, "the sweep could not begin, and comes round again");
    }
}
