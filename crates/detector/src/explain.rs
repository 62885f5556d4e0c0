//! The sentence that says why a window was reported.

use std::collections::BTreeMap;

use crate::detect::Metrics;
use crate::event::{Event, cut};
use crate::vocabulary::Vocabulary;
use crate::windows::Span;

/// The longest template quoted, in bytes.
const TEMPLATE_BYTES_MAX: usize = 160;

/// Names the most frequent of the foreign templates (the earliest among equals), how often it
/// occurs and how often in the baseline, and the measurements. Holds masked text only.
pub(crate) fn why(
    events: &[Event],
    vocabulary: &Vocabulary,
    foreign: &[usize],
    span: &Span,
    metrics: &Metrics,
) -> String {
    let mut counts: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for &event in foreign {
        counts.entry(vocabulary.template(event)).or_insert((0, event)).0 += 1;
    }
    let most = counts.iter().max_by_key(|(_, (count, first))| (*count, std::cmp::Reverse(*first)));
    let (template, (count, first)) = most.map_or((0, (0, foreign[0])), |(id, most)| (*id, *most));
    let before =
        span.baseline.clone().filter(|event| vocabulary.template(*event) == template).count();
    let mut quoted = events[first].masked.trim().to_owned();
    if quoted.len() > TEMPLATE_BYTES_MAX {
        cut(&mut quoted, TEMPLATE_BYTES_MAX);
        quoted.push('…');
    }
    let (lines, kinds) = (foreign.len(), counts.len());
    let (noun, pattern) = (
        if lines == 1 { "event" } else { "events" },
        if kinds == 1 { "pattern" } else { "patterns" },
    );
    format!(
        "{lines} {noun} of {kinds} {pattern} unlike the {baseline} events before: above all \
         “{quoted}” ({count}× here, {before}× in the baseline); NCD {ncd:.2}, p = {p:.4} \
         ({adjusted:.4} adjusted for all windows).",
        baseline = span.baseline.len(),
        ncd = metrics.ncd,
        p = metrics.p_value,
        adjusted = metrics.p_adjusted,
    )
}
