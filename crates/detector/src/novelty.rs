//! Finds the lines of a window that its baseline does not have.
//!
//! A permutation test finds that a window differs, but not why, and costs a thousand compressions.
//! This module finds cheaply what such a window must contain: lines that consist mostly of words
//! that the baseline does not have (foreign), or a template that was rare and is now frequent
//! (surging). It selects the windows to test, and names the lines of the findings.
//!
//! Two more rules avoid findings in a log that only changes slowly. First, a word that occurred
//! again and again before the baseline is routine, however long ago it was last seen. Second, the
//! false discovery rate is controlled over the windows whose *pool* (baseline and window together,
//! in no order) contains enough rare lines to make a window foreign. This filter does not depend
//! on how the pool is split, so the permutation test after it stays fair.
//!
//! Words and templates are numbers ([`Vocabulary`]), so moving the baseline only changes counts.

use std::collections::HashMap;
use std::ops::Range;

use crate::vocabulary::Vocabulary;

/// A line is foreign when at least this share of its distinct words is new, in percent. A line with
/// a new package or user has one new word of many; most words of another program's line are new.
const FOREIGN_PERCENT: usize = 60;
/// A template surges when it is at least this many times as frequent as in the baseline …
const SURGE_FACTOR: usize = 20;
/// … and makes up at least this share of the window, in percent.
const SURGE_PERCENT: usize = 30;
/// A word is routine once it was seen in this many blocks of [`BLOCK_EVENTS`] events. A burst
/// across two blocks that occurs once more does not reach this number.
const ROUTINE_BLOCKS: u32 = 5;
/// The events of one block, see [`ROUTINE_BLOCKS`].
const BLOCK_EVENTS: usize = 50;

/// The counts of words and templates in the baseline, which moves forward.
pub(crate) struct Sliding<'a> {
    vocabulary: &'a Vocabulary,
    words: Vec<u32>,
    templates: Vec<u32>,
    blocks: Vec<Blocks>,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Default)]
struct Blocks {
    latest: Option<usize>,
    count: u32,
}

impl<'a> Sliding<'a> {
    /// An empty baseline at the first event.
    pub(crate) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self {
            vocabulary,
            words: vec![0; vocabulary.word_count()],
            templates: vec![0; vocabulary.template_count()],
            blocks: vec![Blocks::default(); vocabulary.word_count()],
            start: 0,
            end: 0,
        }
    }

    /// Moves the baseline forward to `baseline`. Neither bound may move back.
    pub(crate) fn slide(&mut self, baseline: &Range<usize>) {
        for event in self.end..baseline.end {
            self.count(event, |count| *count += 1);
            let block = Some(event / BLOCK_EVENTS);
            for word in self.vocabulary.words(event) {
                let blocks = &mut self.blocks[*word as usize];
                if blocks.latest != block {
                    *blocks = Blocks { latest: block, count: blocks.count + 1 };
                }
            }
        }
        for event in self.start..baseline.start {
            self.count(event, |count| *count -= 1);
        }
        (self.start, self.end) = (baseline.start, baseline.end);
    }

    fn count(&mut self, event: usize, change: impl Fn(&mut u32)) {
        for word in self.vocabulary.words(event) {
            change(&mut self.words[*word as usize]);
        }
        change(&mut self.templates[self.vocabulary.template(event) as usize]);
    }

    /// The foreign and surging events of `window`, in order.
    pub(crate) fn foreign(&self, window: Range<usize>) -> Vec<usize> {
        let surging = self.surging(window.clone());
        window
            .filter(|event| {
                self.holds_rare_words(*event, 0)
                    || surging.contains(&self.vocabulary.template(*event))
            })
            .collect()
    }

    /// Whether the pool of baseline and `window` contains enough rare lines (`least`) to make a
    /// window foreign.
    pub(crate) fn pool_is_suspect(&mut self, window: Range<usize>, least: usize) -> bool {
        let size = window.len();
        window.clone().for_each(|event| self.count(event, |count| *count += 1));
        let most = u32::try_from(size).unwrap_or(u32::MAX);
        let pool = self.start..window.end;
        // No template that surges occurs in the baseline more often than this.
        let usual = (self.end - self.start) / SURGE_FACTOR;
        let rare = pool.clone().filter(|event| self.holds_rare_words(*event, most));
        let suspect = rare.take(least).count() == least
            || pool.clone().any(|event| {
                let count = self.templates[self.vocabulary.template(event) as usize] as usize;
                count * 100 >= size * SURGE_PERCENT && count <= size + usual
            });
        window.for_each(|event| self.count(event, |count| *count -= 1));
        suspect
    }

    /// Whether most words of an event occur at most `most` times and are not routine.
    fn holds_rare_words(&self, event: usize, most: u32) -> bool {
        let words = self.vocabulary.words(event);
        let rare = |word: &&u32| {
            let word = **word as usize;
            self.words[word] <= most && self.blocks[word].count < ROUTINE_BLOCKS
        };
        words.iter().filter(rare).count() * 100 >= words.len() * FOREIGN_PERCENT
    }

    fn surging(&self, window: Range<usize>) -> Vec<u32> {
        let size = window.len();
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for event in window {
            *counts.entry(self.vocabulary.template(event)).or_default() += 1;
        }
        let baseline = self.end - self.start;
        counts
            .into_iter()
            .filter(|(template, count)| {
                let usual = self.templates[*template as usize] as usize + 1;
                count * 100 >= size * SURGE_PERCENT
                    && count * baseline >= SURGE_FACTOR * usual * size
            })
            .map(|(template, _)| template)
            .collect()
    }
}

/// The length of the longest run of `lines`; lines more than `gap` apart belong to different runs.
pub(crate) fn longest_run(lines: &[usize], gap: usize) -> usize {
    lines.chunk_by(|a, b| b - a <= gap).map(<[usize]>::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn foreign(baseline: &[&str], window: &[&str]) -> Vec<usize> {
        let events: Vec<Event> =
            baseline.iter().chain(window).map(|line| Event::from_line(line)).collect();
        let vocabulary = Vocabulary::of(&events);
        let mut sliding = Sliding::new(&vocabulary);
        sliding.slide(&(0..baseline.len()));
        let found = sliding.foreign(baseline.len()..events.len());
        let suspect = sliding.pool_is_suspect(baseline.len()..events.len(), found.len());
        assert!(found.is_empty() || suspect, "the filter lets every foreign window through");
        found
    }

    #[test]
    fn lines_of_new_words_are_foreign_and_new_names_are_not() {
        let usual = ["status installed libfoo 1", "status unpacked libbar 2"];
        assert_eq!(foreign(&usual, &["status installed libnew 3", "kernel panic at boot"]), [3]);
    }

    #[test]
    fn a_flood_of_a_rare_template_is_found() {
        let mut usual = vec!["request served"; 100];
        usual.push("pool exhausted");
        let mut window = vec!["request served"; 5];
        assert!(foreign(&usual, &window).is_empty());
        window.extend(["pool exhausted"; 10]);
        assert_eq!(foreign(&usual, &window[5..]), (101..111).collect::<Vec<_>>());
    }

    #[test]
    fn what_slid_out_is_forgotten_unless_it_was_routine() {
        let known = |blocks: usize| {
            let mut lines = vec!["alpha beta"; blocks * BLOCK_EVENTS];
            lines.extend(["gamma delta"; 10]);
            lines.push("alpha beta");
            let events: Vec<Event> = lines.into_iter().map(Event::from_line).collect();
            let vocabulary = Vocabulary::of(&events);
            let mut sliding = Sliding::new(&vocabulary);
            let last = events.len() - 1;
            sliding.slide(&(last - 10..last));
            sliding.foreign(last..last + 1).is_empty()
        };
        assert!(!known(1));
        assert!(known(ROUTINE_BLOCKS as usize));
    }

    #[test]
    fn runs_end_at_gaps() {
        assert_eq!(longest_run(&[1, 2, 4, 20, 21], 3), 3);
        assert_eq!(longest_run(&[], 3), 0);
    }
}
