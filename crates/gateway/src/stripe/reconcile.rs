//! Reconciliation: compares billing states and usage with Stripe, repairs billing states, and
//! raises alerts for usage that differs.

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::Organization;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::stripe::meter::{self, PeriodSums, Report, ReportState};
use driftlock_domain::time::Timestamp;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

use super::billing::Processed;
use crate::gateway::Gateway;
use crate::metrics::Compared;
use crate::ports::{Alerts, Clock, Directory, Page, Platform, UsageReports};

const ORGANIZATIONS_MAX: usize = 500;
/// Billing periods of each organization whose usage is compared.
const PERIODS: usize = 2;
const MINUTE: Duration = Duration::from_secs(60);

/// What a reconciliation found. All amounts are in units.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reconciliation {
    /// Whether nothing is left that an operator must resolve.
    pub(crate) ok: bool,
    /// Organizations with a Stripe customer.
    pub(crate) customers: usize,
    /// Organizations whose billing state differed from Stripe's and was repaired.
    pub(crate) repaired: Vec<Repair>,
    /// Stripe customers with a subscription that are linked to no organization.
    pub(crate) unlinked: BTreeSet<String>,
    /// What could not be compared or repaired, and why.
    pub(crate) problems: Vec<Problem>,
    /// Usage by organization and period.
    pub(crate) usage: Vec<Usage>,
}

impl Reconciliation {
    fn compared(&self) -> Compared {
        let sum = |of: fn(&Usage) -> u64| self.usage.iter().map(of).fold(0, u64::saturating_add);
        Compared {
            drift: sum(|usage| u64::try_from(usage.drift.unsigned_abs()).unwrap_or(u64::MAX)),
            outstanding: sum(|usage| {
                usage.sums.open.saturating_add(usage.sums.outstanding.unsigned_abs())
            }),
            dead: sum(|usage| usage.sums.dead.unsigned_abs()),
            problems: self.problems.len() + self.unlinked.len(),
        }
    }
}

/// A repaired billing state.
#[derive(Debug, Serialize)]
pub(crate) struct Repair {
    organization: OrganizationId,
    customer: String,
    changes: Vec<&'static str>,
}

/// Something that an operator must resolve.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    organization: OrganizationId,
    customer: String,
    problem: String,
}

/// One period's usage, as counted by the gateway and as summed by Stripe.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    organization: OrganizationId,
    #[serde(flatten)]
    sums: PeriodSums,
    /// Stripe's sum.
    stripe: i64,
    /// Stripe's sum minus the reported units; negative when Stripe misses some. Reports without an
    /// outcome, and reports acknowledged within the lag of Stripe's sums, count neither way.
    drift: i128,
}

impl<P: Platform> Gateway<P> {
    /// Reconciles every customer with Stripe and logs the result. Returns whether it completed.
    pub async fn reconcile_and_log(&self) -> bool {
        let reconciled = self.reconcile().await;
        let is_done = reconciled.is_ok();
        match reconciled {
            Ok(found) if found.ok => {
                let (customers, repaired) = (found.customers, found.repaired.len());
                tracing::info!(customers, repaired, "reconciliation with Stripe found no problem");
            }
            Ok(found) => tracing::error!(
                problems = found.problems.len(),
                unlinked = found.unlinked.len(),
                "reconciliation with Stripe found problems; see `driftlock stripe reconcile`"
            ),
            Err(Failed::Api(error)) => {
                tracing::warn!(%error, "reconciliation failed: a call to Stripe failed");
            }
            Err(Failed::Fault(fault)) => {
                tracing::error!(error = fault.cause, "reconciliation failed: the store failed");
            }
        }
        is_done
    }

    /// Compares every customer with Stripe and repairs billing states.
    pub(crate) async fn reconcile(&self) -> Result<Reconciliation, Failed> {
        let (mut found, mut known) = (Reconciliation::default(), BTreeSet::new());
        let mut after = None;
        loop {
            let page = Page { after, limit: ORGANIZATIONS_MAX };
            let organizations = self.directory.organizations(page).await?;
            after = organizations.last().map(|organization| organization.id);
            for organization in &organizations {
                if let Some(customer) = &organization.stripe_customer_id {
                    known.insert(customer.clone());
                    self.reconcile_one(organization, customer, &mut found).await?;
                }
            }
            if organizations.len() < ORGANIZATIONS_MAX {
                break;
            }
        }
        let subscriptions = self.stripe_list(&Call::get("/v1/subscriptions")).await?;
        let customers = subscriptions.iter().filter_map(|found| found["customer"].as_str());
        let unlinked = customers.filter(|customer| !known.contains(*customer));
        found.unlinked = unlinked.map(str::to_owned).collect();
        found.ok = found.problems.is_empty() && found.unlinked.is_empty();
        found.ok &= found.usage.iter().all(Usage::is_settled);
        self.shared.gauges.set(self.clock.now(), found.compared());
        Ok(found)
    }

    async fn reconcile_one(
        &self,
        organization: &Organization,
        customer: &str,
        found: &mut Reconciliation,
    ) -> Result<(), Failed> {
        found.customers += 1;
        let id = organization.id;
        let problem =
            |problem: String| Problem { organization: id, customer: customer.to_owned(), problem };
        match self.process_customer(customer).await {
            Processed::Committed { transitions, problems, .. } => {
                if !transitions.is_empty() {
                    let changes = transitions.iter().map(|change| change.action()).collect();
                    let customer = customer.to_owned();
                    found.repaired.push(Repair { organization: id, customer, changes });
                }
                found.problems.extend(problems.into_iter().map(problem));
            }
            Processed::Waiting(why) => found.problems.push(problem(why)),
        }
        if self.own_included(organization) {
            found.problems.push(problem(
                "it has its own `quota.included`, which Stripe's graduated price does not know: set \
                 [stripe] report_usage = \"overage\""
                    .to_owned(),
            ));
        }
        if let Some(current) = self.directory.organization(id).await? {
            self.seal_usage(&current).await?;
        }
        for sums in self.reports.report_sums(id, PERIODS).await? {
            match self.compare_period(id, customer, sums).await? {
                Ok(usage) => {
                    self.note_drift(&usage).await?;
                    found.usage.push(usage);
                }
                Err(error) => found.problems.push(problem(error.to_string())),
            }
        }
        Ok(())
    }

    /// Compares Stripe's sum with the reports of the same whole minutes, since Stripe sums up whole
    /// minutes. Its sums lag, so units that they miss count only after the lag has passed.
    async fn compare_period(
        &self,
        organization: OrganizationId,
        customer: &str,
        sums: PeriodSums,
    ) -> Result<Result<Usage, ApiError>, Fault> {
        let end = sums.period.end.min(self.clock.now().plus(MINUTE));
        let start: Timestamp = sums.period.start.floor_to(60);
        let window = Period { start, end: end.plus(MINUTE).floor_to(60).max(start.plus(MINUTE)) };
        let compared = async {
            let (stripe, reports) = self.both_sides(organization, customer, window).await?;
            let done = reports.iter().filter(|report| report.state == ReportState::Done);
            let acknowledged: i64 = done.map(|report| report.sealed.value).sum();
            let mut drift = meter::drift(stripe, &reports, self.clock.now());
            if let Some(part) = meter::settled_part(window, self.clock.now())
                && drift == 0
                && stripe != acknowledged
            {
                let (stripe, reports) = self.both_sides(organization, customer, part).await?;
                drift = meter::drift(stripe, &reports, self.clock.now());
            }
            Ok(Usage { organization, sums, stripe, drift })
        };
        match compared.await {
            Ok(usage) => Ok(Ok(usage)),
            Err(Failed::Api(error)) => Ok(Err(error)),
            Err(Failed::Fault(fault)) => Err(fault),
        }
    }

    /// Stripe's sum over a window and our reports of that window. The reports are read after the
    /// sum, so that every report that the sum includes is among them.
    async fn both_sides(
        &self,
        organization: OrganizationId,
        customer: &str,
        window: Period,
    ) -> Result<(i64, Vec<Report>), Failed> {
        let stripe = self.meter_sum(customer, window).await?;
        Ok((stripe, self.reports.reports(organization, window).await?))
    }

    async fn note_drift(&self, usage: &Usage) -> Result<(), Fault> {
        if usage.is_settled() {
            return Ok(());
        }
        tracing::error!(
            organization = %usage.organization,
            drift = %usage.drift,
            dead = usage.sums.dead,
            "usage at Stripe differs from the reported usage"
        );
        let details = json!({
            "period": usage.sums.period,
            "stripe": usage.stripe,
            "drift": usage.drift.to_string(),
            "dead": usage.sums.dead,
        });
        self.alerts
            .raise(Alert {
                organization: usage.organization,
                kind: AlertKind::UsageDrift,
                // A different drift in the same period raises another alert.
                subject: format!(
                    "{}:{}:{}",
                    usage.sums.period.start.secs(),
                    usage.drift,
                    usage.sums.dead
                ),
                at: self.clock.now(),
                details,
            })
            .await
    }
}

impl Usage {
    /// Whether Stripe's sum matches the reports and no report is dead.
    const fn is_settled(&self) -> bool {
        self.sums.dead == 0 && self.drift == 0
    }
}

/// Why work that needs both Stripe and the store failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A call to Stripe failed.
    Api(ApiError),
    /// The store failed.
    Fault(Fault),
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
