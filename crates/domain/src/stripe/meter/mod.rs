//! Meter reports: which usage is reported to Stripe, and what Stripe's answers mean.
//!
//! A bucket is *sealed* once nothing can be added to it. From then on its identifier, value and
//! time never change, so that each repetition sends the same. Stripe keeps identifiers for only 24
//! h. Within that time it answers a repetition with "already exists", which means delivered. Later
//! a repetition would count twice, so the report is compared with Stripe's own sums instead. The
//! hosts provide the outbox, the clock and the calls (one at a time per customer and meter).

mod correction;
mod delivery;
mod event;
mod outcome;
mod reconcile;
mod report;
mod seal;

pub use correction::{CORRECTION_HOUR, ReportTotals};
pub use delivery::{Attempts, Next, Step, backoff};
pub use event::{MeterEvent, Untimely, timestamp};
pub use outcome::{Answer, Outcome};
pub use reconcile::{
    Found, SUMMARY_LAG, UNCERTAIN_MAX, drift, reconcile, settled_part, summary_window,
};
pub use report::{PeriodSums, Report, ReportState, SealRule, UnknownState};
pub use seal::{
    Bucket, ReportMode, Reported, Sealed, identifiers_end, is_due, organization_of, seal,
};
