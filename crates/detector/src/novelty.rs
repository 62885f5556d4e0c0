//! Which lines of a window the baseline does not know.
//!
//! A permutation test finds a window that differs, but not why, and costs thousands of
//! compressions. This module answers cheaply what such a window would have to hold: lines made
//! mostly of words the baseline never saw (foreign), or a template that was rare and now floods
//! (surging). It screens the windows worth testing, and names the lines of those found.
//!
//! Words and templates become numbers once; sliding the baseline on is counting up and down.

use std::collections::HashMap;

use crate::event::Event;

/// A line is foreign when at least this share of its distinct words is new, in percent: a line
/// that names a new package or user has one new word of many, one of another program most.
const FOREIGN_PERCENT: usize = 60;
/// A template surges when it is at least this many times as frequent as in the baseline …
const SURGE_FACTOR: usize = 10;
/// … and makes up at least this share of the window, in percent.
const SURGE_PERCENT: usize = 30;

/// The words and templates of all events, as numbers.
pub(crate) struct Vocabulary {
    words: Vec<Vec<u32>>,
    templates: Vec<u32>,
    word_count: usize,
    template_count: usize,
}

impl Vocabulary {
    /// Reads every event once.
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut word_ids: HashMap<&str, u32> = HashMap::new();
        let mut template_ids: HashMap<&str, u32> = HashMap::new();
        let number = |ids: &mut HashMap<_, u32>, key| {
            let next = u32::try_from(ids.len()).expect("fewer words than bytes of one body");
            *ids.entry(key).or_insert(next)
        };
        let mut all_words = Vec::with_capacity(events.len());
        let mut templates = Vec::with_capacity(events.len());
        for event in events {
            let mut words: Vec<u32> =
                words(&event.masked).map(|word| number(&mut word_ids, word)).collect();
            words.sort_unstable();
            words.dedup();
            all_words.push(words);
            templates.push(number(&mut template_ids, event.masked.as_str()));
        }
        Self {
            words: all_words,
            templates,
            word_count: word_ids.len(),
            template_count: template_ids.len(),
        }
    }

    /// The template of an event: equal for events with equal masked text.
    pub(crate) fn template(&self, event: usize) -> u32 {
        self.templates[event]
    }
}

/// The words of a masked event; placeholders are no words. An event without any is one word.
fn words(masked: &str) -> impl Iterator<Item = &str> {
    let belongs = |c: char| c.is_alphanumeric() || c == '_';
    let words = masked
        .split(move |c: char| !(belongs(c) || c == '<' || c == '>'))
        .flat_map(move |part| {
            part.split_inclusive('>').flat_map(|piece| match piece.rfind('<') {
                Some(open) if piece.ends_with('>') => piece[..open].split('<'),
                Some(_) | None => piece.split('<'),
            })
        })
        .map(|word| word.trim_matches('>'))
        .filter(|word| !word.is_empty());
    let mut words = words.peekable();
    let whole = if words.peek().is_none() { Some(masked) } else { None };
    words.chain(whole)
}

/// How often words and templates occur in the baseline, as it slides along.
pub(crate) struct Sliding<'a> {
    vocabulary: &'a Vocabulary,
    words: Vec<u32>,
    templates: Vec<u32>,
    start: usize,
    end: usize,
}

impl<'a> Sliding<'a> {
    /// An empty baseline at the first event.
    pub(crate) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self {
            vocabulary,
            words: vec![0; vocabulary.word_count],
            templates: vec![0; vocabulary.template_count],
            start: 0,
            end: 0,
        }
    }

    /// Moves the baseline on to `start..end`. Neither bound ever moves back.
    pub(crate) fn slide(&mut self, start: usize, end: usize) {
        for event in self.end..end {
            self.count(event, |count| *count += 1);
        }
        for event in self.start..start {
            self.count(event, |count| *count -= 1);
        }
        (self.start, self.end) = (start, end);
    }

    fn count(&mut self, event: usize, change: impl Fn(&mut u32)) {
        for word in &self.vocabulary.words[event] {
            change(&mut self.words[*word as usize]);
        }
        change(&mut self.templates[self.vocabulary.templates[event] as usize]);
    }

    /// The events of `window` that the baseline does not account for, in order.
    pub(crate) fn foreign(&self, window: std::ops::Range<usize>) -> Vec<usize> {
        let surging = self.surging(window.clone());
        window
            .filter(|event| {
                let words = &self.vocabulary.words[*event];
                let new = words.iter().filter(|word| self.words[**word as usize] == 0).count();
                new * 100 >= words.len() * FOREIGN_PERCENT
                    || surging.contains(&self.vocabulary.templates[*event])
            })
            .collect()
    }

    fn surging(&self, window: std::ops::Range<usize>) -> Vec<u32> {
        let size = window.len();
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for event in window {
            *counts.entry(self.vocabulary.templates[event]).or_default() += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(baseline: &[&str], window: &[&str]) -> Vec<usize> {
        let events: Vec<Event> =
            baseline.iter().chain(window).map(|line| Event::from_line(line)).collect();
        let vocabulary = Vocabulary::of(&events);
        let mut sliding = Sliding::new(&vocabulary);
        sliding.slide(0, baseline.len());
        sliding.foreign(baseline.len()..events.len())
    }

    #[test]
    fn words_leave_placeholders_out() {
        let words = |text| words(text).collect::<Vec<_>>();
        assert_eq!(words("<ts> eth<n>: up (x_y)"), ["eth", "up", "x_y"]);
        assert_eq!(words("a<b deb<n>u<n> größe"), ["a", "b", "deb", "u", "größe"]);
        assert_eq!(words("----"), ["----"]);
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
        let mut window = vec!["request served"; 10];
        assert!(foreign(&usual, &window).is_empty());
        window.extend(["pool exhausted"; 10]);
        assert_eq!(foreign(&usual, &window), (111..121).collect::<Vec<_>>());
    }

    #[test]
    fn what_slid_out_is_forgotten() {
        let events: Vec<Event> =
            ["alpha beta", "gamma delta", "alpha beta"].map(Event::from_line).into();
        let vocabulary = Vocabulary::of(&events);
        let mut sliding = Sliding::new(&vocabulary);
        sliding.slide(0, 2);
        assert!(sliding.foreign(2..3).is_empty());
        sliding.slide(1, 2);
        assert_eq!(sliding.foreign(2..3), [2]);
    }
}
