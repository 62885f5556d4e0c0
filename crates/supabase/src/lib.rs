//! A Supabase project as the store, over its REST API. Every operation of a port is a function of
//! `migrations/postgres`, called as `POST /rest/v1/rpc/<function>` with the host's HTTP client.
//!
//! `driftlock-postgres` calls the same functions over a database connection; both store the same
//! data. This crate compiles to wasm.

mod access;
mod answer;
mod rest;

use std::sync::Arc;

use driftlock_domain::denial::Fault;
use driftlock_gateway::ports::HttpClient;
use driftlock_postgres_core::{FunctionStore, MIGRATIONS};

pub use access::{Access, MalformedAccess};
pub use rest::RestClient;

pub use driftlock_postgres_core::Timing;

/// The store over PostgREST; clones share the HTTP client if its clones do.
pub type SupabaseStore<H> = FunctionStore<RestClient<H>>;

/// The store of a project. This sends no request; [`check`] does.
pub const fn store<H: HttpClient>(
    http: H,
    access: Arc<Access>,
    timing: Timing,
) -> SupabaseStore<H> {
    FunctionStore::new(RestClient::new(http, access), timing)
}

/// Checks that the project is reachable, accepts the key, and has the schema of this program.
///
/// # Errors
/// A fault whose cause says what is wrong and what to do.
pub async fn check<H: HttpClient>(store: &SupabaseStore<H>) -> Result<(), Fault> {
    let (found, known) = (store.version().await?, MIGRATIONS.len() as u64);
    match found {
        found if found < known => Err(Fault::store(format!(
            "Supabase's schema has version {found}; {known} is needed: apply migrations/postgres \
             (`supabase db push`, or `driftlock migrate` with ENV_DATABASE_URL)"
        ))),
        found if found > known => Err(Fault::store(format!(
            "Supabase's schema has version {found}; this program supports {known}: use a later \
             version of the program"
        ))),
        _ => match store.changed_migrations().await?.as_slice() {
            [] => Ok(()),
            changed => Err(Fault::store(format!(
                "Supabase's schema was made by other texts of these migrations: {}; use the version \
                 of the program that applied them, or restore the files",
                changed.join(", ")
            ))),
        },
    }
}
