//! A unique index that somebody added to the file: a write that violates it fails and is not lost.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use driftlock_sqlite::{Options, SqliteStore};
use driftlock_sqlite_core::conflict::{came_second, exists_already};
use driftlock_sqlite_core::{MIGRATIONS, statements};
use driftlock_testkit::conformance::{Constrained, run_constrained};
use rusqlite::Connection;

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("opened");
    connection.busy_timeout(Duration::from_secs(30)).expect("set");
    connection
}

#[test]
fn a_constraint_that_is_not_ours_loses_nothing() {
    let folders = RefCell::new(Vec::new());
    let cases = run_constrained(|table| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        folders.borrow_mut().push(folder);
        let open = || SqliteStore::open(&path, Options::default()).expect("opens");
        drop(open());
        let column = connect(&path)
            .query_row("SELECT name FROM pragma_table_info(?1) LIMIT 1", [table], |row| {
                row.get::<_, String>(0)
            })
            .expect("it has a column");
        let add = format!("CREATE UNIQUE INDEX foreign_one ON {table} ({column} IS NULL)");
        connect(&path).execute_batch(&add).expect("added");
        let at = path.clone();
        let lift = Box::new(move || {
            connect(&at).execute_batch("DROP INDEX foreign_one").expect("dropped");
        });
        Constrained { store: open(), lift }
    });
    assert_eq!(cases, 12);
}

/// The messages that Workers parse are those of SQLite.
#[test]
fn sqlite_names_the_columns_of_our_own_constraints() {
    let connection = Connection::open_in_memory().expect("opened");
    for migration in MIGRATIONS {
        for statement in statements(migration) {
            connection.execute_batch(&statement).expect("migrated");
        }
    }
    let organization = "INSERT INTO organizations \
        (id, name, plan, status, quota, stripe_customer_id, created_at) VALUES ";
    let key = "INSERT INTO api_keys \
        (id, organization, key_hash, name, key_prefix, scopes, ip_allow, created_at) VALUES ";
    let revision = "INSERT INTO billing_revisions (customer, revision) VALUES ('cus_1', 1)";
    let message = |sql: &str| connection.execute_batch(sql).expect_err("a violation").to_string();
    let run = |sql: &str| connection.execute_batch(sql).expect("entered");
    run(&format!("{organization} (x'01', 'a', 'p', 'active', '{{}}', 'cus_1', 0)"));
    run(&format!("{key} (x'01', x'01', x'aa', 'k', 'p', '[]', '[]', 0)"));
    run(revision);
    for own in [
        format!("{organization} (x'01', 'a', 'p', 'active', '{{}}', NULL, 0)"),
        format!("{organization} (x'02', 'a', 'p', 'active', '{{}}', 'cus_1', 0)"),
        format!("{key} (x'01', x'01', x'bb', 'k', 'p', '[]', '[]', 0)"),
        format!("{key} (x'02', x'01', x'aa', 'k', 'p', '[]', '[]', 0)"),
    ] {
        let message = message(&own);
        assert!(exists_already(&message) && !came_second(&message), "{message}");
    }
    let second = message(revision);
    assert!(came_second(&second) && !exists_already(&second), "{second}");
    run("CREATE UNIQUE INDEX foreign_one ON organizations (name)");
    let foreign = message(&format!("{organization} (x'03', 'a', 'p', 'active', '{{}}', NULL, 0)"));
    assert!(!exists_already(&foreign) && !came_second(&foreign), "{foreign}");
}
