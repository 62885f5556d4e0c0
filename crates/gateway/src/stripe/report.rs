//! Reports usage to Stripe: seals hourly buckets and sends the reports one at a time per customer.
//! A report of unknown outcome is compared with Stripe's own sums before it is sent again (I7).

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::{Decision, Source, decide};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::Organization;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::stripe::meter::{
    Attempts, Found, MeterEvent, Next, Report, ReportMode, ReportState, SUMMARY_LAG, SealRule,
    Step, reconcile, summary_window,
};
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use crate::gateway::Gateway;
use crate::ports::{Alerts, Clock, Directory, Page, Platform, UsageReports};

/// Organizations of one page.
const ORGANIZATIONS_MAX: usize = 500;
/// Customers whose usage is reported at once; reports of one customer are sent serially.
const CUSTOMERS_AT_ONCE: usize = 8;
/// The most reports of one organization in one run of the job.
pub(crate) const REPORTS_MAX: usize = 1_000;

impl<P: Platform> Gateway<P> {
    /// Seals complete buckets and sends the reports that are due.
    pub async fn report_usage(&self) {
        if !self.has_stripe() {
            return;
        }
        let mut after = None;
        loop {
            let page = Page { after, limit: ORGANIZATIONS_MAX };
            let due = match self.reports.reporting(self.clock.now(), page).await {
                Ok(due) => due,
                Err(fault) => {
                    let error = fault.cause;
                    tracing::error!(error, "could not list usage to report; will retry");
                    return;
                }
            };
            after = due.last().copied();
            let is_last = due.len() < ORGANIZATIONS_MAX;
            let work = stream::iter(due).map(|id| self.report_organization(id, REPORTS_MAX));
            work.buffer_unordered(CUSTOMERS_AT_ONCE).for_each(|_reports| async {}).await;
            if is_last {
                return;
            }
        }
    }

    /// Like [`Self::report_usage`], for at most `customers` customers after `after` and at most
    /// `reports` reports in all. Returns the last customer that was processed, or `None` after the
    /// last page. A host that bounds each run passes the result to the next run.
    ///
    /// # Errors
    /// The customers cannot be listed.
    pub async fn report_portion(
        &self,
        after: Option<OrganizationId>,
        customers: usize,
        reports: usize,
    ) -> Result<Option<OrganizationId>, Fault> {
        if !self.has_stripe() {
            return Ok(None);
        }
        let page = Page { after, limit: customers };
        let due = self.reports.reporting(self.clock.now(), page).await?;
        let is_full = due.len() == customers;
        let (mut left, mut last) = (reports, after);
        for id in due {
            if left == 0 {
                return Ok(last);
            }
            left -= self.report_organization(id, left).await.min(left);
            last = Some(id);
        }
        Ok(last.filter(|_| is_full))
    }

    /// Sends an organization's due reports; returns how many were attempted.
    pub(crate) async fn report_organization(
        &self,
        id: OrganizationId,
        reports_max: usize,
    ) -> usize {
        self.try_report(id, reports_max).await.unwrap_or_else(|fault| {
            let error = fault.cause;
            tracing::error!(organization = %id, error, "could not report usage; will retry");
            0
        })
    }

    async fn try_report(&self, id: OrganizationId, reports_max: usize) -> Result<usize, Fault> {
        let Some(organization) = self.directory.organization(id).await? else { return Ok(0) };
        let Some(customer) = organization.stripe_customer_id.clone() else { return Ok(0) };
        // Seal nothing before the subscription is known: its service may have begun already.
        let Some(service) = organization.service() else { return Ok(0) };
        let Some(rule) = self.seal_rule(&organization, service) else {
            tracing::error!(organization = %id, "could not report usage: plan is not configured");
            return Ok(0);
        };
        // A sealed hour never grows, so seal nothing by a clock that may be ahead.
        if self.clock.status().is_confirmed {
            self.reports.seal(id, rule, self.clock.agreed()).await?;
        }
        let mut attempted = 0;
        while attempted < reports_max {
            let taken = self.reports.take_report(id, self.clock.now()).await?;
            let Some(report) = taken else { break };
            attempted += 1;
            if report.sealed.value < 0 {
                self.note_correction(&organization, rule, &report).await?;
            }
            let next = match report.state {
                ReportState::Reconcile => self.compare(id, &customer, &report).await?,
                _ => self.send(&customer, &report).await,
            };
            let waits = matches!(next, Next::RetryAt(_));
            self.alert_if_needed(&report, &next).await?;
            let now = self.clock.now();
            self.reports.answer_report(id, &report.sealed.identifier, next, now).await?;
            if waits {
                // Stripe fails or limits our rate: this customer's other reports wait, too.
                break;
            }
        }
        Ok(attempted)
    }

    /// The rule for sealing an organization's buckets; `None` while its plan is not configured.
    fn seal_rule(&self, organization: &Organization, service: Period) -> Option<SealRule> {
        let config = &self.shared.config;
        let decision = decide(organization, config, self.clock.agreed());
        let included = decision.quota(organization, config.plan(decision.plan)?).included;
        let in_force = is_live(&decision).then_some(decision.period);
        Some(SealRule { mode: config.stripe.report_usage, included, service, in_force })
    }

    /// Seals complete buckets and enters a correction if too much overage was reported.
    pub(crate) async fn seal_usage(&self, organization: &Organization) -> Result<(), Fault> {
        let rule = organization.service().and_then(|service| self.seal_rule(organization, service));
        let Some(rule) = rule.filter(|_| self.has_stripe()) else { return Ok(()) };
        self.reports.seal(organization.id, rule, self.clock.agreed()).await.map(drop)
    }

    /// Raises the alert of a correction, before the correction is sent.
    async fn note_correction(
        &self,
        organization: &Organization,
        rule: SealRule,
        report: &Report,
    ) -> Result<(), Fault> {
        let config = &self.shared.config;
        let decision = decide(organization, config, self.clock.agreed());
        let plan = config.plan(decision.plan);
        let quota = plan.map(|plan| decision.quota(organization, plan));
        let units = report.sealed.value.unsigned_abs();
        let price_micros = quota.and_then(|quota| quota.overage_micros);
        let (identifier, id) = (&report.sealed.identifier, organization.id);
        tracing::warn!(
            organization = %id, identifier, units,
            "reported overage exceeds the overage due; reporting a negative quantity"
        );
        let details = json!({
            "units": units,
            "included": rule.included,
            "period": rule.in_force,
            "price_micros": price_micros,
            "amount_micros": price_micros.map(|price| units.saturating_mul(price)),
            "message": "More overage was reported than is due since more units are included; \
                        a meter event of negative quantity takes it back.",
        });
        let (kind, subject) = (AlertKind::OverageOverreported, identifier.clone());
        let at = self.clock.now();
        self.alerts.raise(Alert { organization: id, kind, subject, at, details }).await
    }

    async fn send(&self, customer: &str, report: &Report) -> Next {
        let event_name = &self.shared.config.stripe.meter_event_name;
        let event = MeterEvent { event_name, customer, sealed: &report.sealed };
        // Each attempt has another idempotency key, also after a lost answer: Stripe recognizes a
        // repetition by the event's identifier. When the attempts start over, `first_at` differs.
        let Attempts { count, first_at } = report.attempts;
        let scope = format!("attempt {count} since {}", first_at.unwrap_or_default().micros());
        let call = Call::post("/v1/billing/meter_events").scoped(scope);
        let call =
            event.form().into_iter().fold(call, |call, (name, value)| call.field(name, value));
        let outcome = self.send_report(&call).await;
        report.attempts.next(outcome, self.clock.now(), self.random())
    }

    /// Finds out by Stripe's sums whether Stripe has a report of unknown outcome.
    async fn compare(
        &self,
        id: OrganizationId,
        customer: &str,
        report: &Report,
    ) -> Result<Next, Fault> {
        let window = summary_window(&report.sealed);
        let sum = match self.meter_sum(customer, window).await {
            Ok(sum) => sum,
            Err(error) => return Ok(Next::Unclear { message: error.to_string() }),
        };
        let all = self.reports.reports(id, window).await?;
        let now = self.clock.now();
        let confirmed = |other: &&Report| other.state == ReportState::Done && !other.is_recent(now);
        let acknowledged = all.iter().filter(confirmed).map(|other| other.sealed.value).sum();
        // A report that was acknowledged just now may be missing in the sum, like one of unknown
        // outcome.
        let open = |other: &&Report| match other.state {
            ReportState::Reconcile => true,
            ReportState::Pending => other.attempts.count > 0,
            ReportState::Done => other.is_recent(now),
            ReportState::Dead => false,
        };
        let uncertain: Vec<&Report> = all.iter().filter(open).collect();
        let values: Vec<i64> = uncertain.iter().map(|other| other.sealed.value).collect();
        let own = uncertain.iter().position(|o| o.sealed.identifier == report.sealed.identifier);
        let found = reconcile(acknowledged, &values, sum);
        Ok(match own.and_then(|at| found.get(at)) {
            Some(Found::Delivered) | None => Next::Done,
            // While Stripe would recognize a repetition, the first attempt's time stays in force.
            Some(Found::Missing) => match report.attempts.step(self.clock.now()) {
                Step::Send => Next::RetryAt(self.clock.now()),
                Step::Reconcile => Next::Resend,
            },
            Some(Found::Unclear) if all.iter().any(|other| other.is_recent(now)) => {
                Next::RetryAt(now.plus(SUMMARY_LAG))
            }
            Some(Found::Unclear) => Next::Unclear {
                message: format!(
                    "Stripe's sum of the hour is {sum}, acknowledged reports are {acknowledged}, \
                     reports of unknown outcome are {values:?}: the sum does not show which of \
                     these Stripe has"
                ),
            },
        })
    }

    /// Stripe's own sum of a customer's usage over a window of whole minutes.
    pub(super) async fn meter_sum(&self, customer: &str, window: Period) -> Result<i64, ApiError> {
        let meter = self.meter().await?;
        let call = Call::get(format!("/v1/billing/meters/{meter}/event_summaries"))
            .field("customer", customer)
            .field("start_time", window.start.secs().to_string())
            .field("end_time", window.end.secs().to_string());
        let rows = self.stripe_list(&call).await?;
        let mut sum = 0_i64;
        for row in rows {
            let value = &row["aggregated_value"];
            let units = value.as_i64().or_else(|| whole(value.as_f64()?));
            let unreadable = || ApiError::Unreadable(format!("a sum of {value}"));
            sum = sum.saturating_add(units.ok_or_else(unreadable)?);
        }
        Ok(sum)
    }

    /// Raises an alert if a report is dead or its outcome is unclear.
    async fn alert_if_needed(&self, report: &Report, next: &Next) -> Result<(), Fault> {
        let (kind, message) = match next {
            Next::DeadLetter { message, .. } => (AlertKind::MeterError, message),
            Next::Unclear { message } => (AlertKind::UsageDrift, message),
            _ => return Ok(()),
        };
        let identifier = &report.sealed.identifier;
        tracing::error!(identifier, message, "meter report failed or unclear");
        let details = json!({ "message": message, "units": report.sealed.value });
        let alert = Alert {
            organization: report.organization,
            kind,
            subject: identifier.clone(),
            at: self.clock.now(),
            details,
        };
        self.alerts.raise(alert).await
    }

    /// Whether the organization's own `quota.included` conflicts with `report_usage = "total"`, in
    /// which the included units are a tier of Stripe's price.
    pub(super) fn own_included(&self, organization: &Organization) -> bool {
        let total = self.shared.config.stripe.report_usage == ReportMode::Total;
        total && organization.quota.included.is_some()
    }
}

/// Stripe may write a sum as a number with a fraction; units are whole.
fn whole(value: f64) -> Option<i64> {
    let exact = value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is a whole number in range")]
    exact.then_some(value as i64)
}

/// Whether a live subscription or contract decides, and not the own plan.
fn is_live(decision: &Decision<'_>) -> bool {
    let shown = decision.shown.as_ref();
    decision.source != Source::OwnPlan && shown.is_some_and(|shown| shown.status.is_live())
}
