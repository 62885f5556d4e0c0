//! The edge's adapters for the gateway's ports.

use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_gateway::ports::Platform;
use driftlock_gateway::{Gateway, Parts};
use driftlock_supabase::{Timing, store};
use worker::Env;

use crate::admission::EdgeAdmission;
use crate::background::RequestContext;
use crate::clock::{EdgeClock, EdgeEntropy};
use crate::d1::D1Directory;
use crate::directory::EdgeDirectory;
use crate::http_client::EdgeHttp;
use crate::isolate::Isolate;
use crate::objects::Objects;
use crate::reports::EdgeReports;
use crate::request_idempotency::RequestIdempotency;
use crate::supabase::SupabaseDirectory;
use crate::upstream::EdgeUpstream;
use crate::usage::EdgeUsage;

/// Bound of a call of Stripe, which no request waits for.
const STRIPE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bound of a call of the Supabase project as directory.
const STORE_TIMEOUT: Duration = Duration::from_secs(8);

/// See the module.
pub(crate) struct Edge;

impl Platform for Edge {
    const LEDGER: LedgerKind = LedgerKind::Objects;
    type Directory = EdgeDirectory;
    type Admission = EdgeAdmission;
    type Usage = EdgeUsage;
    type Audit = Objects;
    type Inbox = EdgeDirectory;
    type Reports = EdgeReports;
    type Alerts = EdgeReports;
    type Http = EdgeHttp;
    type Upstream = EdgeUpstream;
    type Clock = EdgeClock;
    type Entropy = EdgeEntropy;
    type Background = RequestContext;
}

/// The directory of this environment.
///
/// # Errors
/// When a binding is missing.
fn directory(isolate: &Isolate, env: &Env, objects: Objects) -> Result<EdgeDirectory, Fault> {
    if let Some(access) = &isolate.supabase {
        let store = store(EdgeHttp(STORE_TIMEOUT), Arc::clone(access), Timing::Database);
        return Ok(EdgeDirectory::Supabase(SupabaseDirectory::new(store, objects)));
    }
    let database = env.d1("DIRECTORY").map_err(|error| missing("D1 database DIRECTORY", &error))?;
    Ok(EdgeDirectory::D1(D1Directory::new(database, objects)))
}

/// The organizations' objects.
///
/// # Errors
/// When a binding is missing.
pub(crate) fn objects(env: &Env) -> Result<Objects, Fault> {
    let namespace = env.durable_object("ORGANIZATIONS");
    let namespace =
        namespace.map_err(|error| missing("Durable Object namespace ORGANIZATIONS", &error))?;
    Ok(Objects::new(namespace))
}

/// The gateway for one request: parts that need its context are new, the others are the isolate's.
///
/// # Errors
/// When a binding is missing.
pub(crate) fn gateway(
    isolate: &Isolate,
    env: &Env,
    context: RequestContext,
) -> Result<(Gateway<Edge>, EdgeDirectory), Fault> {
    let objects = objects(env)?;
    let directory = directory(isolate, env, objects.clone())?;
    let key = RequestIdempotency::default();
    let gateway = Gateway::new(Parts {
        shared: isolate.shared.clone(),
        directory: directory.clone(),
        admission: EdgeAdmission::new(
            objects.clone(),
            directory.clone(),
            context.clone(),
            key.clone(),
        ),
        usage: EdgeUsage { objects: objects.clone(), directory: directory.clone(), key },
        inbox: directory.clone(),
        reports: EdgeReports { objects: objects.clone(), directory: directory.clone() },
        alerts: EdgeReports { objects: objects.clone(), directory: directory.clone() },
        http: EdgeHttp(STRIPE_TIMEOUT),
        audit: objects,
        upstream: EdgeUpstream::new(isolate.backends.clone(), context.clone()),
        clock: EdgeClock,
        entropy: EdgeEntropy,
        background: context,
    });
    Ok((gateway, directory))
}

fn missing(binding: &str, error: &worker::Error) -> Fault {
    Fault::store(format!("the binding {binding} is missing: {error}"))
}
