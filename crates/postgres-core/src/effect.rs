//! Which functions may be called again if the outcome of a call is unknown.

/// The effect of calling a function twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The same as calling it once: it only reads, or the second call finds that the work was done.
    Repeatable,
    /// The second call could do something twice, or return another result.
    Once,
}

/// The effect of calling this function twice.
#[must_use]
pub fn effect(function: &str) -> Effect {
    let reads = matches!(
        function,
        "driftlock_version"
            | "driftlock_checksums"
            | "driftlock_key_by_hash"
            | "driftlock_caller"
            | "driftlock_key"
            | "driftlock_keys"
            | "driftlock_organization"
            | "driftlock_organizations"
            | "driftlock_usage"
            | "driftlock_receipt"
            | "driftlock_kept"
            | "driftlock_entries"
            | "driftlock_head"
            | "driftlock_checkpoint"
            | "driftlock_aged"
            | "driftlock_due"
            | "driftlock_unassigned_events"
            | "driftlock_customer"
            | "driftlock_event"
            | "driftlock_events"
            | "driftlock_invoices"
            | "driftlock_reporting"
            | "driftlock_report"
            | "driftlock_reports"
            | "driftlock_reports_in"
            | "driftlock_reported"
            | "driftlock_report_sums"
            | "driftlock_open_buckets"
            | "driftlock_alerts"
            | "driftlock_changes"
            | "driftlock_outbox"
            | "driftlock_outbox_organizations"
            | "driftlock_tagged"
            | "driftlock_customers"
            | "driftlock_note"
            | "driftlock_voids_due"
    );
    // These write under an id or set a value, so that a second call changes nothing.
    let settles = matches!(
        function,
        "driftlock_settle"
            | "driftlock_raise"
            | "driftlock_finish"
            | "driftlock_claim_key"
            | "driftlock_free_key"
            | "driftlock_touch_keys"
            | "driftlock_lease"
            | "driftlock_outbox_shipped"
            | "driftlock_set_note"
            | "driftlock_ship"
            | "driftlock_void"
            | "driftlock_void_at"
            | "driftlock_void_done"
            | "driftlock_ready"
    );
    if reads || settles { Effect::Repeatable } else { Effect::Once }
}

/// The SQLSTATE of our functions for "exists already". A violated unique constraint (23505) may be
/// the project's own: it is a refusal, never "exists already".
pub const EXISTS_ALREADY: &str = "DL409";

/// Whether the same values would fail again with an error of this SQLSTATE: data exceptions,
/// violated constraints, and exceeded limits of PostgreSQL.
#[must_use]
pub fn is_refusal(sqlstate: &str) -> bool {
    ["22", "23", "54"].iter().any(|class| sqlstate.len() == 5 && sqlstate.starts_with(class))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::MIGRATIONS;

    /// Functions that nodes call, and whether they only read.
    fn functions() -> Vec<(&'static str, bool)> {
        let of = |sql: &'static str| {
            sql.split("create or replace function public.").skip(1).map(|text| {
                let name = text.split('(').next().expect("a name");
                let head = text.split("$$").next().expect("a head");
                (name, head.contains(" stable"))
            })
        };
        MIGRATIONS.iter().flat_map(|migration| of(migration.sql)).collect()
    }

    #[test]
    fn functions_that_read_or_count_once_may_be_called_again() {
        let found = functions();
        assert!(found.len() > 50, "the files were read: {}", found.len());
        for (name, only_reads) in &found {
            assert!(!only_reads || effect(name) == Effect::Repeatable, "{name} only reads");
        }
        let writes = |(name, only_reads): &&(&'static str, bool)| {
            !only_reads && effect(name) == Effect::Repeatable
        };
        let again: BTreeSet<&str> = found.iter().filter(writes).map(|(name, _)| *name).collect();
        let wanted = [
            "driftlock_claim_key",
            "driftlock_finish",
            "driftlock_free_key",
            "driftlock_lease",
            "driftlock_outbox_shipped",
            "driftlock_raise",
            "driftlock_ready",
            "driftlock_set_note",
            "driftlock_settle",
            "driftlock_ship",
            "driftlock_touch_keys",
            "driftlock_void",
            "driftlock_void_at",
            "driftlock_void_done",
        ];
        assert_eq!(again, wanted.into_iter().collect(), "all else could do something twice");
    }

    #[test]
    fn refusals_are_distinguished_from_outages() {
        for refused in ["22P05", "23502", "23514", "54000"] {
            assert!(is_refusal(refused), "{refused}");
        }
        for other in ["", "22", "57P01", "57014", "40001", "08006", "53300", "PGRST202"] {
            assert!(!is_refusal(other), "{other}");
        }
    }
}
