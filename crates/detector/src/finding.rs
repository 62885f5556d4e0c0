//! Makes findings for people from windows that differ: chooses one of overlapping windows, merges
//! windows that touch, and narrows them to their foreign lines.

use std::ops::Range;

use crate::detect::{Candidate, Finding, Metrics, gap};
use crate::event::Event;
use crate::explain;
use crate::severity::Severity;
use crate::vocabulary::Vocabulary;

/// The strongest candidates that do not overlap, strongest first. A candidate is stronger if it has
/// more foreign lines, then if its distance from the baseline is larger, then if it comes first.
pub(crate) fn peaks<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let mut order: Vec<&Candidate<'a>> = candidates.iter().collect();
    order.sort_by(|a, b| {
        let lines = b.foreign.len().cmp(&a.foreign.len());
        lines.then_with(|| b.ncd.total_cmp(&a.ncd))
    });
    let mut peaks: Vec<Candidate<'a>> = Vec::new();
    for one in order {
        if peaks.iter().all(|peak| !overlap(&peak.span.window, &one.span.window)) {
            peaks.push(one.clone());
        }
    }
    peaks
}

/// Makes findings from the peaks that passed, each with its adjusted p. They are in order, and
/// those whose lines touch are merged.
pub(crate) fn findings(
    events: &[Event],
    vocabulary: &Vocabulary,
    candidates: &[Candidate<'_>],
    mut passed: Vec<(Candidate<'_>, f64)>,
) -> Vec<Finding> {
    passed.sort_by_key(|(peak, _)| peak.span.window.start);
    let mut groups: Vec<(Vec<usize>, (Candidate<'_>, f64))> = Vec::new();
    for (peak, adjusted) in passed {
        let gap = gap(peak.span.window.len());
        let lines = lines_of(&peak, candidates, gap);
        match groups.last_mut() {
            Some((merged, best)) if lines[0] <= merged[merged.len() - 1] + gap => {
                merged.extend(lines);
                merged.sort_unstable();
                merged.dedup();
                if adjusted < best.1 {
                    *best = (peak, adjusted);
                }
            }
            Some(_) | None => groups.push((lines, (peak, adjusted))),
        }
    }
    let finding = |(lines, (best, adjusted)): &(Vec<usize>, (Candidate<'_>, f64))| {
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
            events: lines[0]..lines[lines.len() - 1] + 1,
            metrics,
            severity: Severity::of(metrics.p_value, metrics.ncd),
            why: explain::why(events, vocabulary, lines, &best.span, &metrics),
        }
    };
    groups.iter().map(finding).collect()
}

/// Merges findings of different kinds or fields that overlap. A merged finding has all their events
/// and sentences, and the measurements of the finding that is least likely by chance.
pub(crate) fn together(mut all: Vec<Finding>) -> Vec<Finding> {
    all.sort_by_key(|one| one.events.start);
    let mut groups: Vec<Vec<Finding>> = Vec::new();
    let mut end = 0;
    for one in all {
        let is_apart = one.events.start >= end;
        end = end.max(one.events.end);
        match groups.last_mut() {
            Some(group) if !is_apart => group.push(one),
            Some(_) | None => groups.push(vec![one]),
        }
    }
    groups.into_iter().map(merged).collect()
}

/// The most sentences of a merged finding; further ones are only counted.
const SENTENCES_MAX: usize = 4;

fn merged(mut group: Vec<Finding>) -> Finding {
    let start = group.iter().map(|one| one.events.start).min().unwrap_or(0);
    let end = group.iter().map(|one| one.events.end).max().unwrap_or(0);
    group.sort_by(|a, b| a.metrics.p_adjusted.total_cmp(&b.metrics.p_adjusted));
    let said: Vec<&str> = group.iter().take(SENTENCES_MAX).map(|one| one.why.as_str()).collect();
    let mut why = said.join(" ");
    if let Some(more) = group.len().checked_sub(SENTENCES_MAX + 1) {
        why.push_str(&format!(" And {} more.", more + 1));
    }
    let best = &group[0];
    Finding { events: start..end, metrics: best.metrics, severity: best.severity, why }
}

/// The foreign lines of a peak and of the candidates that overlap it, without strays.
fn lines_of(peak: &Candidate<'_>, candidates: &[Candidate<'_>], gap: usize) -> Vec<usize> {
    let mut lines: Vec<usize> = candidates
        .iter()
        .filter(|one| overlap(&one.span.window, &peak.span.window))
        .flat_map(|one| one.foreign.iter().copied())
        .collect();
    lines.sort_unstable();
    lines.dedup();
    dense(&lines, gap)
}

pub(crate) fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Drops stray lines: lines more than `gap` apart belong to different runs, and runs shorter than a
/// third of the longest are dropped. The result is empty only if the input is.
pub(crate) fn dense(lines: &[usize], gap: usize) -> Vec<usize> {
    let runs: Vec<&[usize]> = lines.chunk_by(|a, b| b - a <= gap).collect();
    let longest = runs.iter().map(|run| run.len()).max().unwrap_or(0);
    runs.into_iter().filter(|run| run.len() * 3 >= longest).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stray_lines_do_not_widen_a_finding() {
        assert_eq!(dense(&[3, 40, 41, 42, 43, 90], 10), [40, 41, 42, 43]);
        assert_eq!(dense(&[3], 10), [3]);
    }

    #[test]
    fn findings_that_overlap_become_the_likeliest_with_all_that_is_said() {
        let one = |events: Range<usize>, p: f64, why: &str| Finding {
            events,
            metrics: Metrics {
                ncd: 1.0,
                p_value: p,
                p_adjusted: p,
                permutations: 1_000,
                compression_ratio_change: 0.0,
                entropy_change: 0.0,
                confidence: 1.0 - p,
            },
            severity: Severity::Medium,
            why: why.to_owned(),
        };
        let mut all = vec![one(8..20, 0.03, "b."), one(30..40, 0.01, "c."), one(5..9, 0.04, "a.")];
        let made = together(all.clone());
        assert_eq!(made, [one(5..20, 0.03, "b. a."), one(30..40, 0.01, "c.")]);
        all.extend((0..4).map(|_| one(19..31, 0.02, "d.")));
        assert_eq!(together(all), [one(5..40, 0.01, "c. d. d. d. And 3 more.")]);
    }

    #[test]
    fn overlapping_is_sharing_an_event() {
        assert!(overlap(&(0..5), &(4..9)));
        assert!(!overlap(&(0..5), &(5..9)));
    }
}
