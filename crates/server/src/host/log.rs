//! The log: one line per event on standard error. Secrets are masked, and repeated lines are
//! limited.
//!
//! Lines of one kind (the same place in the code, and the same `code` of a fault) are written a few
//! times per window. At the window's end one line reports how many were suppressed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use driftlock_domain::log_limit::{LogLimiter, Suppressed, Verdict, WINDOW};
use driftlock_domain::mask::masked;
use driftlock_domain::time::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Variables whose values are secrets, or lists of secrets separated by commas.
const SECRET_VARIABLES: [&str; 4] = [
    "ENV_ADMIN_TOKEN",
    "ENV_STRIPE_WEBHOOK_SECRET",
    "ENV_STRIPE_SECRET_KEY",
    "ENV_SUPABASE_SERVICE_ROLE_KEY",
];
/// Variables whose values are URLs with a password in them.
const URL_VARIABLES: [&str; 2] = ["ENV_DATABASE_URL", "ENV_REDIS_URL"];

/// The target of the lines that report how many others were suppressed.
const REPORTS: &str = "driftlock::log";

static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Starts the log. The environment's secrets are masked from the first line on.
pub(crate) fn start() {
    let variable = |name: &&str| std::env::var(name).ok();
    let lists = SECRET_VARIABLES.iter().filter_map(variable);
    for list in lists {
        list.split(',').for_each(|secret| mask(secret.trim()));
    }
    URL_VARIABLES.iter().filter_map(variable).filter_map(password).for_each(|it| mask(&it));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that cannot be written (for example, its disk is full) must not stop the process.
    let lines = tracing_subscriber::fmt::layer().with_writer(Masked).log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(lines.with_filter(Limited::new())).init();
}

/// From now on also masks this secret, in the log and in errors.
pub(crate) fn mask(secret: &str) {
    if !secret.is_empty() {
        SECRETS.write().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }
}

/// A text without secrets, for a person to read.
pub(crate) fn without_secrets(text: &str) -> String {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    masked(text, &secrets).into_owned()
}

/// The password of a URL, without decoding.
fn password(url: String) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (user, _) = rest.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password.to_owned())
}

/// Standard error, without secrets.
#[derive(Clone, Copy)]
struct Masked;

impl Write for Masked {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The formatter writes each line in one call.
        let text = String::from_utf8_lossy(line);
        io::stderr().lock().write_all(without_secrets(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for Masked {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

/// A filter that passes a few lines of each kind.
#[derive(Clone)]
struct Limited(Arc<State>);

struct State {
    started: Instant,
    limiter: Mutex<LogLimiter>,
    /// Whether a thread waits for the end of a window.
    reports: AtomicBool,
}

impl Limited {
    fn new() -> Self {
        let (started, reports) = (Instant::now(), AtomicBool::new(false));
        Self(Arc::new(State { started, limiter: Mutex::default(), reports }))
    }
}

impl<S: Subscriber> Filter<S> for Limited {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let state = &self.0;
        if event.metadata().target() == REPORTS {
            return true;
        }
        let mut parts = Parts::default();
        event.record(&mut parts);
        let mut kind = DefaultHasher::new();
        (event.metadata().callsite(), &parts.code).hash(&mut kind);
        let verdict = state.limiter().admit(kind.finish(), state.now(), || parts.message);
        if verdict == Verdict::Suppress && !state.reports.swap(true, Ordering::AcqRel) {
            report_later(state);
        }
        verdict == Verdict::Write
    }
}

impl State {
    fn limiter(&self) -> MutexGuard<'_, LogLimiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A time that is only used for differences.
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(0).plus(self.started.elapsed())
    }

    /// Logs how many lines were suppressed, with a target that the filter does not limit.
    fn report(&self) {
        let suppressed = self.limiter().take_suppressed(self.now());
        for Suppressed { message, lines } in suppressed {
            tracing::warn!(target: REPORTS, lines, message, "suppressed log lines of one kind");
        }
    }
}

/// Starts a thread that reports when the window is over, because no further line may come. It waits
/// a little longer, so that windows that began in the meantime are over, too.
fn report_later(state: &Arc<State>) {
    let (state, without_thread) = (Arc::clone(state), Arc::clone(state));
    let work = move || {
        std::thread::sleep(WINDOW + Duration::from_millis(100));
        state.reports.store(false, Ordering::Release);
        state.report();
    };
    // Without a thread, suppressed lines are counted until a later one can start a thread.
    if std::thread::Builder::new().name("log".into()).spawn(work).is_err() {
        without_thread.reports.store(false, Ordering::Release);
    }
}

/// The message and the code of an event.
#[derive(Default)]
struct Parts {
    message: String,
    code: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "code" {
            value.clone_into(&mut self.code);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_is_masked() {
        let of = |url: &str| password(url.to_owned());
        assert_eq!(of("postgres://u:hunter2@h/d"), Some("hunter2".to_owned()));
        assert_eq!(of("redis://:p@ss@h:6379"), Some("p@ss".to_owned()));
        assert_eq!(of("sqlite:a.db"), None);
        assert_eq!(of("redis://h:6379"), None);
    }
}
