//! What Stripe is told of usage, and what its answers mean.
//!
//! A bucket is *sealed* once nothing can be added to it; from then on its identifier, value and
//! time never change, so that sending it again is sending the same. Stripe keeps identifiers for
//! only 24 h: until then a repetition is answered with "already exists", which means delivered;
//! later it would count twice, so the row is compared with Stripe's own sums instead. What is
//! left to the hosts: the outbox, the clock, the calls (one at a time per customer and meter).

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
