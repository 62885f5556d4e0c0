//! Log lines on the runtime's console, with secrets masked and floods counted, as natively.

use std::cell::RefCell;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use driftlock_domain::log_limit::{LogLimiter, Verdict};
use driftlock_domain::mask::masked;
use driftlock_domain::time::Timestamp;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes one line for each event: level, message, then the fields.
pub(crate) struct Console;

thread_local! {
    static SECRETS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static LIMITER: RefCell<LogLimiter> = RefCell::default();
}

/// Masks this secret in all further lines.
pub(crate) fn mask(secret: &str) {
    if !secret.is_empty() {
        SECRETS.with_borrow_mut(|secrets| secrets.push(secret.to_owned()));
    }
}

/// The text without secrets.
fn without_secrets(text: &str) -> String {
    SECRETS.with_borrow(|secrets| masked(text, secrets).into_owned())
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
    code: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "code" {
            value.clone_into(&mut self.code);
        }
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
}

impl Subscriber for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut kind = DefaultHasher::new();
        (event.metadata().callsite(), &line.code).hash(&mut kind);
        let now = Timestamp::from_micros(micros());
        let (verdict, suppressed) = LIMITER.with_borrow_mut(|limiter| {
            let verdict = limiter.admit(kind.finish(), now, || line.message.clone());
            (verdict, limiter.take_suppressed(now))
        });
        // There are no background timers here, so the next line of any kind reports suppressed
        // ones.
        for others in suppressed {
            let text = format!(
                "WARN suppressed log lines of one kind lines={} message={:?}",
                others.lines, others.message
            );
            web_sys::console::warn_1(&without_secrets(&text).into());
        }
        if verdict == Verdict::Suppress {
            return;
        }
        let level = *event.metadata().level();
        let text = format!("{level} {}{}", line.message, line.fields);
        let text = without_secrets(&text).into();
        match level {
            Level::ERROR => web_sys::console::error_1(&text),
            Level::WARN => web_sys::console::warn_1(&text),
            _ => web_sys::console::log_1(&text),
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit")]
fn micros() -> i64 {
    (js_sys::Date::now() * 1_000.0) as i64
}
