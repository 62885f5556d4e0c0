//! The detection: events in, findings out. Pure and deterministic.
//!
//! 1. Windows are planned over the events ([`crate::windows`]).
//! 2. A window goes on when it holds enough lines its baseline does not know
//!    ([`crate::novelty`]) and its NCD exceeds the threshold; only such a window can be reported.
//! 3. Those are permutation-tested; a test stops once it cannot fall below the threshold any
//!    more, and survivors get more permutations until the adjustment for all windows decides.
//! 4. Windows that pass are merged where they overlap, and narrowed to their foreign lines.
//!
//! Invariant: every finding has an adjusted p below the p threshold and an NCD above its own.

use std::ops::Range;

use crate::compress::{Lengths, Meter, entropy_bits};
use crate::event::{Event, majority};
use crate::explain;
use crate::fdr;
use crate::novelty::{Sliding, Vocabulary};
use crate::permute::{Joined, PermutationTest, certain_at};
use crate::settings::Settings;
use crate::severity::Severity;
use crate::windows::{Span, plan};

/// What a detection found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whether there were too few events to have a baseline and a window.
    pub calibrating: bool,
    /// Windows examined.
    pub windows_examined: usize,
    /// Whether the cap on windows left some out.
    pub windows_capped: bool,
    /// In order of their place, none overlapping in its windows.
    pub findings: Vec<Finding>,
}

/// One anomaly.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// First and one past the last of its events.
    pub events: Range<usize>,
    /// How it was measured.
    pub metrics: Metrics,
    /// How grave it is.
    pub severity: Severity,
    /// What its window holds that the baseline does not, in a sentence.
    pub why: String,
}

/// The measurements of an anomaly's strongest window.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Metrics {
    /// Normalized compression distance, 0 to 1.
    pub ncd: f64,
    /// Of the permutation test.
    pub p_value: f64,
    /// Adjusted for all windows of the request.
    pub p_adjusted: f64,
    /// Permutations behind the p-value.
    pub permutations: usize,
    /// The window's compressed share of its size, less the baseline's.
    pub compression_ratio_change: f64,
    /// The window's byte entropy less the baseline's, in bits.
    pub entropy_change: f64,
    /// 1 − adjusted p.
    pub confidence: f64,
}

/// Detects anomalies in `events`.
///
/// # Errors
/// When zstd cannot allocate its context.
pub fn detect(events: &[Event], settings: &Settings) -> std::io::Result<Report> {
    let plan = plan(events.len(), settings);
    let mut bench = Bench { meter: Meter::new()?, joined: Joined::default() };
    let ncd_threshold = settings.ncd_threshold_for(majority(events.iter()));
    let vocabulary = Vocabulary::of(events);
    let mut candidates = screen(events, &plan.spans, &vocabulary, ncd_threshold, &mut bench);
    let adjusted = test(&mut candidates, plan.spans.len(), settings, &mut bench);
    let passed: Vec<(Candidate<'_>, f64)> = candidates
        .into_iter()
        .zip(adjusted)
        .filter(|(_, adjusted)| *adjusted < settings.p_threshold())
        .collect();
    let findings = merge(passed)
        .into_iter()
        .map(|group| finding(events, &vocabulary, &group, settings.hop))
        .collect();
    Ok(Report {
        calibrating: plan.spans.is_empty(),
        windows_examined: plan.spans.len(),
        windows_capped: plan.capped,
        findings,
    })
}

struct Bench {
    meter: Meter,
    joined: Joined,
}

struct Candidate<'a> {
    span: Span,
    foreign: Vec<usize>,
    ncd: f64,
    ratio_change: f64,
    entropy_change: f64,
    test: PermutationTest<'a>,
}

fn masked(events: &[Event]) -> impl Iterator<Item = &str> {
    events.iter().map(|event| event.masked.as_str())
}

fn screen<'a>(
    events: &'a [Event],
    spans: &[Span],
    vocabulary: &Vocabulary,
    ncd_threshold: f64,
    bench: &mut Bench,
) -> Vec<Candidate<'a>> {
    let mut sliding = Sliding::new(vocabulary);
    let mut candidates = Vec::new();
    for span in spans {
        sliding.slide(span.baseline.start, span.baseline.end);
        let foreign = sliding.foreign(span.window.clone());
        if foreign.len() < foreign_min(span.window.len()) {
            continue;
        }
        let (baseline, window) = (&events[span.baseline.clone()], &events[span.window.clone()]);
        let (bytes, split) = bench.joined.fill(masked(baseline), masked(window));
        let lengths = bench.meter.lengths(bytes, split);
        let ncd = lengths.ncd();
        if ncd <= ncd_threshold {
            continue;
        }
        candidates.push(Candidate {
            foreign,
            ncd,
            ratio_change: ratio_change(lengths, split, bytes.len()),
            entropy_change: entropy_bits(&bytes[split..]) - entropy_bits(&bytes[..split]),
            test: PermutationTest::new(
                masked(baseline),
                masked(window),
                ncd,
                span.window.start as u64,
            ),
            span: span.clone(),
        });
    }
    candidates
}

/// Fewer foreign lines than this cannot reach significance against a baseline eight times as
/// long: of two lines in a pool of 450 both fall into the window of 50 by chance 1 time in 81.
fn foreign_min(window: usize) -> usize {
    (window / 16).max(2)
}

fn ratio_change(lengths: Lengths, split: usize, total: usize) -> f64 {
    let ratio = |compressed: usize, size: usize| compressed as f64 / size.max(1) as f64;
    ratio(lengths.window, total - split) - ratio(lengths.baseline, split)
}

/// Tests the candidates and returns their adjusted p-values.
fn test(
    candidates: &mut [Candidate<'_>],
    family: usize,
    settings: &Settings,
    bench: &mut Bench,
) -> Vec<f64> {
    let threshold = settings.p_threshold();
    let stop = certain_at(threshold, settings.permutations);
    for candidate in candidates.iter_mut() {
        let Bench { meter, joined } = bench;
        candidate.test.run(settings.permutations, stop, meter, joined);
    }
    let mut budget = EXTRA_PERMUTATIONS_MAX;
    let mut total = settings.permutations;
    loop {
        let p_values: Vec<f64> = candidates.iter().map(|one| one.test.p_value()).collect();
        let adjusted = fdr::adjust(&p_values, family);
        let survivors = p_values.iter().filter(|p| **p < threshold).count();
        // The adjusted threshold if every survivor passed: above it there is no hope.
        let hope = threshold * survivors as f64 / family.max(1) as f64;
        let open: Vec<usize> = (0..candidates.len())
            .filter(|index| adjusted[*index] >= threshold && p_values[*index] < threshold)
            .filter(|index| candidates[*index].test.p_floor() < hope)
            .collect();
        if open.is_empty() || budget == 0 {
            return adjusted;
        }
        total = total.saturating_mul(2);
        for index in open {
            let test = &mut candidates[index].test;
            let total = total.min(test.done() + budget);
            budget -= test.run(total, usize::MAX, &mut bench.meter, &mut bench.joined);
        }
    }
}

/// Bounds the time of a request: about ten seconds of ordinary lines on one core.
const EXTRA_PERMUTATIONS_MAX: usize = 40_000;

/// Groups windows that overlap.
fn merge(passed: Vec<(Candidate<'_>, f64)>) -> Vec<Vec<(Candidate<'_>, f64)>> {
    let mut groups: Vec<Vec<(Candidate<'_>, f64)>> = Vec::new();
    let mut end = 0;
    for one in passed {
        let window = one.0.span.window.clone();
        match groups.last_mut() {
            Some(group) if window.start < end => group.push(one),
            Some(_) | None => groups.push(vec![one]),
        }
        end = window.end;
    }
    groups
}

fn finding(
    events: &[Event],
    vocabulary: &Vocabulary,
    group: &[(Candidate<'_>, f64)],
    gap: usize,
) -> Finding {
    let (best, adjusted) = group
        .iter()
        .min_by(|(a, a_p), (b, b_p)| {
            let foreign = || b.foreign.len().cmp(&a.foreign.len());
            a_p.total_cmp(b_p).then_with(foreign).then_with(|| b.ncd.total_cmp(&a.ncd))
        })
        .expect("merging makes no empty group");
    let mut foreign: Vec<usize> =
        group.iter().flat_map(|(candidate, _)| candidate.foreign.iter().copied()).collect();
    foreign.sort_unstable();
    foreign.dedup();
    let foreign = dense(&foreign, gap);
    let (first, last) = (foreign[0], foreign[foreign.len() - 1]);
    let metrics = Metrics {
        ncd: best.ncd,
        p_value: best.test.p_value(),
        p_adjusted: *adjusted,
        permutations: best.test.done(),
        compression_ratio_change: best.ratio_change,
        entropy_change: best.entropy_change,
        confidence: 1.0 - adjusted,
    };
    Finding {
        events: first..last + 1,
        metrics,
        severity: Severity::of(metrics.p_value, metrics.ncd),
        why: explain::why(events, vocabulary, &foreign, &best.span, &metrics),
    }
}

/// Leaves out stray lines far from the bulk: runs with gaps above `gap` count separately, and
/// those under a third of the longest are dropped. Never empty for input that is not.
fn dense(foreign: &[usize], gap: usize) -> Vec<usize> {
    let runs: Vec<&[usize]> = foreign.chunk_by(|a, b| b - a <= gap).collect();
    let longest = runs.iter().map(|run| run.len()).max().unwrap_or(0);
    runs.into_iter().filter(|run| run.len() * 3 >= longest).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    fn log(lines: usize, burst: Range<usize>) -> Vec<Event> {
        let mut prng = Prng::new(9, 0);
        let paths = ["users", "orders", "carts", "items", "health"];
        (0..lines)
            .map(|line| {
                let text = if burst.contains(&line) {
                    format!(
                        "thread panicked: cannot borrow cell {line} as mutable, password=x{line}"
                    )
                } else {
                    format!("GET /{}/{line} served with status 200", paths[prng.below(5)])
                };
                Event::from_line(&text)
            })
            .collect()
    }

    fn report(events: &[Event]) -> Report {
        detect(events, &Settings::default()).expect("zstd")
    }

    #[test]
    fn a_burst_is_one_finding_at_its_lines() {
        let events = log(700, 503..517);
        let report = report(&events);
        assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
        let finding = &report.findings[0];
        assert_eq!(finding.events, 503..517);
        assert!(finding.metrics.p_adjusted < 0.05 && finding.metrics.ncd > 0.25);
        assert!(finding.why.contains("thread panicked"), "{}", finding.why);
        assert!(!finding.why.contains("x503"), "{}", finding.why);
    }

    #[test]
    fn a_quiet_log_is_quiet_and_short_input_calibrates() {
        let quiet = report(&log(700, 0..0));
        assert!(quiet.findings.is_empty() && !quiet.calibrating && quiet.windows_examined > 50);
        let short = report(&log(40, 0..0));
        assert!(short.calibrating && short.windows_examined == 0);
        assert!(report(&[]).calibrating);
    }

    #[test]
    fn equal_input_gives_equal_output() {
        let events = log(300, 200..212);
        assert_eq!(report(&events), report(&events));
    }

    #[test]
    fn a_jump_of_a_metric_is_found() {
        let mut prng = Prng::new(3, 0);
        let events: Vec<Event> = (0..500)
            .map(|at| {
                let base = if (420..440).contains(&at) { 4_000 } else { 100 };
                Event::from_json((base + prng.below(60)).into())
            })
            .collect();
        let report = report(&events);
        assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
        assert_eq!(report.findings[0].events, 420..440);
    }

    #[test]
    fn stray_lines_do_not_widen_a_finding() {
        assert_eq!(dense(&[3, 40, 41, 42, 43, 90], 10), [40, 41, 42, 43]);
        assert_eq!(dense(&[3], 10), [3]);
    }
}
