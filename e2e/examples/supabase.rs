//! A Supabase project's data plane for a test in another language: a migrated PostgreSQL behind a
//! real PostgREST. It prints one line of JSON (`url` and `key`, `postgrest` and `service_key` for
//! whom the double of Supabase's gateway would be in the way, `database_url`), and ends with its
//! standard input.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::{self, Read, Write};
use std::process::Command;

use driftlock_testkit::jwt;
use driftlock_testkit::postgres::Cluster;
use driftlock_testkit::supabase::{Project, SECRET_KEY};
use serde_json::json;

fn main() -> io::Result<()> {
    let binary = std::env::var_os("DRIFTLOCK_BIN").expect("DRIFTLOCK_BIN is the path of driftlock");
    let cluster = Cluster::start();
    let database_url = cluster.url(&cluster.database(None));
    let migrated =
        Command::new(binary).arg("migrate").env("ENV_DATABASE_URL", &database_url).output()?;
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let project = Project::start(&database_url);
    let printed = json!({
        "url": project.url(), "key": SECRET_KEY, "database_url": database_url,
        "postgrest": project.postgrest(), "service_key": jwt::of_role("service_role"),
    });
    println!("{printed}");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
