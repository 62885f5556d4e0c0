use proptest::prelude::*;

use super::*;
use crate::stripe::meter::MeterEvent;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("valid")
}

fn period() -> Period {
    Period { start: at("2026-03-05T10:20:00Z"), end: at("2026-04-05T10:20:00Z") }
}

const ALWAYS: Period = Period { start: Timestamp::from_micros(0), end: Timestamp::MAX };
const TOTAL: SealRule =
    SealRule { mode: ReportMode::Total, included: 0, service: ALWAYS, in_force: None };

fn bucket(hour: &str, units: u64) -> Bucket {
    let organization = OrganizationId::from_bytes([7; 16]);
    Bucket { organization, period: period(), hour: at(hour), part: 0, units }
}

#[test]
fn a_bucket_is_due_when_its_hour_or_its_period_is_over() {
    let hour = at("2026-03-06T00:00:00Z");
    assert!(!is_due(hour, period(), hour.plus(HOUR)));
    assert!(is_due(hour, period(), hour.plus(HOUR).plus(SEAL_DELAY)));
    let last = at("2026-04-05T10:00:00Z");
    assert!(!is_due(last, period(), period().end));
    assert!(is_due(last, period(), period().end.plus(SEAL_DELAY)), "within Stripe's hour of grace");
}

#[test]
fn the_last_days_usage_is_stamped_inside_the_period() {
    let now = at("2026-04-05T10:21:00Z");
    let last = bucket("2026-04-05T10:00:00Z", 3);
    let sealed = seal(&last, TOTAL, Reported::default(), now).expect("timely");
    assert_eq!(sealed.timestamp, at("2026-04-05T10:19:59Z"));
    assert!(period().contains(sealed.timestamp));
    let next = Period { start: period().end, end: period().end.plus(30 * DAY) };
    let first = Bucket { period: next, ..last };
    let sealed = seal(&first, TOTAL, Reported::default(), now.plus(HOUR));
    assert_eq!(sealed.expect("timely").timestamp, at("2026-04-05T10:59:59Z"));
    assert_ne!(
        first.identifier(),
        last.identifier(),
        "an hour split at the period change is two buckets"
    );
}

/// Cancelled at once in the middle of an hour: what was used before is on the last invoice only
/// when it is stamped before the end of the service.
#[test]
fn usage_before_an_immediate_cancellation_is_stamped_inside_the_service() {
    let end = at("2026-03-06T10:20:05Z");
    let service = Period { start: period().start, end };
    let rule = SealRule { service, ..TOTAL };
    let used = bucket("2026-03-06T10:00:00Z", 3);
    assert!(rule.bills(&used));
    let sealed = seal(&used, rule, Reported::default(), at("2026-03-06T11:00:30Z"));
    assert_eq!(sealed.expect("timely").timestamp, at("2026-03-06T10:20:04Z"));
    let before = bucket("2026-03-06T09:00:00Z", 3);
    let sealed = seal(&before, rule, Reported::default(), at("2026-03-06T11:00:30Z"));
    assert_eq!(sealed.expect("timely").timestamp, at("2026-03-06T09:59:59Z"), "as ever");
    assert!(!rule.bills(&bucket("2026-03-06T11:00:00Z", 3)), "after the end");
    // A period that begins in the hour of the end, but after it.
    let next = Period { start: at("2026-03-06T10:30:00Z"), end: period().end };
    assert!(!rule.bills(&Bucket { period: next, ..used }), "it begins after the end");
    // A late report is stamped inside the service, or refused.
    let stamp = |now| timestamp(used.hour, period(), service, now);
    assert!(stamp(end.plus(20 * DAY)).expect("timely") < end);
    assert_eq!(stamp(end.plus(36 * DAY)), Err(Untimely::TooLate));
}

#[test]
fn a_late_report_is_moved_into_what_stripe_takes_or_refused() {
    let early = bucket("2026-03-05T10:00:00Z", 1);
    let stamp = |now| timestamp(early.hour, period(), ALWAYS, now);
    assert_eq!(stamp(at("2026-03-05T11:00:30Z")), Ok(at("2026-03-05T10:59:59Z")));
    let late = at("2026-04-20T00:00:00Z");
    let moved = stamp(late).expect("timely");
    assert!(moved >= late.minus(35 * DAY) && period().contains(moved));
    assert_eq!(stamp(period().end.plus(36 * DAY)), Err(Untimely::TooLate));
    assert_eq!(stamp(period().start.minus(HOUR)), Err(Untimely::TooEarly));
    let ahead = timestamp(at("2026-03-05T12:00:00Z"), period(), ALWAYS, at("2026-03-05T12:00:10Z"));
    assert!(ahead.expect("timely") <= at("2026-03-05T12:05:10Z"));
}

#[test]
fn identifiers_are_stable_unique_and_short_enough() {
    let one = bucket("2026-03-06T00:00:00Z", 3);
    let same = Bucket { units: 9, ..one };
    assert_eq!(one.identifier(), same.identifier(), "units are no part of it");
    assert_ne!(one.identifier(), Bucket { part: 1, ..one }.identifier());
    let longest = Bucket {
        period: Period { start: Timestamp::MAX, end: Timestamp::MAX },
        hour: Timestamp::MAX,
        part: u32::MAX,
        ..one
    };
    assert!(longest.identifier().len() <= 100);
}

#[test]
fn the_form_is_stripes() {
    let sealed = seal(
        &bucket("2026-03-06T00:00:00Z", 25),
        TOTAL,
        Reported::default(),
        at("2026-03-06T01:01:00Z"),
    )
    .expect("timely");
    let event = MeterEvent { event_name: "units", customer: "cus_1", sealed: &sealed };
    let form = event.form();
    assert_eq!(form[2], ("payload[stripe_customer_id]", "cus_1".to_owned()));
    assert_eq!(form[3], ("payload[value]", "25".to_owned()));
    assert_eq!(form[4], ("timestamp", at("2026-03-06T00:59:59Z").secs().to_string()));
}

/// Seals buckets one after the other, as the outbox does.
fn values(units: &[u64], mode: ReportMode, included: impl Fn(usize) -> u64) -> Vec<i64> {
    let mut before = Reported::default();
    let mut values = Vec::new();
    for (place, units) in units.iter().enumerate() {
        let bucket = bucket("2026-03-06T00:00:00Z", *units);
        let now = at("2026-03-06T01:01:00Z");
        let rule = SealRule { mode, included: included(place), service: ALWAYS, in_force: None };
        let sealed = seal(&bucket, rule, before, now).expect("timely");
        before.units += units;
        before.value += sealed.value;
        values.push(sealed.value);
    }
    values
}

#[test]
fn the_worked_examples_overage_is_25_000_units() {
    let units = [100_000, 149_999, 2, 24_999];
    let reported = values(&units, ReportMode::Overage, |_| 250_000);
    assert_eq!(reported, [0, 0, 1, 24_999]);
    assert_eq!(49_000_000 + reported.iter().sum::<i64>() * 3_500, 136_500_000);
    assert_eq!(values(&units, ReportMode::Total, |_| 250_000), [100_000, 149_999, 2, 24_999]);
}

#[test]
fn an_upgrade_takes_back_no_report_and_is_made_up_for() {
    let included = |place| if place == 0 { 10 } else { 20 };
    let reported = values(&[15, 10, 10], ReportMode::Overage, included);
    assert_eq!(reported, [5, 0, 10], "35 units with 20 included are 15 beyond");
}

proptest! {
    #[test]
    fn the_values_of_a_period_add_up_whatever_the_order(
        units in proptest::collection::vec(0_u64..5_000, 0..60),
        included in 0_u64..100_000,
        seed: u64,
    ) {
        let mut units = units;
        crate::stripe::sample::shuffle(&mut units, seed);
        let total: u64 = units.iter().sum();
        let reported = |mode| values(&units, mode, |_| included).iter().sum::<i64>();
        let signed = |units: u64| i64::try_from(units).expect("small");
        prop_assert_eq!(reported(ReportMode::Overage), signed(total.saturating_sub(included)));
        prop_assert_eq!(reported(ReportMode::Total), signed(total));
    }

    #[test]
    fn a_stamp_is_inside_the_period_and_what_stripe_takes(
        hours in 0_u64..745, late in 0_u64..80 * 86_400, served in 1_u64..745 * 3_600,
    ) {
        let hour = period().start.plus(HOUR * u32::try_from(hours).expect("small")).floor_to(3_600);
        let now = hour.plus(HOUR).plus(Duration::from_secs(late));
        let end = period().start.plus(Duration::from_secs(served)).max(hour.plus(DAY / 86_400));
        let service = Period { start: period().start, end };
        if let Ok(stamp) = timestamp(hour, period(), service, now) {
            prop_assert!(period().contains(stamp) && service.contains(stamp));
        }
        match timestamp(hour, period(), ALWAYS, now) {
            Ok(stamp) => {
                prop_assert!(period().contains(stamp));
                prop_assert!(stamp > now.minus(35 * DAY) && stamp < now.plus(Duration::from_secs(300)));
            }
            Err(untimely) => {
                prop_assert_eq!(untimely, Untimely::TooLate);
                prop_assert!(now >= period().end.plus(34 * DAY));
            }
        }
    }
}
