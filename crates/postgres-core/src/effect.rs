//! Which functions may be called again when it is not known whether they were.

/// What calling a function twice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The same as once: it only reads, or its second time finds that it was done.
    Repeatable,
    /// It could do something twice, or tell that there is nothing left to do.
    Once,
}

/// What calling this function twice does.
#[must_use]
pub fn effect(function: &str) -> Effect {
    let reads = matches!(
        function,
        "driftlock_version"
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
            | "driftlock_due"
            | "driftlock_orphans"
            | "driftlock_customer"
            | "driftlock_event"
            | "driftlock_events"
            | "driftlock_invoices"
            | "driftlock_reporting"
            | "driftlock_reports"
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
    // A usage id counts once, an alert is one, an event is kept under its id, a time is a time.
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
    );
    if reads || settles { Effect::Repeatable } else { Effect::Once }
}
