//! Both dialects have the same columns: every column of `migrations/sqlite` is in PostgreSQL's
//! schema, under the same name or under the name in [`RENAMED`].

use std::collections::BTreeSet;
use std::path::Path;

use driftlock_postgres::{DatabaseUrl, migrate};
use driftlock_testkit::postgres::Cluster;

/// Tables that only the embedded store or Workers need, and why PostgreSQL does not.
const NOT_HERE: [(&str, &str); 4] = [
    ("store_owner", "the process that owns the file; a PostgreSQL is shared"),
    ("revoked_keys", "of an object, which admits without asking the directory"),
    ("meta", "the file's node; here each process is a node"),
    (
        "billing_revisions",
        "SQLite's guard of a revision; here the row is compared as it is written",
    ),
];

/// Columns with other names in PostgreSQL. Usage belongs to a usage batch there (`tally_id`), and
/// the batch to a period.
const RENAMED: [(&str, &str); 6] = [
    ("organization", "organization_id"),
    ("key", "key_id"),
    ("route", "route_id"),
    ("period", "period_id"),
    ("period", "tally_id"),
    ("usage", "usage_id"),
];

#[test]
fn postgresql_has_every_column_of_sqlite() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    migrate(&DatabaseUrl::parse(&cluster.url(&database)).expect("a URL")).expect("migrated");
    let here = "select table_name || '.' || column_name from information_schema.columns \
                where table_schema in ('public', 'driftlock')";
    let here: BTreeSet<String> = cluster.sql(&database, here).lines().map(Into::into).collect();
    let wanted = sqlite_columns();
    assert!(wanted.len() > 100, "the files were read: {}", wanted.len());
    let is_missing = |(table, column): &&(String, String)| {
        let mut renamed = RENAMED.iter().filter(|(from, _)| from == column).map(|(_, to)| *to);
        let has = |column: &str| here.contains(&format!("{table}.{column}"));
        !has(column) && !renamed.any(has)
    };
    let missing: Vec<_> = wanted.iter().filter(is_missing).collect();
    assert!(
        missing.is_empty(),
        "in migrations/sqlite, and not in migrations/postgres: {missing:?}"
    );
}

fn sqlite_columns() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of migrations")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    let mut columns = Vec::new();
    for file in files {
        columns.extend(columns_of(&std::fs::read_to_string(file).expect("text")));
    }
    columns.retain(|(table, _)| NOT_HERE.iter().all(|(name, _)| name != table));
    columns
}

/// The columns that a file's statements create.
fn columns_of(sql: &str) -> Vec<(String, String)> {
    let mut columns = Vec::new();
    let mut table = None;
    for line in sql.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["CREATE", "TABLE", name, "("] => table = Some(name.to_owned()),
            ["ALTER", "TABLE", name, "ADD", "COLUMN", column, ..] => {
                columns.push((name.to_owned(), column.to_owned()));
            }
            [word, ..] if word.starts_with(')') => table = None,
            ["PRIMARY" | "UNIQUE" | "--", ..] | [] => {}
            [column, ..] => {
                if let Some(table) = &table {
                    columns.push((table.clone(), column.to_owned()));
                }
            }
        }
    }
    columns
}
