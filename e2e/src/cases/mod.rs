//! The list of all cases, so that every host runs the same ones.

mod admin_api;
mod anomalies;
mod audit;
mod billing_state;
mod bodies;
mod concurrency;
mod idempotency;
mod keys;
mod may_call;
mod metering;
mod permissions;
mod quota;
mod rate_limits;
mod requests;
mod routing;
mod stripe;
mod usage;

use crate::runner::{Case, Turn};

/// Takes each case's name from its function, so that they cannot differ.
macro_rules! cases {
    ($($turn:ident $file:ident::$function:ident;)*) => {
        &[$(Case {
            name: concat!(stringify!($file), "::", stringify!($function)),
            run: $file::$function,
            turn: Turn::$turn,
        }),*]
    };
}

/// The suite. The slowest cases come first, so that the others run meanwhile.
pub const CASES: &[Case] = cases! {
    // Coalesced rows are written after 10 s.
    Together audit::denials_coalesce_with_their_count;
    Together keys::a_key_is_needed;
    Together keys::a_request_notes_when_its_key_was_used;
    Together keys::a_malformed_authorization_is_refused;
    Together keys::two_authorizations_are_refused;
    Together keys::a_wrong_checksum_is_refused;
    Together keys::an_unknown_key_is_refused;
    Together keys::the_scheme_may_be_in_any_case;
    Together keys::an_expired_key_is_refused;
    Together keys::a_key_that_expires_later_passes;
    Together keys::a_revoked_key_is_refused_from_the_next_request_on;
    Together keys::a_revoked_key_is_refused_on_free_routes_too;
    Together keys::revoking_twice_changes_nothing;
    Together keys::after_a_rotation_both_keys_work_for_the_grace_time;
    Together keys::after_a_rotation_without_grace_the_old_key_is_refused;
    Together permissions::every_route_wants_its_scope;
    Together permissions::one_scope_opens_its_routes_only;
    Together permissions::health_wants_no_scope;
    Together permissions::a_key_bound_to_other_addresses_is_refused;
    Together permissions::a_key_bound_to_its_addresses_passes;
    Together permissions::a_key_bound_to_loopback_passes;
    Together rate_limits::the_headers_state_the_limits;
    Together rate_limits::a_key_s_limit_denies;
    Together rate_limits::a_denial_consumes_no_quota;
    Together rate_limits::an_organization_s_limit_is_shared_by_its_keys;
    Together rate_limits::a_plan_limits_keys_that_have_no_limit_of_their_own;
    Together routing::paths_without_a_route_are_404;
    Together routing::other_methods_are_405_with_allow;
    Together routing::head_goes_where_get_does;
    Together routing::paths_that_parsers_read_differently_are_refused;
    Together routing::needless_encoding_is_undone;
    Together routing::dot_segments_lead_past_no_scope;
    Together routing::ambiguous_framing_is_not_acted_on;
    Together routing::a_length_beside_chunks_does_not_count;
    Together routing::heads_beyond_the_bounds_are_refused;
    Together metering::a_detection_is_one_unit_and_its_receipt_tells_so;
    Together metering::both_metered_routes_draw_from_one_pool;
    Together metering::a_backend_s_refusal_charges_nothing_and_passes_through;
    Together metering::the_other_routes_are_free;
    Together metering::a_backend_s_answer_is_not_changed;
    Together quota::block_denies_at_the_included_units;
    Together quota::a_raised_quota_lifts_the_block_at_once;
    Together quota::no_units_at_all_deny_the_first_request;
    Together quota::a_soft_cap_bills_overage_and_then_denies;
    Together quota::allow_denies_at_the_spend_cap_only;
    Together quota::the_nearer_of_cap_and_spend_cap_counts;
    Together quota::a_smaller_plan_that_is_used_up_alerts_at_once;
    Together quota::without_overage_only_the_base_fee_is_due;
    Together billing_state::a_paid_plan_wants_a_subscription;
    Together billing_state::good_statuses_pass;
    Together billing_state::bad_statuses_are_402;
    Together billing_state::a_failed_payment_passes_in_its_grace_time;
    Together billing_state::a_suspended_organization_is_402;
    Together billing_state::the_period_is_the_subscription_s;
    Together concurrency::a_cap_holds_to_the_unit;
    Together idempotency::a_repetition_is_replayed_and_charged_once;
    Together idempotency::another_payload_is_422;
    Together idempotency::another_header_is_422_unless_it_only_says_who_sends_it;
    Together idempotency::a_malformed_key_is_400;
    Together idempotency::concurrent_repetitions_are_charged_once;
    Together idempotency::an_answer_that_is_not_2xx_frees_the_key;
    Together idempotency::a_key_is_scoped_to_organization_and_route;
    Together idempotency::a_replay_comes_before_the_quota_and_after_the_key;
    Together idempotency::a_keyed_payload_beyond_1_mib_is_413;
    Together idempotency::a_payload_is_read_only_of_a_request_that_was_admitted;
    Together requests::a_harmless_request_id_is_taken_over;
    Together requests::any_other_request_id_is_replaced;
    Together requests::a_request_without_an_id_is_given_one;
    Together requests::a_problem_has_the_form_of_rfc_9457;
    Together requests::a_forged_organization_is_replaced;
    Together requests::connection_cannot_take_the_organization_away;
    Together requests::a_gateway_says_whether_it_lives;
    Together requests::an_ingestion_is_free;
    Together anomalies::an_anomaly_is_found_listed_and_resolved;
    Together anomalies::a_stream_delivers_an_anomaly;
    Together bodies::a_declared_length_beyond_the_limit_is_413;
    Together bodies::a_chunked_body_beyond_the_limit_is_413;
    Together bodies::a_chunked_body_within_the_limit_passes;
    Together bodies::a_large_body_within_the_limit_passes;
    Together usage::every_grouping_sums_up_to_the_units;
    Together usage::buckets_start_at_whole_hours_and_days_within_the_period;
    Together usage::a_fresh_organization_has_used_nothing;
    Together usage::an_unknown_grouping_is_400;
    Together audit::a_metered_request_is_in_the_log_at_once;
    Together audit::a_free_request_is_in_the_log_soon;
    Together audit::what_an_operator_does_is_in_the_log;
    Together audit::a_change_is_audited_with_its_old_and_new_values;
    Together audit::entries_are_numbered_and_chained;
    Together audit::an_untouched_log_is_verified;
    Together audit::an_export_is_ndjson_and_states_its_head;
    Together audit::a_malformed_head_is_400;
    Together audit::organizations_do_not_see_each_other;
    Together may_call::an_abandoned_checkout_leaves_the_free_plan_alone;
    Together may_call::what_an_operator_set_is_not_undone_by_an_event;
    Together may_call::an_upgrade_in_progress_refuses_nothing;
    Together may_call::a_period_that_begins_ahead_shows_what_is_counted;
    Together may_call::a_contract_counts_before_a_checkout;
    Together may_call::an_uncollectible_invoice_ends_its_dunning;
    Together may_call::an_invoice_that_is_sent_has_grace_from_its_due_date;
    Together may_call::a_newer_subscription_that_fails_takes_nothing_away;
    Together may_call::what_is_bought_several_times_is_included_as_often;
    Together may_call::a_connected_account_sells_nothing_here;
    Together may_call::a_scheduled_end_takes_effect_although_its_event_is_lost;
    Together stripe::a_signup_admits_requests_in_any_order;
    Together stripe::a_failed_payment_is_grace_and_an_alert;
    Together stripe::a_person_clears_a_dispute;
    Together stripe::an_ended_subscription_refuses_requests;
    Together stripe::an_unknown_price_is_a_dead_letter_that_names_it;
    Together stripe::every_signature_case_has_its_verdict;
    Together stripe::deliveries_not_from_stripe_are_refused;
    Together admin_api::a_token_is_needed;
    Last admin_api::failures_are_throttled;
    Together admin_api::an_organization_is_made_read_and_patched;
    Together admin_api::a_key_is_shown_once;
    Together admin_api::no_list_or_log_holds_a_secret;
    Together admin_api::unknown_ids_are_404;
    Together admin_api::other_methods_are_405;
    Together admin_api::a_bad_organization_is_400_and_the_field_is_named;
    Together admin_api::a_bad_patch_is_400_and_changes_nothing;
    Together admin_api::a_bad_key_is_400_and_the_field_is_named;
    Together admin_api::lists_come_in_pages;
    Together admin_api::bad_pages_are_400;
};

/// Whether a case belongs to the few that check that a host works at all: a metered and a free
/// request, the receipt, the usage.
#[must_use]
pub fn is_smoke(name: &str) -> bool {
    SMOKE.contains(&name)
}

const SMOKE: [&str; 4] = [
    "keys::a_key_is_needed",
    "metering::a_detection_is_one_unit_and_its_receipt_tells_so",
    "metering::the_other_routes_are_free",
    "usage::a_fresh_organization_has_used_nothing",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_the_smoke_cases_exist() {
        let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(SMOKE.iter().all(|name| names.contains(name)));
    }
}
