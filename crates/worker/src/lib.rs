//! The gateway on Cloudflare Workers: the shared flow, with the platform's storage and `fetch`.
//!
//! The entry points are called by `entry.mjs`. An organization's cell, ledger and audit chain are
//! one Durable Object; organizations and keys are in D1. Bodies stay the runtime's streams.

#![cfg(target_arch = "wasm32")]

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
mod reports;
mod supabase;
mod upstream;
mod usage;
mod wire;

use driftlock_domain::denial::Fault;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Context, Env, ScheduleContext, ScheduledEvent, event};

use background::RequestContext;
use isolate::Isolate;

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
    match exchange::exchange(&request, &env, &context).await {
        Ok(response) => Ok(response),
        Err(cause) => {
            tracing::error!(cause, "the request could not be served");
            let init = web_sys::ResponseInit::new();
            init.set_status(503);
            let text = Some("the gateway is not ready");
            Ok(web_sys::Response::new_with_opt_str_and_init(text, &init)?)
        }
    }
}

/// Organizations whose audit logs a sweep looks at: each is a subrequest, of which it has few.
const PRUNED_AT_ONCE: usize = 40;

/// The cron: what a request left undone is taken up.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, context: ScheduleContext) {
    if let Err(fault) = sweep(&env, context.into()).await {
        tracing::error!(cause = fault.cause, "the sweep failed, and comes round again");
    }
}

async fn sweep(env: &Env, context: RequestContext) -> Result<(), Fault> {
    let isolate = Isolate::get(env).map_err(Fault::store)?;
    let (gateway, directory) = platform::gateway(&isolate, env, context)?;
    directory.prepare().await?;
    directory.ship_all().await?;
    gateway.process_due_events().await;
    gateway.report_usage().await;
    if isolate.has_stripe && directory.is_reconciliation_due(isolate.reconciled_every).await? {
        gateway.reconcile_and_tell().await;
    }
    let after = directory.pruned_up_to().await?;
    let last = gateway.look_after(after, PRUNED_AT_ONCE).await?;
    directory.set_pruned_up_to(last).await
}
