//! Words that audit rows have in common, made once per thread: a row refers to them rather than
//! copying them, and cores do not contend for their counts.
//!
//! Bounded: beyond so many different words each is a copy again.

use std::cell::RefCell;
use std::sync::Arc;

/// More than there are actions, statuses and codes of denials in use.
const WORDS_MAX: usize = 64;

thread_local! {
    static WORDS: RefCell<Vec<Arc<str>>> = const { RefCell::new(Vec::new()) };
}

/// A word, shared with whoever asked for it before.
pub(crate) fn word(text: &str) -> Arc<str> {
    WORDS.with_borrow_mut(|words| {
        if let Some(known) = words.iter().find(|known| &***known == text) {
            return Arc::clone(known);
        }
        let made: Arc<str> = text.into();
        if words.len() < WORDS_MAX {
            words.push(Arc::clone(&made));
        }
        made
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_made_once() {
        assert!(Arc::ptr_eq(&word("request"), &word("request")));
        assert_eq!(&*word("{}"), "{}");
    }

    #[test]
    fn many_words_take_bounded_memory() {
        for n in 0..1_000 {
            assert_eq!(*word(&n.to_string()), *n.to_string());
        }
        assert!(WORDS.with_borrow(Vec::len) <= WORDS_MAX);
    }
}
