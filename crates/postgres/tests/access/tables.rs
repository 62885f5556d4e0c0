//! Tables: who may read which rows, and that only the service writes.

use std::collections::BTreeSet;

use super::{A, B, Database, Who, agree};

/// Who reads a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Members read their organizations' rows except these columns; the service reads everything.
    Members { never: &'static [&'static str] },
    /// Only the service reads.
    Service,
}

/// Who writes a table directly, not through a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// The service.
    Service,
    /// No role.
    None,
}

struct Table {
    name: &'static str,
    reads: Reads,
    writes: Writes,
    /// The column with the organization's id, if there is one.
    owner: Option<&'static str>,
}

const ALL: Reads = Reads::Members { never: &[] };

const fn public(name: &'static str, reads: Reads, owner: &'static str) -> Table {
    Table { name, reads, writes: Writes::Service, owner: Some(owner) }
}

const fn internal(name: &'static str, owner: Option<&'static str>) -> Table {
    Table { name, reads: Reads::Service, writes: Writes::None, owner }
}

/// A view of data that is stored in `organizations`.
const fn view(name: &'static str) -> Table {
    Table { name, reads: ALL, writes: Writes::None, owner: Some(ORGANIZATION) }
}

const ORGANIZATION: &str = "organization_id";

const TABLES: &[Table] = &[
    public("public.organizations", ALL, "id"),
    public("public.organization_members", ALL, ORGANIZATION),
    public("public.api_keys", Reads::Members { never: &["key_hash"] }, ORGANIZATION),
    public("public.usage_counters", ALL, ORGANIZATION),
    public("public.audit_logs", ALL, ORGANIZATION),
    public("public.invoices_mirror", ALL, ORGANIZATION),
    public("public.billing_customers", Reads::Service, ORGANIZATION),
    Table {
        name: "public.stripe_events",
        reads: Reads::Service,
        writes: Writes::Service,
        owner: None,
    },
    view("public.subscriptions"),
    view("public.quota_policy"),
    view("public.dunning_states"),
    internal("driftlock.alerts", Some(ORGANIZATION)),
    internal("driftlock.audit_checkpoints", Some(ORGANIZATION)),
    internal("driftlock.audit_outbox", Some(ORGANIZATION)),
    internal("driftlock.notes", None),
    internal("driftlock.pending_voids", Some(ORGANIZATION)),
    internal("driftlock.audit_heads", Some(ORGANIZATION)),
    internal("driftlock.billing_periods", Some(ORGANIZATION)),
    internal("driftlock.changes", None),
    internal("driftlock.idempotency_claims", None),
    internal("driftlock.idempotency_keys", None),
    internal("driftlock.meter_outbox", Some(ORGANIZATION)),
    internal("driftlock.meter_reports", Some(ORGANIZATION)),
    internal("driftlock.migrations", None),
    internal("driftlock.routes", None),
    internal("driftlock.tally_parts", Some(ORGANIZATION)),
    internal("driftlock.usage_events", Some(ORGANIZATION)),
    internal("driftlock.usage_leases", Some(ORGANIZATION)),
    internal("driftlock.usage_ledgers", Some(ORGANIZATION)),
];

/// A row of an organization in every table.
pub(crate) fn rows_of(organization: &str, member: &str) -> String {
    format!(
        "insert into organizations (id, name, purchases) values ('{organization}', 'x',
            '{{\"subscriptions\":[{{\"id\":\"sub_x\",\"status\":\"past_due\",
            \"plan\":\"standard\",\"period\":{{\"start\":\"2026-01-01T00:00:00Z\",
            \"end\":\"2026-02-01T00:00:00Z\"}},
            \"unpaid_since\":\"2026-01-01T00:00:00Z\"}}]}}');
         insert into organization_members values ('{organization}', '{member}', 'owner');
         insert into api_keys (id, organization_id, key_hash)
            values ('{organization}', '{organization}', 'hash of {organization}');
         insert into usage_counters (organization_id, units) values ('{organization}', 1);
         insert into audit_logs (organization_id, seq) values ('{organization}', 1);
         insert into invoices_mirror (id, organization_id) values ('{organization}', '{organization}');
         insert into billing_customers (customer, organization_id)
            values ('{organization}', '{organization}');
         insert into stripe_events (id) values ('{organization}');
         insert into driftlock.alerts values ('{organization}', 'k', 's', 0, '{{}}');
         insert into driftlock.audit_checkpoints values ('{organization}', 1, '');
         insert into driftlock.audit_heads values ('{organization}', 1, '');
         insert into driftlock.billing_periods (organization_id, starts_at, ends_at)
            values ('{organization}', 0, 1);
         insert into driftlock.idempotency_claims values ('{organization}', '', '{organization}', 0);
         insert into driftlock.idempotency_keys values ('{organization}', '', '{organization}', 0);
         insert into driftlock.meter_outbox (organization_id, period_id, tally_id, hour, units)
            values ('{organization}', 1, 1, 0, 1);
         insert into driftlock.meter_reports (identifier, organization_id, period_id, hour, units,
            value, timestamp, sealed_at, state, due_at)
            values ('{organization}', '{organization}', 1, 0, 1, 1, 0, 0, 'done', 0);
         insert into driftlock.routes (label) values ('{organization}');
         insert into driftlock.usage_events (id, organization_id, key_id, route_id, units, tally_id,
            at, request_id) values ('{organization}', '{organization}', '{organization}', 1, 1, 1, 0, '');
         insert into driftlock.tally_parts select coalesce(max(part_id), 0) + 1, '{organization}', 1, 1,
            0, 1 from driftlock.tally_parts;
         insert into driftlock.audit_outbox (organization_id, record) values ('{organization}', '[]');
         insert into driftlock.notes values ('{organization}', '');
         insert into driftlock.pending_voids values ('{organization}', '{organization}', 0);
         insert into driftlock.usage_leases values ('{organization}', '{organization}', 1, 1, 0);
         insert into driftlock.usage_ledgers values ('{organization}', 1, 0, 1, 1, 1, 0, 0);"
    )
}

#[test]
fn every_table_is_listed_and_protected() {
    let database = Database::new();
    let found = database.sql(
        "select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname in ('public', 'driftlock') and c.relkind in ('r', 'p', 'v', 'm', 'f') \
           and not c.relispartition",
    );
    let qualified = |name: &str| match name.split_once('.') {
        Some(_) => name.to_owned(),
        None => format!("public.{name}"),
    };
    let found: BTreeSet<String> = found.lines().map(qualified).collect();
    let here: BTreeSet<String> = TABLES.iter().map(|table| table.name.to_owned()).collect();
    assert_eq!(found, here);
    let open = database.sql(
        "select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname in ('public', 'driftlock') and c.relkind in ('r', 'p') \
           and not c.relrowsecurity",
    );
    assert_eq!(open, "", "no row-level security");
}

#[test]
fn members_read_only_their_organizations() {
    let database = Database::new();
    let mut wrong = Vec::new();
    for who in Who::ALL {
        for table in TABLES {
            let Table { name, owner, .. } = table;
            let of = |organization: &str| match owner {
                Some(owner) => format!("select 1 from {name} where {owner} = '{organization}'"),
                None => format!("select 1 from {name} limit 1"),
            };
            let found = database.probe(who, &[of(A), of(B), format!("select * from {name}")]);
            let [of_a, of_b, all] = wanted(table, who);
            for (what, wanted, found) in
                [("A's", of_a, &found[0]), ("B's", of_b, &found[1]), ("all", all, &found[2])]
            {
                let is_met = match wanted {
                    Some(wanted) => wanted == found,
                    None => found.parse().is_ok_and(|rows: u64| rows > 0),
                };
                if !is_met {
                    wrong.push(format!("{who:?} reads {what} of {name}: {found}, not {wanted:?}"));
                }
            }
        }
    }
    agree(&wrong);
}

/// Rows of A, of B, and `select *`; `None` is any number of rows.
fn wanted(table: &Table, who: Who) -> [Option<&'static str>; 3] {
    const DENIED: [Option<&str>; 3] = [Some("denied"); 3];
    let never: &[&str] = match table.reads {
        Reads::Service => &[],
        Reads::Members { never } => never,
    };
    let all = |rows| if never.is_empty() { Some(rows) } else { Some("denied") };
    match (who, table.reads) {
        (Who::Service, _) => [Some("1"), Some("1"), None],
        (Who::Anon, _) | (_, Reads::Service) => DENIED,
        (Who::MemberOfA, Reads::Members { .. }) => [Some("1"), Some("0"), all("1")],
        (Who::MemberOfB, Reads::Members { .. }) => [Some("0"), Some("1"), all("1")],
        (Who::NonMember | Who::Unnamed, Reads::Members { .. }) => [Some("0"), Some("0"), all("0")],
    }
}

#[test]
fn key_hashes_are_readable_by_no_user() {
    let database = Database::new();
    for table in TABLES {
        let Reads::Members { never } = table.reads else { continue };
        for column in never {
            let statements = [
                format!("select {column} from {}", table.name),
                format!("select 1 from {} where {column} like 'h%'", table.name),
                format!("select count({column}) from {}", table.name),
                format!("select t::text from {} t", table.name),
            ];
            for who in Who::ALL.into_iter().filter(|who| *who != Who::Service) {
                let found = database.probe(who, &statements);
                assert!(found.iter().all(|outcome| outcome == "denied"), "{who:?}: {found:?}");
            }
        }
    }
}

#[test]
fn only_the_service_writes() {
    let database = Database::new();
    let mut wrong = Vec::new();
    for who in Who::ALL {
        for table in TABLES {
            let name = table.name;
            let column = database.sql(&format!(
                "select attname from pg_attribute where attrelid = '{name}'::regclass \
                 and attnum > 0 and attidentity = '' order by attnum limit 1"
            ));
            let statements = [
                format!("insert into {name} default values"),
                format!("update {name} set {column} = {column}"),
                format!("delete from {name}"),
                format!("truncate {name}"),
            ];
            let may = who == Who::Service && table.writes == Writes::Service;
            for (statement, found) in statements.iter().zip(database.probe(who, &statements)) {
                // A view over a list in JSON cannot be written, whatever rights there are.
                let is_no_table = found.ends_with("is not a table")
                    || (found.starts_with("cannot ") && found.contains(" view "));
                let is_denied = found == "denied" || is_no_table;
                if is_denied == may {
                    wrong.push(format!("{who:?}: {statement}: {found}"));
                }
            }
        }
    }
    agree(&wrong);
}
