//! A Supabase project as the store, by its REST API: every port is a function of
//! `migrations/postgres`, called as `POST /rest/v1/rpc/<function>` over whatever client the host
//! has.
//!
//! The same functions serve a connection to the database (`driftlock-postgres`); which way was
//! taken makes no difference to what is kept. It compiles to wasm.

mod access;
mod answer;
mod rest;

use std::sync::Arc;

use driftlock_domain::denial::Fault;
use driftlock_gateway::ports::HttpClient;
use driftlock_postgres_core::{FunctionStore, MIGRATIONS};

pub use access::{Access, MalformedAccess};
pub use rest::Rest;

pub use driftlock_postgres_core::Timing;

/// The store over PostgREST; clones are the same one if their clients are.
pub type SupabaseStore<H> = FunctionStore<Rest<H>>;

/// The store of a project. It is not asked anything yet; [`check`] does.
pub const fn store<H: HttpClient>(
    http: H,
    access: Arc<Access>,
    timing: Timing,
) -> SupabaseStore<H> {
    FunctionStore::new(Rest::new(http, access), timing)
}

/// Whether the project can be reached, takes the key, and has the schema of this program.
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
            "Supabase's schema has version {found}; this program knows {known}: use a later one"
        ))),
        _ => match store.changed_migrations().await?.as_slice() {
            [] => Ok(()),
            changed => Err(Fault::store(format!(
                "Supabase's schema was made by other texts of these migrations: {}; use the program \
                 that applied them, or restore the files",
                changed.join(", ")
            ))),
        },
    }
}
