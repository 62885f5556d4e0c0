//! The error when an organization gets a Stripe customer that another organization has.

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::organization::Organization;

use super::super::call::{AdminCall, Failure};
use crate::ports::{EventInbox, Platform};

/// Converts the fault of writing an organization. If the customer belongs to another organization,
/// the error names that organization.
pub(super) async fn taken<P: Platform>(
    call: &AdminCall<'_, P>,
    wanted: &Organization,
    fault: Fault,
) -> Failure {
    let Some(customer) = wanted.stripe_customer_id.as_deref() else { return fault.into() };
    if fault.kind != FaultKind::Conflict {
        return fault.into();
    }
    let file = match call.gateway.inbox.customer(customer).await {
        Ok(file) => file,
        Err(fault) => return fault.into(),
    };
    match file.organization.filter(|owner| *owner != wanted.id) {
        Some(owner) => Failure::conflict(format!(
            "`stripe_customer_id`: {customer} is the customer of organization {owner}; remove it \
             there first."
        )),
        None => fault.into(),
    }
}
