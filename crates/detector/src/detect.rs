//! The detection: events in, findings out. Pure and deterministic.
//!
//! 1. Windows are planned over the events ([`crate::windows`]).
//! 2. A window is a candidate if it contains a run of lines that its baseline does not have
//!    ([`crate::novelty`]) and its normalized compression distance (NCD) exceeds the threshold.
//!    Only candidates can be reported.
//! 3. Of windows that overlap, the strongest is permutation-tested. A test stops once its p can no
//!    longer fall below the threshold; the others get more permutations until the adjustment for
//!    all windows decides.
//! 4. Windows that pass and touch each other are merged, and narrowed to their foreign lines.
//! 5. Numbers are masked in text, so they are examined separately, as series ([`crate::series`]).
//!
//! Invariant: every finding has an adjusted p below the p threshold and an NCD above its own.

use std::ops::Range;

use crate::compress::{Lengths, Meter, entropy_bits};
use crate::event::{Event, majority};
use crate::fdr;
use crate::finding::{findings, peaks, together};
use crate::novelty::{Sliding, longest_run};
use crate::permute::{Joined, PermutationTest, certain_at};
use crate::series;
use crate::settings::Settings;
use crate::severity::Severity;
use crate::vocabulary::Vocabulary;
use crate::windows::{Span, plan};

/// Bounds the time of a request: permutations compress this many bytes in about three seconds on
/// one core. Tests beyond it are skipped, the weakest first.
const WORK_BYTES_MAX: usize = 600 << 20;

/// The result of a detection.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whether there were too few events for a baseline and a window.
    pub calibrating: bool,
    /// How many windows were examined.
    pub windows_examined: usize,
    /// Whether windows were skipped because of the limit on windows or on work.
    pub windows_capped: bool,
    /// The findings in order of their events; none overlap.
    pub findings: Vec<Finding>,
}

/// One anomaly.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The anomaly's events, as a range.
    pub events: Range<usize>,
    /// The measurements.
    pub metrics: Metrics,
    /// The severity.
    pub severity: Severity,
    /// What the window contains that the baseline does not, in one or more sentences.
    pub why: String,
}

/// The measurements of an anomaly's strongest window.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Metrics {
    /// Normalized compression distance, 0 to 1.
    pub ncd: f64,
    /// The p-value of the permutation test.
    pub p_value: f64,
    /// The p-value adjusted for all windows of the request.
    pub p_adjusted: f64,
    /// How many permutations the p-value is based on.
    pub permutations: usize,
    /// The compression ratio of the window minus that of the baseline.
    pub compression_ratio_change: f64,
    /// The byte entropy of the window minus that of the baseline, in bits.
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
    let mut bench =
        Bench { meter: Meter::new()?, joined: Joined::default(), work_left: WORK_BYTES_MAX };
    let vocabulary = Vocabulary::of(events);
    let screened = screen(events, &plan.spans, &vocabulary, settings, &mut bench);
    let mut peaks = peaks(&screened.candidates);
    let (adjusted, all_tested) = test(&mut peaks, screened.family, settings, &mut bench);
    let passed = peaks
        .into_iter()
        .zip(adjusted)
        .filter(|(_, adjusted)| *adjusted < settings.p_threshold())
        .collect();
    let mut all = findings(events, &vocabulary, &screened.candidates, passed);
    let numbers = series::find(events, settings);
    all.extend(numbers.findings);
    Ok(Report {
        calibrating: plan.spans.is_empty(),
        windows_examined: plan.spans.len(),
        windows_capped: plan.capped || !all_tested || numbers.is_capped,
        findings: together(all),
    })
}

struct Bench {
    meter: Meter,
    joined: Joined,
    work_left: usize,
}

/// A candidate: a window that may be tested.
#[derive(Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) span: Span,
    /// The foreign events of the window, in order.
    pub(crate) foreign: Vec<usize>,
    pub(crate) ncd: f64,
    pub(crate) ratio_change: f64,
    pub(crate) entropy_change: f64,
    pub(crate) test: PermutationTest<'a>,
}

struct Screened<'a> {
    candidates: Vec<Candidate<'a>>,
    /// The number of windows that the false discovery rate is controlled over.
    family: usize,
}

fn masked(events: &[Event]) -> impl Iterator<Item = &str> {
    events.iter().map(|event| event.masked.as_str())
}

fn screen<'a>(
    events: &'a [Event],
    spans: &[Span],
    vocabulary: &Vocabulary,
    settings: &Settings,
    bench: &mut Bench,
) -> Screened<'a> {
    let ncd_threshold = settings.ncd_threshold_for(majority(events.iter()));
    let mut sliding = Sliding::new(vocabulary);
    let mut screened = Screened { candidates: Vec::new(), family: 0 };
    for span in spans {
        sliding.slide(&span.baseline);
        let size = span.window.len();
        let (least, gap) = (settings.foreign_min(size), gap(size));
        if !sliding.pool_is_suspect(span.window.clone(), least) {
            continue;
        }
        screened.family += 1;
        let foreign = sliding.foreign(span.window.clone());
        if longest_run(&foreign, gap) < least {
            continue;
        }
        let candidate = measure(events, span, foreign, bench);
        if candidate.ncd > ncd_threshold {
            screened.candidates.push(candidate);
        }
    }
    screened
}

/// Foreign lines further apart than this, in a window of `size`, belong to different runs.
pub(crate) fn gap(size: usize) -> usize {
    (size / 10).max(2)
}

fn measure<'a>(
    events: &'a [Event],
    span: &Span,
    foreign: Vec<usize>,
    bench: &mut Bench,
) -> Candidate<'a> {
    let test = PermutationTest::new(
        masked(&events[span.baseline.clone()]),
        masked(&events[span.window.clone()]),
        span.window.start as u64,
        &mut bench.meter,
        &mut bench.joined,
    );
    let (baseline, window) = bench.joined.halves();
    Candidate {
        span: span.clone(),
        foreign,
        ncd: test.observed().ncd(),
        ratio_change: ratio_change(test.observed(), baseline.len(), window.len()),
        entropy_change: entropy_bits(window) - entropy_bits(baseline),
        test,
    }
}

fn ratio_change(lengths: Lengths, baseline: usize, window: usize) -> f64 {
    let ratio = |compressed: usize, size: usize| compressed as f64 / size.max(1) as f64;
    ratio(lengths.window, window) - ratio(lengths.baseline, baseline)
}

/// Tests the peaks, the strongest first. Returns their adjusted p-values, and whether the work
/// limit allowed a first round for all of them.
fn test(
    peaks: &mut [Candidate<'_>],
    family: usize,
    settings: &Settings,
    bench: &mut Bench,
) -> (Vec<f64>, bool) {
    let threshold = settings.p_threshold();
    let stop = certain_at(threshold, settings.permutations);
    for peak in peaks.iter_mut() {
        bench.run(&mut peak.test, settings.permutations, stop);
    }
    let all_tested = bench.work_left > 0;
    let mut total = settings.permutations;
    loop {
        let p_values: Vec<f64> = peaks.iter().map(|one| one.test.p_value()).collect();
        let adjusted = fdr::adjust(&p_values, family);
        let survivors = p_values.iter().filter(|p| **p < threshold).count();
        // The adjusted threshold if every survivor passed: a p above it cannot pass.
        let threshold_if_all_pass = threshold * survivors as f64 / family.max(1) as f64;
        let open: Vec<usize> = (0..peaks.len())
            .filter(|index| adjusted[*index] >= threshold && p_values[*index] < threshold)
            .filter(|index| peaks[*index].test.p_floor() < threshold_if_all_pass)
            .collect();
        if open.is_empty() || bench.work_left == 0 {
            return (adjusted, all_tested);
        }
        total = total.saturating_mul(2);
        for index in open {
            bench.run(&mut peaks[index].test, total, usize::MAX);
        }
    }
}

impl Bench {
    /// Runs `test` up to `total` permutations, within the work limit.
    fn run(&mut self, test: &mut PermutationTest<'_>, total: usize, exceeding: usize) {
        let pass = test.pass_bytes().max(1);
        let affordable = test.done() + self.work_left / pass;
        if affordable < total {
            self.work_left = 0;
            // A test cut short in its first round would have too few permutations for its p-value.
            if test.done() == 0 {
                return;
            }
        }
        let (meter, joined) = (&mut self.meter, &mut self.joined);
        let done = test.run(total.min(affordable), exceeding, meter, joined);
        self.work_left = self.work_left.saturating_sub(done * pass);
    }
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
}
