//! Interned strings of audit entries: an entry refers to a string instead of copying it. Each
//! thread has a table, so that cores do not contend for reference counts.
//!
//! Bound: when the table is full, further strings are copied.

use std::cell::RefCell;
use std::sync::Arc;

/// More than all actions, statuses and codes of denials together.
const STRINGS_MAX: usize = 64;

thread_local! {
    static STRINGS: RefCell<Vec<Arc<str>>> = const { RefCell::new(Vec::new()) };
}

/// The string, shared with earlier uses of the same text.
pub(crate) fn intern(text: &str) -> Arc<str> {
    STRINGS.with_borrow_mut(|strings| {
        if let Some(known) = strings.iter().find(|known| &***known == text) {
            return Arc::clone(known);
        }
        let made: Arc<str> = text.into();
        if strings.len() < STRINGS_MAX {
            strings.push(Arc::clone(&made));
        }
        made
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_made_once() {
        assert!(Arc::ptr_eq(&intern("request"), &intern("request")));
        assert_eq!(&*intern("{}"), "{}");
    }

    #[test]
    fn many_strings_take_bounded_memory() {
        for n in 0..1_000 {
            assert_eq!(*intern(&n.to_string()), *n.to_string());
        }
        assert!(STRINGS.with_borrow(Vec::len) <= STRINGS_MAX);
    }
}
