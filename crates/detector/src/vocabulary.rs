//! The words and templates of a request's events, as numbers.
//!
//! A template is an event's masked text. Its words identify the program that wrote the line. Words
//! are separated by white space, quotes, brackets and similar signs, and have a letter outside a
//! placeholder. Numbers of metrics are examined by [`crate::series`].

use std::collections::HashMap;

use crate::event::Event;

/// The words and templates of all events.
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
                words(event).into_iter().map(|word| number(&mut word_ids, word)).collect();
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

    /// The distinct words of an event; at least one.
    pub(crate) fn words(&self, event: usize) -> &[u32] {
        &self.words[event]
    }

    /// The template of an event: equal for events with equal masked text.
    pub(crate) fn template(&self, event: usize) -> u32 {
        self.templates[event]
    }

    /// The number of distinct words; each word is a number below it.
    pub(crate) fn word_count(&self) -> usize {
        self.word_count
    }

    /// The number of distinct templates; each template is a number below it.
    pub(crate) fn template_count(&self) -> usize {
        self.template_count
    }
}

/// The words of an event, or its whole masked text if it has no words.
fn words(event: &Event) -> Vec<&str> {
    let masked = event.masked.as_str();
    let words: Vec<&str> = masked
        .split(|c: char| c.is_whitespace() || "\"'`,;|=?&()[]{}".contains(c))
        .map(|word| word.trim_matches([':', '.', '!', '*', '#']))
        .filter(|word| has_letter(word))
        .collect();
    if words.is_empty() { vec![masked] } else { words }
}

/// Whether there is a letter outside the placeholders.
fn has_letter(word: &str) -> bool {
    let mut within = false;
    word.chars().any(|c| {
        match c {
            '<' => within = true,
            '>' => within = false,
            _ => return !within && c.is_alphabetic(),
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_and_punctuation_are_no_words() {
        let of = |line: &str| {
            let event = Event::from_line(line);
            words(&event).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of("2026-01-31 10:00:00 eth0: up (x_y) 1.2-3"), ["eth<n>", "up", "x_y"]);
        assert_eq!(of("install libfoo:amd64 <none>"), ["install", "libfoo:amd<n>"]);
        assert_eq!(of(r#"{"level":"info","path":"/größe"}"#), ["level", "info", "path", "/größe"]);
        assert_eq!(of("----"), ["----"]);
        assert_eq!(of("12 34"), ["<n> <n>"]);
    }

    #[test]
    fn a_metric_is_its_fields_whatever_their_values() {
        let event = |cpu: u32| Event::from_json(json!({"cpu":cpu,"load":[2,4]}));
        assert_eq!(words(&event(1)), ["cpu", "load"]);
        let vocabulary = Vocabulary::of(&[event(1), event(1_000)]);
        assert_eq!(vocabulary.template(0), vocabulary.template(1));
        assert_eq!((vocabulary.word_count(), vocabulary.template_count()), (2, 1));
    }
}
