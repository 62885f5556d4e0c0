//! The gateway on Cloudflare Workers: the shared request flow over the platform's storage and
//! `fetch`.
//!
//! `entry.mjs` calls the entry points. The cell, ledger and audit chain of an organization are in
//! one Durable Object; organizations and keys are in D1 or a Supabase project. Bodies stay the
//! runtime's streams.

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

/// Sets the text of `gateway.toml`; `entry.mjs` calls this once, before anything else.
#[wasm_bindgen]
pub fn configure(text: String) {
    // It fails when the module is evaluated again: the subscriber is set already.
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

/// The cron: work that requests left unfinished, and periodic jobs.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, context: ScheduleContext) {
    if let Err(fault) = sweep::sweep(&env, context.into()).await {
        tracing::error!(error = fault.cause, "the cron run could not start, will retry");
    }
}
