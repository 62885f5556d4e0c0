//! Plans which windows of a request are examined.

use std::ops::Range;

use crate::settings::{BASELINE_MIN, Settings};

/// The most windows of one request.
pub const WINDOWS_MAX: usize = 1_000;
/// A short input still gets windows of at least this many events.
const WINDOW_MIN: usize = 10;

/// A window and the baseline right before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The baseline's events.
    pub baseline: Range<usize>,
    /// The window's events.
    pub window: Range<usize>,
}

/// The windows to examine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The windows in order; empty while there are too few events for a baseline.
    pub spans: Vec<Span>,
    /// Whether the limit left windows out or increased the distance between them.
    pub capped: bool,
}

/// Plans the windows over `events` events. The first baseline has [`BASELINE_MIN`] events and
/// grows to its full size; a window is shortened when the input is too short for a full one; the
/// last window ends with the last event. To stay within [`WINDOWS_MAX`] windows the hop grows up to
/// the window's size; after that the oldest windows are left out.
pub fn plan(events: usize, settings: &Settings) -> Plan {
    let room = events.saturating_sub(BASELINE_MIN);
    let window = settings.window.min(room);
    if window < WINDOW_MIN.min(settings.window) {
        return Plan { spans: Vec::new(), capped: false };
    }
    let last = events - window;
    let count = |hop: usize| (last - BASELINE_MIN).div_ceil(hop) + 1;
    let mut hop = settings.hop.min(window);
    let capped = count(hop) > WINDOWS_MAX;
    if capped {
        hop = (last - BASELINE_MIN).div_ceil(WINDOWS_MAX - 1).clamp(hop, window);
    }
    let mut spans: Vec<Span> = (0..count(hop).min(WINDOWS_MAX))
        .map(|back| last.saturating_sub(back * hop).max(BASELINE_MIN))
        .map(|start| Span {
            baseline: start.saturating_sub(settings.baseline)..start,
            window: start..start + window,
        })
        .collect();
    spans.reverse();
    Plan { spans, capped }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(events: usize) -> Vec<usize> {
        plan(events, &Settings::default()).spans.iter().map(|span| span.window.start).collect()
    }

    #[test]
    fn short_input_calibrates_then_gets_smaller_windows() {
        assert!(starts(0).is_empty());
        assert!(starts(59).is_empty());
        assert_eq!(starts(60), [50]);
        assert_eq!(starts(99), [50]);
        assert_eq!(starts(115), [50, 55, 65]);
    }

    #[test]
    fn every_event_after_the_first_baseline_is_covered_and_the_baseline_is_bounded() {
        for events in [60, 101, 499, 1_003, 9_999] {
            let plan = plan(events, &Settings::default());
            assert!(!plan.capped);
            let mut covered = BASELINE_MIN;
            for span in plan.spans {
                assert_eq!(span.baseline.end, span.window.start);
                assert!((BASELINE_MIN..=400).contains(&span.baseline.len()));
                assert!(span.window.start <= covered);
                covered = span.window.end;
            }
            assert_eq!(covered, events);
        }
    }

    #[test]
    fn the_cap_widens_the_hop_and_then_leaves_out_the_oldest() {
        let wider = plan(20_000, &Settings::default());
        assert!(wider.capped && wider.spans.len() <= WINDOWS_MAX);
        assert_eq!(wider.spans[0].window.start, BASELINE_MIN);
        let cut = plan(100_000, &Settings::default());
        assert!(cut.capped && cut.spans.len() == WINDOWS_MAX);
        assert_eq!(cut.spans.last().map(|span| span.window.end), Some(100_000));
        assert!(cut.spans.windows(2).all(|two| two[0].window.end == two[1].window.start));
    }
}
