//! Usage reports and alerts in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::{Period, PeriodId};
use driftlock_domain::stripe::meter::{
    Attempts, Bucket, CORRECTION_HOUR, Next, PeriodSums, Report, ReportState, ReportTotals,
    Reported, SealRule, is_due,
};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::BUCKET_SECS;

use super::{MemoryStore, State};
use crate::ports::{Alerts, Page, ReportPage, UsageReports};

const TAKEN_FOR: Duration = Duration::from_secs(120);
const COMPARED_EVERY: Duration = Duration::from_secs(3_600);

/// An hour of a period.
type Place = (OrganizationId, PeriodId, Timestamp);

/// Usage reports and alerts.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    reports: BTreeMap<String, Kept>,
    alerts: HashMap<(OrganizationId, AlertKind, String), Alert>,
}

#[derive(Debug)]
struct Kept {
    report: Report,
    place: Place,
    due_at: Timestamp,
    /// Until when a caller has taken the report.
    taken_until: Timestamp,
}

impl Outbox {
    /// Whether any usage of an hour is sealed.
    pub(super) fn is_sealed(
        &self,
        organization: OrganizationId,
        period: PeriodId,
        at: Timestamp,
    ) -> bool {
        let place = (organization, period, at.floor_to(BUCKET_SECS));
        self.reports.values().any(|kept| kept.place == place)
    }

    pub(super) fn raise(&mut self, alert: Alert) {
        let name = (alert.organization, alert.kind, alert.subject.clone());
        self.alerts.entry(name).or_insert(alert);
    }

    fn at(&self, place: Place) -> impl Iterator<Item = &Report> {
        self.reports.values().filter(move |kept| kept.place == place).map(|kept| &kept.report)
    }

    /// Sums over the reports of a period.
    fn totals(&self, organization: OrganizationId, period: PeriodId) -> ReportTotals {
        let own = |kept: &&Kept| (kept.place.0, kept.place.1) == (organization, period);
        let mut totals = ReportTotals::default();
        for kept in self.reports.values().filter(own) {
            totals.units += kept.report.units;
            if kept.report.state != ReportState::Dead {
                totals.value += kept.report.sealed.value;
            }
            totals.corrections += u32::from(kept.place.2 == Timestamp::from_secs(CORRECTION_HOUR));
        }
        totals
    }

    fn enter(&mut self, report: Report, place: Place, now: Timestamp) {
        let name = report.sealed.identifier.clone();
        let kept = Kept { report, place, due_at: now, taken_until: Timestamp::default() };
        self.reports.insert(name, kept);
    }

    fn sum(&self, organization: OrganizationId, period: PeriodId) -> Reported {
        let own = |kept: &&Kept| (kept.place.0, kept.place.1) == (organization, period);
        let mut sum = Reported::default();
        for kept in self.reports.values().filter(own) {
            sum.units += kept.report.units;
            sum.value += kept.report.sealed.value;
        }
        sum
    }
}

impl UsageReports for MemoryStore {
    async fn reporting(
        &self,
        now: Timestamp,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault> {
        let state = self.state();
        let customers = state.organizations.values().filter(|found| {
            let is_billed = found.stripe_customer_id.is_some()
                && (found.purchases.is_some() || found.contract.is_some());
            is_billed && page.after.is_none_or(|after| found.id > after)
        });
        let due = |id: &OrganizationId| {
            let waits = |kept: &Kept| kept.place.0 == *id && kept.is_due(now);
            state.outbox.reports.values().any(waits) || !state.open_buckets(*id, now).is_empty()
        };
        let ids = customers.map(|found| found.id).filter(due);
        Ok(ids.take(page.limit).collect())
    }

    async fn seal(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        let mut state = self.state();
        let open = state.open_buckets(organization, now);
        for (place, bucket) in &open {
            let report = Report::of(bucket, rule, state.outbox.sum(organization, place.1), now);
            state.outbox.enter(report, *place, now);
        }
        let corrected = rule.corrected(now);
        let in_force = state.periods_of(organization).find(|(_, is)| Some(*is) == corrected);
        let correction = in_force.and_then(|(id, _)| {
            let totals = state.outbox.totals(organization, id);
            Some((id, Report::correction(organization, rule, totals, now)?))
        });
        let sealed = open.len() + usize::from(correction.is_some());
        if let Some((id, report)) = correction {
            let place = (organization, id, Timestamp::from_secs(CORRECTION_HOUR));
            state.outbox.enter(report, place, now);
        }
        Ok(sealed as u64)
    }

    async fn take_report(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Report>, Fault> {
        let mut state = self.state();
        let mut own = state.outbox.reports.values().filter(|kept| kept.place.0 == organization);
        if own.any(|kept| kept.taken_until > now) {
            return Ok(None);
        }
        let waits = |kept: &&mut Kept| kept.place.0 == organization && kept.is_due(now);
        let waiting = state.outbox.reports.values_mut().filter(waits);
        let Some(kept) = waiting.min_by_key(|kept| kept.due_at) else { return Ok(None) };
        kept.due_at = now.plus(TAKEN_FOR);
        kept.taken_until = kept.due_at;
        if kept.report.state == ReportState::Pending {
            kept.report = kept.report.clone().attempted(now);
        }
        Ok(Some(kept.report.clone()))
    }

    async fn answer_report(
        &self,
        _organization: OrganizationId,
        identifier: &str,
        next: Next,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let mut state = self.state();
        let Some(kept) = state.outbox.reports.get_mut(identifier) else { return Ok(()) };
        let (state, due_at, error) = match next {
            Next::Done => (ReportState::Done, now, None),
            Next::RetryAt(at) => (ReportState::Pending, at, None),
            Next::Reconcile => (ReportState::Reconcile, now, None),
            Next::Unclear { message } => {
                (ReportState::Reconcile, now.plus(COMPARED_EVERY), Some(message))
            }
            Next::Resend => {
                kept.report.attempts = Attempts::default();
                (ReportState::Pending, now, None)
            }
            Next::DeadLetter { message, .. } => (ReportState::Dead, now, Some(message)),
        };
        kept.report.done_at = (state == ReportState::Done).then_some(now);
        kept.taken_until = Timestamp::default();
        (kept.report.state, kept.due_at, kept.report.error) = (state, due_at, error);
        Ok(())
    }

    async fn reports(
        &self,
        organization: OrganizationId,
        window: Period,
    ) -> Result<Vec<Report>, Fault> {
        let state = self.state();
        let own = |report: &&Report| {
            report.organization == organization && window.contains(report.sealed.timestamp)
        };
        let reports = state.outbox.reports.values().map(|kept| &kept.report);
        Ok(reports.filter(own).cloned().collect())
    }

    async fn reports_in(
        &self,
        state: Option<ReportState>,
        page: Page<String>,
    ) -> Result<ReportPage, Fault> {
        let store = self.state();
        let after = page.after.unwrap_or_default();
        let later =
            store.outbox.reports.range::<str, _>((Bound::Excluded(&*after), Bound::Unbounded));
        let wanted = |report: &&Report| state.is_none_or(|state| report.state == state);
        let rows = later.map(|(_, kept)| &kept.report).filter(wanted);
        Ok(ReportPage::cut(rows.take(page.limit + 1).cloned().collect(), page.limit))
    }

    async fn report(
        &self,
        organization: OrganizationId,
        identifier: &str,
    ) -> Result<Option<Report>, Fault> {
        let state = self.state();
        let found = state.outbox.reports.get(identifier).map(|kept| kept.report.clone());
        Ok(found.filter(|report| report.organization == organization))
    }

    async fn revive_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        audit: AuditRecord,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let mut state = self.state();
        let found = state.outbox.reports.get_mut(identifier);
        let dead = |kept: &&mut Kept| {
            kept.report.organization == organization && kept.report.state == ReportState::Dead
        };
        let Some(kept) = found.filter(dead) else { return Ok(false) };
        (kept.report.state, kept.report.error, kept.due_at) = (ReportState::Pending, None, now);
        state.append(organization, audit);
        Ok(true)
    }

    async fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault> {
        let state = self.state();
        let mut sums: Vec<PeriodSums> = Vec::new();
        for (id, period) in state.periods_of(organization) {
            let settled = state.counted(organization, id).map(|at| u64::from(at.units)).sum();
            let sealed = state.outbox.sum(organization, id).units;
            let own = state.outbox.reports.values();
            let own = own.filter(|kept| (kept.place.0, kept.place.1) == (organization, id));
            let values = |states: &[ReportState]| {
                let of = own.clone().filter(|kept| states.contains(&kept.report.state));
                of.map(|kept| kept.report.sealed.value).sum()
            };
            sums.push(PeriodSums {
                period,
                settled,
                sealed,
                open: u64::saturating_sub(settled, sealed),
                acknowledged: values(&[ReportState::Done]),
                outstanding: values(&[ReportState::Pending, ReportState::Reconcile]),
                dead: values(&[ReportState::Dead]),
            });
        }
        sums.sort_by_key(|sums| std::cmp::Reverse(sums.period.start));
        sums.truncate(limit);
        Ok(sums)
    }
}

impl Alerts for MemoryStore {
    async fn raise(&self, alert: Alert) -> Result<(), Fault> {
        self.state().outbox.raise(alert);
        Ok(())
    }

    async fn alerts(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<Alert>, Fault> {
        let state = self.state();
        let own = state.outbox.alerts.values().filter(|alert| alert.organization == organization);
        let mut own: Vec<Alert> = own.cloned().collect();
        own.sort_by(|a, b| {
            let place = |alert: &Alert| (alert.kind.as_str(), alert.subject.clone());
            b.at.cmp(&a.at).then_with(|| place(a).cmp(&place(b)))
        });
        own.truncate(limit);
        Ok(own)
    }
}

impl Kept {
    fn is_due(&self, now: Timestamp) -> bool {
        let waits = matches!(self.report.state, ReportState::Pending | ReportState::Reconcile);
        waits && self.due_at <= now
    }
}

impl State {
    /// Usage that is settled and not sealed, by hour, of hours that are complete.
    fn open_buckets(&self, organization: OrganizationId, now: Timestamp) -> Vec<(Place, Bucket)> {
        let mut open = Vec::new();
        for (id, mut period) in self.periods_of(organization) {
            let later = self.periods_of(organization).filter(|(other, _)| *other > id);
            let starts = later.map(|(_, later)| later.start);
            let within = starts.filter(|start| *start > period.start && *start < period.end);
            period.end = within.min().unwrap_or(period.end);
            let mut hours: BTreeMap<Timestamp, u64> = BTreeMap::new();
            for receipt in self.counted(organization, id) {
                *hours.entry(receipt.at.floor_to(BUCKET_SECS)).or_default() +=
                    u64::from(receipt.units);
            }
            for (hour, settled) in hours.into_iter().filter(|(hour, _)| is_due(*hour, period, now))
            {
                let place = (organization, id, hour);
                let sealed: u64 = self.outbox.at(place).map(|report| report.units).sum();
                let part = u32::try_from(self.outbox.at(place).count()).unwrap_or(u32::MAX);
                let units = settled.saturating_sub(sealed);
                if units > 0 {
                    open.push((place, Bucket { organization, period, hour, part, units }));
                }
            }
        }
        open.sort_by_key(|(place, _)| (place.2, place.1));
        open
    }

    fn periods_of(
        &self,
        organization: OrganizationId,
    ) -> impl Iterator<Item = (PeriodId, Period)> + use<'_> {
        let numbered = (1..).map(PeriodId).zip(&self.periods);
        let own = numbered.filter(move |(_, (of, _))| *of == organization);
        own.map(|(id, (_, period))| (id, *period))
    }
}
