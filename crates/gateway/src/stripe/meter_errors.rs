//! Alerts for usage that Stripe accepted and found invalid later. Stripe's event is thin: with a
//! secret key the details are fetched; without one the alert has only what the event says.
//! <https://docs.stripe.com/api/v2/core/events/event-types>

use std::time::Duration;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::stripe::event::Event;
use driftlock_domain::stripe::meter::organization_of;
use driftlock_domain::stripe::object::{MeterError, MeterErrorReport, Subject};
use serde_json::{Value, json};

use super::reconcile::Failed;
use crate::gateway::Gateway;
use crate::ports::{Alerts, Clock, Directory, Page, Platform, UsageReports};

/// A report carries its hour's end as time and is sent soon after. So a report that Stripe
/// validated in a window has a time at most this long before the window, unless it was sent late.
const REPORTED_WITHIN: Duration = Duration::from_secs(2 * 3_600);
const ORGANIZATIONS_MAX: usize = 500;

impl<P: Platform> Gateway<P> {
    /// Raises an alert for each meter event that Stripe names. If Stripe names none, raises one for
    /// every organization that may be meant. A repeated event raises no second alert.
    pub(super) async fn alert_meter_errors(&self, event: &Event) -> Result<(), Failed> {
        let Subject::MeterErrors(delivered) = event.subject() else { return Ok(()) };
        let report = if delivered.has_details() {
            delivered
        } else {
            self.with_details(event, delivered).await?
        };
        tracing::error!(
            event = event.id,
            meter = report.meter,
            summary = report.summary,
            "Stripe found accepted usage invalid"
        );
        for error in &report.errors {
            for identifier in &error.identifiers {
                let Some(organization) = organization_of(identifier) else { continue };
                let details = json!({ "code": error.code, "message": error.message });
                self.meter_alert(organization, identifier.clone(), details).await?;
            }
        }
        let unnamed: Vec<&MeterError> =
            report.errors.iter().filter(|error| !names_ours(error)).collect();
        if report.errors.is_empty() || !unnamed.is_empty() {
            self.alert_organizations_in_window(event, &report, &unnamed).await?;
        }
        Ok(())
    }

    /// The report with the details that Stripe has; as it was delivered if they cannot be fetched.
    async fn with_details(
        &self,
        event: &Event,
        delivered: MeterErrorReport,
    ) -> Result<MeterErrorReport, ApiError> {
        if !self.has_stripe() {
            return Ok(delivered);
        }
        match self.stripe(&Call::get(format!("/v2/core/events/{}", event.id))).await {
            Ok(object) => match Event::from_value(object).map(|event| event.subject()) {
                Ok(Subject::MeterErrors(report)) => Ok(report),
                Ok(_) | Err(_) => Ok(delivered),
            },
            Err(error @ (ApiError::Unanswered(_) | ApiError::Transient { .. })) => Err(error),
            Err(error) => {
                tracing::error!(event = event.id, %error, "could not fetch meter error details");
                Ok(delivered)
            }
        }
    }

    /// Alerts every organization that reported usage in the window. Called when Stripe names no
    /// identifier of ours.
    async fn alert_organizations_in_window(
        &self,
        event: &Event,
        report: &MeterErrorReport,
        unnamed: &[&MeterError],
    ) -> Result<(), Fault> {
        let end = report.validation_end.unwrap_or(event.created);
        let start = report.validation_start.unwrap_or(event.created).minus(REPORTED_WITHIN);
        let window = Period { start, end: end.plus(REPORTED_WITHIN) };
        let codes: Vec<&str> = unnamed.iter().map(|error| &*error.code).collect();
        let messages = unnamed.iter().find_map(|error| error.message.as_deref());
        let details = json!({
            "codes": codes,
            "message": messages.or(report.summary.as_deref()).unwrap_or(
                "Stripe found meter events invalid and names none; its Dashboard shows which"
            ),
            "meter": report.meter,
            "error_count": report.error_count,
        });
        let mut after = None;
        loop {
            let page = Page { after, limit: ORGANIZATIONS_MAX };
            let organizations = self.directory.organizations(page).await?;
            after = organizations.last().map(|organization| organization.id);
            for organization in organizations.iter().filter(|one| one.stripe_customer_id.is_some())
            {
                if !self.reports.reports(organization.id, window).await?.is_empty() {
                    let subject = event.id.clone();
                    self.meter_alert(organization.id, subject, details.clone()).await?;
                }
            }
            if organizations.len() < ORGANIZATIONS_MAX {
                return Ok(());
            }
        }
    }

    async fn meter_alert(
        &self,
        organization: OrganizationId,
        subject: String,
        details: Value,
    ) -> Result<(), Fault> {
        let (kind, at) = (AlertKind::MeterError, self.clock.now());
        self.alerts.raise(Alert { organization, kind, subject, at, details }).await
    }
}

fn names_ours(error: &MeterError) -> bool {
    error.identifiers.iter().any(|identifier| organization_of(identifier).is_some())
}
