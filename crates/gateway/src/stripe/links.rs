//! Links to Stripe's own pages: a checkout for a plan, and the portal.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::stripe::api::{ApiError, Call};
use serde_json::Value;

use super::reconcile::Failed;
use crate::gateway::Gateway;
use crate::ports::{Directory, Platform};

/// What a checkout is for.
pub(crate) struct Checkout<'a> {
    /// The plan's price.
    pub(crate) price: &'a str,
    /// The price that usage is billed by, if it is one of its own.
    pub(crate) metered_price: Option<&'a str>,
    /// Where the browser goes afterwards.
    pub(crate) success_url: &'a str,
    /// Where it goes when the customer changes their mind.
    pub(crate) cancel_url: &'a str,
    /// Makes repeated calls one.
    pub(crate) idempotency_key: &'a str,
}

impl<P: Platform> Gateway<P> {
    /// The organization's customer at Stripe, made if there is none. Two that come at once get the
    /// same one, by the idempotency key; `audit` tells of it.
    pub(crate) async fn ensure_customer(
        &self,
        organization: &Organization,
        audit: impl FnOnce(&str) -> AuditRecord,
    ) -> Result<String, Failed> {
        if let Some(customer) = &organization.stripe_customer_id {
            return Ok(customer.clone());
        }
        let id = organization.id;
        let call = Call::post("/v1/customers", format!("driftlock-customer-{id}"))
            .field("name", &*organization.name)
            .field("metadata[organization]", id.to_string());
        let customer = member(&self.stripe(&call).await?, "id")?;
        let patch = OrganizationPatch {
            stripe_customer_id: Some(Some(customer.clone())),
            ..OrganizationPatch::default()
        };
        self.directory.patch_organization(id, patch, audit(&customer)).await?;
        self.shared.organizations.invalidate(&id);
        Ok(customer)
    }

    /// A Checkout Session of mode `subscription`: its id and URL.
    pub(crate) async fn checkout(
        &self,
        organization: &Organization,
        customer: &str,
        checkout: &Checkout<'_>,
    ) -> Result<(String, String), Failed> {
        let id = organization.id.to_string();
        let call = Call::post("/v1/checkout/sessions", checkout.idempotency_key)
            .field("mode", "subscription")
            .field("customer", customer)
            .field("client_reference_id", &*id)
            .field("line_items[0][price]", checkout.price)
            .field("line_items[0][quantity]", "1")
            .maybe("line_items[1][price]", checkout.metered_price)
            .field("subscription_data[metadata][organization]", &*id)
            .field("success_url", checkout.success_url)
            .field("cancel_url", checkout.cancel_url);
        let session = self.stripe(&call).await?;
        Ok((member(&session, "id")?, member(&session, "url")?))
    }

    /// A Customer Portal session's URL.
    pub(crate) async fn portal(
        &self,
        customer: &str,
        return_url: &str,
        idempotency_key: &str,
    ) -> Result<String, Failed> {
        let call = Call::post("/v1/billing_portal/sessions", idempotency_key)
            .field("customer", customer)
            .field("return_url", return_url);
        Ok(member(&self.stripe(&call).await?, "url")?)
    }
}

fn member(object: &Value, name: &str) -> Result<String, ApiError> {
    let found = object[name].as_str().map(str::to_owned);
    found.ok_or_else(|| ApiError::Unreadable(format!("an object without `{name}`")))
}
