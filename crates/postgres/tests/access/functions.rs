//! Functions: only the service may call those of the gateway; no role may call internal ones.

use std::collections::BTreeSet;

use super::{Database, Who, agree};

/// Called by the service, with one JSON object.
const SERVICE: &[&str] = &[
    "driftlock_aged",
    "driftlock_alerts",
    "driftlock_answer_report",
    "driftlock_append",
    "driftlock_assign",
    "driftlock_attempt_report",
    "driftlock_caller",
    "driftlock_changes",
    "driftlock_checkpoint",
    "driftlock_checksums",
    "driftlock_claim",
    "driftlock_claim_key",
    "driftlock_commit",
    "driftlock_correct",
    "driftlock_create_key",
    "driftlock_create_organization",
    "driftlock_customer",
    "driftlock_customers",
    "driftlock_due",
    "driftlock_entries",
    "driftlock_event",
    "driftlock_events",
    "driftlock_finish",
    "driftlock_forget",
    "driftlock_forget_others",
    "driftlock_free_key",
    "driftlock_hand_over",
    "driftlock_head",
    "driftlock_invoices",
    "driftlock_kept",
    "driftlock_key",
    "driftlock_key_by_hash",
    "driftlock_keys",
    "driftlock_lease",
    "driftlock_note",
    "driftlock_open_buckets",
    "driftlock_organization",
    "driftlock_organizations",
    "driftlock_unassigned_events",
    "driftlock_outbox",
    "driftlock_outbox_organizations",
    "driftlock_outbox_shipped",
    "driftlock_postpone",
    "driftlock_prune",
    "driftlock_purge",
    "driftlock_raise",
    "driftlock_ready",
    "driftlock_receipt",
    "driftlock_receive",
    "driftlock_replay",
    "driftlock_report",
    "driftlock_report_sums",
    "driftlock_reported",
    "driftlock_reporting",
    "driftlock_reports",
    "driftlock_reports_in",
    "driftlock_revive_report",
    "driftlock_revoke_key",
    "driftlock_seal",
    "driftlock_set_note",
    "driftlock_settle",
    "driftlock_ship",
    "driftlock_tagged",
    "driftlock_take_report",
    "driftlock_touch_keys",
    "driftlock_update_organization",
    "driftlock_usage",
    "driftlock_version",
    "driftlock_void",
    "driftlock_void_at",
    "driftlock_void_done",
    "driftlock_voids_due",
];

/// Called by policies, with the rights of the reading role.
const POLICIES: &[&str] = &["memberships"];

/// Called by other functions and by triggers.
const INNER: &[&str] = &[
    "api_key",
    "append",
    "chain",
    "clock",
    "counted",
    "customer_taken",
    "cut",
    "exists_already",
    "first_id",
    "inbox_entry",
    "insert_key",
    "instant",
    "is_sealed",
    "keep_partitions",
    "kept_since",
    "ledger_kind",
    "micros",
    "misplaced",
    "note_change",
    "open_ledger",
    "organization",
    "part",
    "part_sums",
    "period_of",
    "protect",
    "protect_neighbours",
    "protect_table",
    "provisional",
    "raise",
    "report",
    "reported",
    "route",
    "settle",
    "settle_all",
    "settle_not",
    "texts",
    "thresholds",
    "used",
];

fn names(found: &str) -> BTreeSet<&str> {
    found.lines().collect()
}

#[test]
fn every_function_is_listed() {
    let database = Database::new();
    let of = |schema: &str| {
        database.sql(&format!(
            "select distinct proname from pg_proc where pronamespace = '{schema}'::regnamespace \
             and proname <> 'probe'"
        ))
    };
    let service: BTreeSet<&str> = SERVICE.iter().copied().collect();
    assert_eq!(names(&of("public")), service);
    let inner: BTreeSet<&str> = INNER.iter().chain(POLICIES).copied().collect();
    assert_eq!(names(&of("driftlock")), inner);
}

#[test]
fn functions_with_their_owners_rights_have_a_fixed_path() {
    let database = Database::new();
    let loose = database.sql(
        "select oid::regprocedure from pg_proc \
         where pronamespace in ('public'::regnamespace, 'driftlock'::regnamespace) \
           and prosecdef and not coalesce(proconfig @> array['search_path=public, pg_temp'], false)",
    );
    assert_eq!(loose, "");
    let not_definer = database.sql(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace \
         and proname like 'driftlock\\_%' and not prosecdef",
    );
    assert_eq!(not_definer, "", "the service needs no rights on the tables that they use");
}

#[test]
fn the_gateways_functions_are_the_services_alone() {
    let database = Database::new();
    let calls: Vec<String> =
        SERVICE.iter().map(|name| format!("select public.{name}('{{}}')")).collect();
    let mut wrong = Vec::new();
    for who in Who::ALL {
        for (call, found) in calls.iter().zip(database.probe(who, &calls)) {
            // The service's result for an empty object does not matter here.
            if (found == "denied") == (who == Who::Service) {
                wrong.push(format!("{who:?}: {call}: {found}"));
            }
        }
    }
    agree(&wrong);
}

#[test]
fn internal_functions_are_callable_by_no_role() {
    let database = Database::new();
    for who in ["anon", "authenticated", "service_role"] {
        let open = database.sql(&format!(
            "select proname from pg_proc where pronamespace = 'driftlock'::regnamespace \
             and has_function_privilege('{who}', oid, 'execute') order by 1"
        ));
        let wanted = if who == "authenticated" { POLICIES } else { &[] };
        assert_eq!(open.lines().collect::<Vec<_>>(), wanted, "{who}");
    }
    let call = ["select driftlock.memberships()".to_owned()];
    for who in Who::ALL {
        assert_eq!(database.probe(who, &call), ["denied"], "{who:?} calls into the schema");
    }
}

#[test]
fn only_the_owner_creates_objects_in_the_schemas() {
    let database = Database::new();
    let statements = ["create table public.mine ()", "create table driftlock.mine ()"];
    let statements = statements.map(str::to_owned);
    for who in Who::ALL {
        assert_eq!(database.probe(who, &statements), ["denied", "denied"], "{who:?}");
    }
}
