//! The audit outbox. An object ignores ids below its last one. So an organization's record gets an
//! id only once all records with lower ids are committed.

use driftlock_postgres::{DatabaseUrl, migrate};
use driftlock_testkit::postgres::Cluster;

const ORGANIZATION: &str = "0a000000-0000-0000-0000-000000000000";

/// Two sessions: the second appends after the first has appended and before the first commits.
const TWO_SESSIONS: &str = r#"
psql -X -q -A -t -v ON_ERROR_STOP=1 "$URL" <<'END'
begin;
select driftlock.append('0a000000-0000-0000-0000-000000000000', '[{"row": 1}]');
\! psql -X -q -A -t "$URL" -f second.sql 2> said || true
commit;
END
grep -q 'lock timeout' said
"#;

const SECOND: &str = r#"
set lock_timeout = '100ms';
select driftlock.append('0a000000-0000-0000-0000-000000000000', '[{"row": 2}]');
"#;

#[test]
fn appends_wait_for_earlier_appends() {
    let cluster = Cluster::start();
    let name = cluster.database(None);
    let url = cluster.url(&name);
    migrate(&DatabaseUrl::parse(&url).expect("a URL")).expect("migrated");
    cluster.sql(
        &name,
        &format!(
            "insert into organizations (id, name, ledger) \
             values ('{ORGANIZATION}', 'Edge', '{{\"kind\": \"objects\"}}')"
        ),
    );
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("second.sql"), SECOND).expect("it can be written");
    cluster.shell(folder.path(), TWO_SESSIONS, &[("URL", &url)]);
    let rows = cluster.sql(&name, "select record ->> 'row' from driftlock.audit_outbox");
    assert_eq!(rows, "1", "the second one waited until its timeout");
}
