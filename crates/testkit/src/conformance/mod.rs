//! The conformance suite for stores. A store passes if [`run`] returns; each case gets a new store.

mod audit;
mod cells;
mod constraints;
mod directory;
mod idempotency;
mod inbox;
mod ledger;
mod period_changes;
mod reports;

use driftlock_gateway::ports::{
    Alerts, AuditLog, Directory, EventInbox, Ledger, UsageRecords, UsageReports,
};
use futures_executor::block_on;

pub use constraints::{Constrained, run_constrained};

/// All ports of a store.
pub trait Store:
    Directory + Ledger + UsageRecords + AuditLog + EventInbox + UsageReports + Alerts
{
}
impl<S> Store for S where
    S: Directory + Ledger + UsageRecords + AuditLog + EventInbox + UsageReports + Alerts
{
}

macro_rules! cases {
    ($make:expr; $($module:ident::$case:ident),+ $(,)?) => {{
        let mut passed = 0;
        $(
            block_on($module::$case($make()));
            passed += 1;
        )+
        passed
    }};
}

/// Runs, like [`run`], the cases for stores that several processes share.
///
/// # Panics
/// When a case fails.
pub fn run_shared<S: Store>(make: impl Fn() -> S) -> usize {
    cases![make;
        idempotency::a_key_is_one_requests_at_a_time,
        idempotency::a_claim_ends_by_itself,
        cells::two_nodes_on_one_ledger_settle_exactly_the_cap,
    ]
}

/// Runs every case against a new store; returns the number of cases.
///
/// # Panics
/// When a case fails.
pub fn run<S: Store>(make: impl Fn() -> S) -> usize {
    cases![make;
        directory::organizations_are_made_once_and_patched,
        directory::organizations_come_in_pages,
        directory::keys_are_found_by_hash_and_listed,
        directory::the_earlier_revocation_counts,
        directory::a_rotation_is_one_change,
        directory::uses_are_noted_forward_only,
        cells::a_node_that_just_started_says_what_is_left,
        ledger::a_usage_id_counts_once,
        ledger::a_settlement_returns_the_number_of_its_nodes_lease,
        ledger::a_cap_is_never_exceeded,
        ledger::a_voided_settlement_no_longer_counts,
        ledger::a_settlement_voided_before_it_arrives_is_refused,
        ledger::every_grouping_sums_up_to_the_units,
        ledger::a_hold_across_a_period_change_counts_in_the_new_period,
        ledger::the_current_period_is_shown,
        ledger::a_period_is_shown_before_the_ledger_changes_to_it,
        ledger::a_closed_period_keeps_the_terms_that_it_had,
        ledger::a_late_period_takes_over_its_units,
        ledger::commit_times_are_monotone,
        ledger::receipts_show_what_was_settled,
        period_changes::periods_change_as_in_the_reference,
        idempotency::a_key_belongs_to_one_settlement,
        idempotency::a_charge_and_its_answer_are_one_commit,
        idempotency::an_answer_is_kept_for_24_hours,
        idempotency::a_record_without_an_answer_is_kept,
        idempotency::voiding_frees_the_key,
        idempotency::claiming_finds_what_was_kept,
        audit::chains_hold_across_all_writers,
        audit::tampering_is_found,
        audit::old_entries_are_removed_and_the_rest_verifies,
        audit::forged_beginnings_are_found,
        inbox::an_event_is_kept_once,
        inbox::of_two_commits_from_one_reading_the_first_counts,
        inbox::a_purchase_changes_neither_the_own_plan_nor_the_contract,
        inbox::an_operators_link_counts_and_a_customer_is_one_organizations,
        inbox::an_event_without_a_customer_is_finished_once,
        inbox::an_event_that_cannot_be_processed_waits_dies_and_is_replayed,
        inbox::old_events_are_removed_once_processed,
        inbox::invoices_come_in_pages_the_newest_first,
        reports::buckets_are_sealed_once_and_for_good,
        reports::overage_adds_up_whatever_is_raised,
        reports::overage_reported_under_other_terms_is_corrected,
        reports::an_attempt_is_recorded_before_it_is_made,
        reports::one_report_of_an_organization_is_sent_at_a_time,
        reports::usage_before_the_service_is_closed_and_never_reported,
        reports::dead_reports_are_listed_and_sent_again,
        reports::a_new_period_ends_the_old_ones_last_bucket,
        reports::alerts_are_raised_once_with_the_unit_that_reaches_a_threshold,
        reports::thresholds_that_new_terms_reach_raise_alerts_once,
    ]
}
