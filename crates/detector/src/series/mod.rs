//! Detection in series of numbers: bare ones, and each numeric field of objects.
//!
//! Numbers are masked in text, so they are examined here, in the same steps as lines of text:
//!
//! 1. Every series ([`extract`]) gets windows, each after a baseline of at least four windows.
//! 2. Each value is replaced by the error of predicting it from the values before it ([`predict`]).
//!    A test shuffles values, so they must be exchangeable, and consecutive values are not. But the
//!    errors are: a trend, a wave or a random walk is predicted equally well everywhere.
//! 3. Errors become a few symbols ([`symbols`]), and a window's distance is how many more bits its
//!    symbols take with the baseline's code than with a code made for them ([`code`]).
//! 4. A window that differs more than the parts of the baseline do is permutation-tested
//!    ([`permute`]); the false discovery rate is controlled over all windows of all series.
//!
//! Invariant: as for text, every finding has an adjusted p below the p threshold and an NCD above
//! that of metrics. Pure and deterministic.

mod code;
mod explain;
mod extract;
mod findings;
mod permute;
mod predict;
mod screen;
mod symbols;

use crate::detect::Finding;
use crate::event::Event;
use crate::fdr;
use crate::permute::certain_at;
use crate::settings::Settings;

use screen::{Candidate, Screened};

/// Bounds the time of the fits: about two seconds on one core.
const FIT_WORK_MAX: usize = 2_000_000_000;
/// Bounds the time of the permutations: values drawn in about three seconds on one core.
const DRAWS_MAX: usize = 600_000_000;
/// How many permutations are drawn for each one that may reach the distance of a window that only
/// just passes.
const PERMUTATIONS_PER_P: f64 = 10.0;
/// The most permutations of one test: enough for a single window to pass among all windows of
/// sixteen fields.
const PERMUTATIONS_MAX: usize = 1 << 19;

/// The result of a detection in numbers.
pub(crate) struct Found {
    /// The findings in order of their events; none overlap.
    pub(crate) findings: Vec<Finding>,
    /// Whether fields or windows were skipped.
    pub(crate) is_capped: bool,
}

/// Detects anomalies in the numbers of `events`.
pub(crate) fn find(events: &[Event], settings: &Settings) -> Found {
    let (all, mut is_capped) = extract::series(events);
    let (mut candidates, mut family, mut work) = (Vec::new(), 0, 0);
    for (number, series) in all.iter().enumerate() {
        work += screen::work(series.values.len(), settings);
        if work > FIT_WORK_MAX && number > 0 {
            is_capped = true;
            break;
        }
        let Screened { candidates: more, windows } = screen::screen(number, series, settings);
        candidates.extend(more);
        family += windows;
    }
    let mut peaks = findings::peaks(&candidates);
    let (adjusted, all_tested) = test(&mut peaks, family, settings);
    let passed = peaks.into_iter().zip(adjusted);
    let passed = passed.filter(|(_, p)| *p < settings.p_threshold()).collect();
    Found {
        findings: findings::findings(&all, &candidates, passed),
        is_capped: is_capped || !all_tested,
    }
}

/// The adjusted p of each peak, and whether the limit on draws allowed all tests.
///
/// Most peaks fail in the first round. The others get enough permutations to compare p with the
/// threshold of the adjustment. Stopping as soon as p looks good would favour chance, so a test
/// stops early only when it is certain to fail.
fn test(peaks: &mut [Candidate], family: usize, settings: &Settings) -> (Vec<f64>, bool) {
    let (threshold, first) = (settings.p_threshold(), settings.permutations);
    let enough = (PERMUTATIONS_PER_P * family as f64 / threshold).ceil() as usize;
    let enough = enough.clamp(first, PERMUTATIONS_MAX.max(first));
    let mut draws_left = DRAWS_MAX;
    let mut all_tested = true;
    let everyone = 0..peaks.len();
    all_tested &= run(peaks, everyone, first, certain_at(threshold, first), &mut draws_left);
    let survives = |index: &usize| peaks[*index].test.p_value() < threshold;
    let survivors: Vec<usize> = (0..peaks.len()).filter(survives).collect();
    // The threshold of p if all survivors pass: none passes with a larger p.
    let threshold_if_all_pass = threshold * survivors.len() as f64 / family.max(1) as f64;
    all_tested &=
        run(peaks, survivors, enough, certain_at(threshold_if_all_pass, enough), &mut draws_left);
    // A test that never ran has p = 1.
    let p_values: Vec<f64> = peaks.iter().map(|one| one.test.p_value()).collect();
    (fdr::adjust(&p_values, family), all_tested)
}

/// Continues the tests of `chosen`, the strongest first, as far as the draws allowed go.
fn run(
    peaks: &mut [Candidate],
    chosen: impl IntoIterator<Item = usize>,
    total: usize,
    exceeding: usize,
    draws_left: &mut usize,
) -> bool {
    for index in chosen {
        let test = &mut peaks[index].test;
        if *draws_left < (total - test.done()) * test.window() {
            return false;
        }
        *draws_left -= test.run(total, exceeding) * test.window();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use serde_json::json;

    #[test]
    fn of_many_fields_the_one_that_changes_is_found_within_the_draws_allowed() {
        let mut prng = Prng::new(8, 0);
        let mut noise = || (prng.below(1_000) + prng.below(1_000)) as f64;
        let event = |at: usize| {
            let mut fields: serde_json::Map<_, _> =
                (0..6).map(|field| (format!("f{field}"), json!(noise()))).collect();
            if (500..520).contains(&at) {
                fields.insert("f3".to_owned(), json!(5_000.0 + at as f64));
            }
            Event::from_json(fields.into())
        };
        let events: Vec<Event> = (0..600).map(event).collect();
        let found = find(&events, &Settings::default());
        assert!(!found.is_capped);
        assert_eq!(found.findings.len(), 1, "{:#?}", found.findings);
        let place = &found.findings[0].events;
        assert!(place.start == 500 && (520..525).contains(&place.end), "{place:?}");
        assert!(found.findings[0].why.starts_with("“f3”: "), "{}", found.findings[0].why);
    }

    #[test]
    fn what_the_draws_do_not_allow_is_not_taken_to_have_passed() {
        let event = |at: u32| Event::from_json(json!(if at < 550 { at % 7 } else { 3 }));
        let events: Vec<Event> = (0..600).map(event).collect();
        let (all, _) = extract::series(&events);
        let screened = screen::screen(0, &all[0], &Settings::default());
        let mut peaks = findings::peaks(&screened.candidates);
        assert!(!run(&mut peaks, 0..1, 1_000, 1_000, &mut 10));
        assert_eq!(peaks[0].test.p_value(), 1.0);
        assert!(run(&mut peaks, 0..1, 1_000, 1_000, &mut 1_000_000));
        assert!(peaks[0].test.p_value() < 0.002);
    }

    #[test]
    fn numbers_of_every_size_under_settings_of_every_size_give_findings_within_the_events() {
        let odd = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -0.0, 1.0, 1.0 + f64::EPSILON];
        let mut prng = Prng::new(11, 0);
        for round in 0..40 {
            let length = 60 + prng.below(300);
            let few = 1 + prng.below(odd.len());
            let value = |prng: &mut Prng| match prng.below(4) {
                0 => f64::from_bits(prng.next_u64()),
                _ => odd[prng.below(few)],
            };
            let values: Vec<f64> = (0..length).map(|_| value(&mut prng)).collect();
            let finite =
                values.into_iter().map(|value| if value.is_finite() { value } else { 0.0 });
            let events: Vec<Event> = finite.map(|value| Event::from_json(json!(value))).collect();
            let settings = Settings {
                baseline: 50 + prng.below(500),
                window: 5 + prng.below(200),
                hop: 1 + prng.below(5),
                p_value_threshold: 0.5,
                permutations: 100,
                ..Settings::default()
            };
            for finding in find(&events, &settings).findings {
                let events = &finding.events;
                assert!(events.start < events.end && events.end <= length, "{round}: {finding:?}");
                assert!(finding.metrics.ncd.is_finite(), "{round}: {finding:?}");
            }
        }
    }
}
