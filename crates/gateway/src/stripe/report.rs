//! Telling Stripe of usage: buckets are sealed, sent one at a time per customer, and those of
//! unknown outcome compared with Stripe's own sums (I7).

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::Organization;
use driftlock_domain::period::Period;
use driftlock_domain::quota::Quota;
use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::stripe::meter::{
    Found, MeterEvent, Next, Report, ReportMode, ReportState, SealRule, Step, reconcile,
    summary_window,
};
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use crate::gateway::Gateway;
use crate::ports::{Alerts, Clock, Directory, Entropy, Page, Platform, UsageReports};

/// Organizations of one page.
const ORGANIZATIONS_MAX: usize = 500;
/// Customers that Stripe is told of at once; each of them one report after the other.
const CUSTOMERS_AT_ONCE: usize = 8;
/// Reports of one organization in one round.
const REPORTS_MAX: usize = 1_000;

impl<P: Platform> Gateway<P> {
    /// Seals what has done growing and tells Stripe what is due.
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
                    tracing::error!(cause = fault.cause, "usage is reported later");
                    return;
                }
            };
            after = due.last().copied();
            let is_last = due.len() < ORGANIZATIONS_MAX;
            let told = stream::iter(due).map(|id| self.report_organization(id));
            told.buffer_unordered(CUSTOMERS_AT_ONCE).for_each(|()| async {}).await;
            if is_last {
                return;
            }
        }
    }

    pub(crate) async fn report_organization(&self, id: OrganizationId) {
        if let Err(fault) = self.try_report(id).await {
            tracing::error!(organization = %id, cause = fault.cause, "usage is reported later");
        }
    }

    async fn try_report(&self, id: OrganizationId) -> Result<(), Fault> {
        let Some(organization) = self.directory.organization(id).await? else { return Ok(()) };
        let Some(customer) = organization.stripe_customer_id.clone() else { return Ok(()) };
        let Some(rule) = self.seal_rule(&organization) else {
            tracing::error!(organization = %id, plan = organization.plan, "its plan is not configured");
            return Ok(());
        };
        self.reports.seal(id, rule, self.clock.now()).await?;
        for _ in 0..REPORTS_MAX {
            let taken = self.reports.take_report(id, self.clock.now()).await?;
            let Some(report) = taken else { break };
            let next = match report.state {
                ReportState::Reconcile => self.compare(id, &customer, &report).await?,
                _ => self.tell(&customer, &report).await,
            };
            let waits = matches!(next, Next::RetryAt(_));
            self.note(&report, &next).await?;
            let now = self.clock.now();
            self.reports.answer_report(id, &report.sealed.identifier, next, now).await?;
            if waits {
                // Stripe is not well, or wants less of us: the rest of this customer's waits, too.
                break;
            }
        }
        Ok(())
    }

    /// How an organization's buckets are sealed; `None` while its plan is not configured.
    pub(super) fn seal_rule(&self, organization: &Organization) -> Option<SealRule> {
        let config = &self.shared.config;
        let plan = config.plan(&organization.plan)?;
        let included = Quota::in_force(plan, &organization.quota).included;
        Some(SealRule { mode: config.stripe.report_usage, included })
    }

    async fn tell(&self, customer: &str, report: &Report) -> Next {
        let event_name = &self.shared.config.stripe.meter_event_name;
        let event = MeterEvent { event_name, customer, sealed: &report.sealed };
        // Stripe repeats what it answered to an idempotency key, a failure too: what makes a
        // repetition one is the event's identifier.
        let key = format!("{}-{}", report.sealed.identifier, report.attempts.count);
        let call = Call::post("/v1/billing/meter_events", key);
        let call =
            event.form().into_iter().fold(call, |call, (name, value)| call.field(name, value));
        let outcome = self.tell_stripe(&call).await;
        let mut random = [0; 8];
        self.entropy.fill(&mut random);
        report.attempts.next(outcome, self.clock.now(), u64::from_le_bytes(random))
    }

    /// Whether Stripe has a report of unknown outcome.
    async fn compare(
        &self,
        id: OrganizationId,
        customer: &str,
        report: &Report,
    ) -> Result<Next, Fault> {
        let window = summary_window(&report.sealed);
        let told = match self.meter_sum(customer, window).await {
            Ok(told) => told,
            Err(error) => return Ok(Next::Unclear { message: error.to_string() }),
        };
        let all = self.reports.reports(id, window).await?;
        let acknowledged = all.iter().filter(|other| other.state == ReportState::Done);
        let acknowledged = acknowledged.map(|other| other.sealed.value).sum();
        let open = |other: &&Report| match other.state {
            ReportState::Reconcile => true,
            ReportState::Pending => other.attempts.count > 0,
            ReportState::Done | ReportState::Dead => false,
        };
        let uncertain: Vec<&Report> = all.iter().filter(open).collect();
        let values: Vec<u64> = uncertain.iter().map(|other| other.sealed.value).collect();
        let own = uncertain.iter().position(|o| o.sealed.identifier == report.sealed.identifier);
        let found = reconcile(acknowledged, &values, told);
        Ok(match own.and_then(|at| found.get(at)) {
            Some(Found::Delivered) | None => Next::Done,
            // While Stripe would recognize a repetition, the first attempt's time goes on counting.
            Some(Found::Missing) => match report.attempts.step(self.clock.now()) {
                Step::Send => Next::RetryAt(self.clock.now()),
                Step::Reconcile => Next::Resend,
            },
            Some(Found::Unclear) => Next::Unclear {
                message: format!(
                    "Stripe's sum of the hour is {told}, acknowledged are {acknowledged}, unknown \
                     {values:?}: they do not tell which of them it has"
                ),
            },
        })
    }

    /// Stripe's own sum of a customer's usage over a window of whole minutes.
    pub(super) async fn meter_sum(&self, customer: &str, window: Period) -> Result<u64, ApiError> {
        let meter = self.meter().await?;
        let call = Call::get(format!("/v1/billing/meters/{meter}/event_summaries"))
            .field("customer", customer)
            .field("start_time", window.start.secs().to_string())
            .field("end_time", window.end.secs().to_string());
        let rows = self.stripe_list(&call).await?;
        let mut sum = 0_u64;
        for row in rows {
            let value = &row["aggregated_value"];
            let units = value.as_u64().or_else(|| whole(value.as_f64()?));
            let unreadable = || ApiError::Unreadable(format!("a sum of {value}"));
            sum = sum.saturating_add(units.ok_or_else(unreadable)?);
        }
        Ok(sum)
    }

    /// The id of the meter that usage is told to.
    async fn meter(&self) -> Result<String, ApiError> {
        let name = &self.shared.config.stripe.meter_event_name;
        let meters = self.stripe_list(&Call::get("/v1/billing/meters")).await?;
        let ours = meters.iter().find(|meter| meter["event_name"].as_str() == Some(name));
        let id = ours.and_then(|meter| meter["id"].as_str()).map(str::to_owned);
        id.ok_or_else(|| {
            ApiError::Missing(format!(
                "a billing meter of event_name `{name}` ([stripe] meter_event_name)"
            ))
        })
    }

    /// What people have to be told of a report.
    async fn note(&self, report: &Report, next: &Next) -> Result<(), Fault> {
        let (kind, message) = match next {
            Next::DeadLetter { message, .. } => (AlertKind::MeterError, message),
            Next::Unclear { message } => (AlertKind::UsageDrift, message),
            _ => return Ok(()),
        };
        let identifier = &report.sealed.identifier;
        tracing::error!(identifier, message, "Stripe does not take usage");
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

    /// What of an organization's settings Stripe's price cannot know.
    pub(super) fn own_included(&self, organization: &Organization) -> bool {
        let total = self.shared.config.stripe.report_usage == ReportMode::Total;
        total && organization.quota.included.is_some()
    }
}

/// A sum is told as a number that may have a fraction; units never do.
fn whole(value: f64) -> Option<u64> {
    let exact = value >= 0.0 && value.fract() == 0.0 && value <= 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number in range"
    )]
    exact.then_some(value as u64)
}
