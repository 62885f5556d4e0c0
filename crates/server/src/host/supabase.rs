//! A Supabase project as the store of a native gateway, used through its REST API.
//!
//! Every settlement is a call, and changes are polled. If the gateway can reach the database
//! itself, `ENV_DATABASE_URL` is faster and uses the same rows.

use std::sync::{Arc, Weak};
use std::time::Instant;

use anyhow::{Result, anyhow};
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::NodeId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::Shared;
use driftlock_gateway::ports::{Clock, id_entropy};
use driftlock_postgres_core::{CHANGES, Call, POLLED_EVERY, Reader};
use driftlock_supabase::{Access, RestClient, SupabaseStore, Timing, check, store};

use super::clock::NativeClock;
use super::entropy::NativeEntropy;
use super::http_client::{self, NativeHttp};
use super::platform::{NativeStore, SharedStore, forget};
use super::store_http::StoreHttp;

/// Opens the store of a project and checks its schema.
///
/// # Errors
/// A mistake in the project, its key or its schema.
pub(crate) fn open(access: Arc<Access>) -> Result<SupabaseStore<StoreHttp>> {
    let store = store(StoreHttp::new(http_client::STORE), access, Timing::Database);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check(&store)).map_err(|fault| anyhow!(fault.cause))?;
    Ok(store)
}

impl NativeStore for SupabaseStore<StoreHttp> {
    /// A restarted process does not know the leases of the earlier process; those expire.
    fn node(&self, clock: &NativeClock) -> NodeId {
        NodeId::make(clock.now(), id_entropy(&NativeEntropy))
    }

    fn follow(&self, shared: &Arc<Shared>, clock: &NativeClock) {
        let (shared, clock) = (Arc::downgrade(shared), clock.clone());
        // A separate client, so that polling waits for no other call.
        let rest = self.caller().over(NativeHttp::new(http_client::CHANGES));
        let started = std::thread::Builder::new().name("supabase".into()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(watch(&rest, &shared, &clock)),
                Err(error) => tracing::error!(%error, "could not start to poll for changes"),
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "could not start to poll for changes");
        }
    }
}

impl SharedStore for SupabaseStore<StoreHttp> {
    async fn settle_late(
        &self,
        settlement: &Settlement,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Settled, Fault> {
        Self::settle_late(self, settlement, terms, now).await
    }
}

/// Polls for changes as long as the cache exists.
async fn watch(rest: &RestClient<NativeHttp>, shared: &Weak<Shared>, clock: &NativeClock) {
    let mut reader = Reader::new(Instant::now());
    let mut is_away = false;
    loop {
        let asked = Instant::now();
        let answer = rest.call(CHANGES, reader.question()).await;
        let Some(shared) = shared.upgrade() else { return };
        match answer {
            Ok(answer) => {
                is_away = false;
                reader.take(answer, asked, Instant::now(), |change| forget(&shared, clock, change));
            }
            Err(fault) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(cause = fault.cause, "could not read changes; will retry");
                }
            }
        }
        drop(shared);
        tokio::time::sleep(POLLED_EVERY).await;
    }
}
