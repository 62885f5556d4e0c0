//! docs/supabase.md: the migrations, copied as Supabase's command wants them and applied in its
//! order, make the schema that a gateway takes.

use std::fs;

use super::CONFIG;
use super::support::backend::Backend;
use super::support::documents::{commands, root};
use super::support::fleet::Fleet;

#[test]
fn supabases_own_way_makes_the_same_schema() {
    let backend = Backend::start();
    let mut fleet = Fleet::start_before(0, CONFIG, &backend.url);
    fleet.database = fleet.cluster.database(None);
    let folder = tempfile::tempdir().expect("a folder");
    let migrations = folder.path().join("migrations/postgres");
    fs::create_dir_all(&migrations).expect("a folder");
    for file in fs::read_dir(root().join("migrations/postgres")).expect("it is there").flatten() {
        fs::copy(file.path(), migrations.join(file.file_name())).expect("copied");
    }
    let shown = commands("docs/supabase.md", "supabase db push");
    let (_, copying) = shown.split_once("mkdir ").expect("it begins with a folder");
    // Like the command: each file whose name begins with a time, in order, in one transaction each.
    let push = "for file in supabase/migrations/[0-9]*_*.sql; do \
                psql --quiet --set ON_ERROR_STOP=1 --single-transaction --file \"$file\" \"$URL\"; done";
    let copying = copying.replace("supabase db push", push);
    let url = fleet.cluster.url(&fleet.database);
    for _ in 0..2 {
        fleet.cluster.shell(folder.path(), &format!("mkdir {copying}"), &[("URL", &url)]);
    }
    // A gateway refuses another schema version.
    fleet.add();
    let versions = fleet.sql("select count(*) = max(version) from driftlock.migrations");
    assert_eq!(versions, "t");
}
