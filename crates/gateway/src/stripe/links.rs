//! Links to Stripe's own pages: a checkout for a plan, and the portal.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::stripe::api::{ApiError, Call};
use serde_json::Value;

use super::reconcile::Failed;
use crate::gateway::Gateway;
use crate::ports::{Directory, Platform};

/// What a checkout sells, and to which pages it returns.
pub(crate) struct Checkout<'a> {
    /// The price that buys the plan.
    pub(crate) price: &'a str,
    /// The price that usage is billed by, if it is a separate one.
    pub(crate) metered_price: Option<&'a str>,
    /// The page to return to after the purchase.
    pub(crate) success_url: &'a str,
    /// The page to return to if the customer cancels.
    pub(crate) cancel_url: &'a str,
    /// Distinguishes this checkout from another one with the same parameters.
    pub(crate) scope: &'a str,
}

/// A Checkout Session that was created.
pub(crate) struct Session {
    /// Its id.
    pub(crate) id: String,
    /// Stripe's page to send the browser to.
    pub(crate) url: String,
    /// The customer that it is for.
    pub(crate) customer: String,
}

impl<P: Platform> Gateway<P> {
    /// Creates a Checkout Session of mode `subscription`. If the organization has no customer, or
    /// its customer was deleted at Stripe, a new customer is created; `audit` makes the audit row
    /// of that.
    pub(crate) async fn checkout(
        &self,
        organization: &Organization,
        checkout: &Checkout<'_>,
        audit: impl Fn(&str) -> AuditRecord,
    ) -> Result<Session, Failed> {
        let quantity = self.quantity_of(checkout.price).await?;
        let customer = match &organization.stripe_customer_id {
            Some(customer) => customer.clone(),
            None => self.make_customer(organization, None, &audit).await?,
        };
        let session = self.checkout_of(organization, customer.clone(), checkout, quantity).await;
        if let Err(Failed::Api(ApiError::Missing(_))) = &session
            && self.is_deleted_customer(&customer).await?
        {
            let other = self.make_customer(organization, Some(&customer), &audit).await?;
            return self.checkout_of(organization, other, checkout, quantity).await;
        }
        session
    }

    /// Creates a customer at Stripe and links it. Two calls at once get the same customer, because
    /// their idempotency keys are equal. `after`, a deleted customer, leads to another key.
    async fn make_customer(
        &self,
        organization: &Organization,
        after: Option<&str>,
        audit: impl Fn(&str) -> AuditRecord,
    ) -> Result<String, Failed> {
        let id = organization.id;
        let call = Call::post("/v1/customers")
            .scoped(after.unwrap_or_default())
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

    /// Whether a customer was deleted at Stripe, which still returns deleted customers. A customer
    /// that Stripe does not know at all may belong to another account or mode: then no new one is
    /// made.
    pub(crate) async fn is_deleted_customer(&self, customer: &str) -> Result<bool, ApiError> {
        match self.stripe(&Call::get(format!("/v1/customers/{customer}"))).await {
            Ok(object) => Ok(object["deleted"] == Value::Bool(true)),
            Err(ApiError::Missing(message)) => Err(ApiError::Missing(format!(
                "{message}; if {customer} is of another account or mode than \
                 ENV_STRIPE_SECRET_KEY, set the organization's stripe_customer_id"
            ))),
            Err(error) => Err(error),
        }
    }

    /// The quantity that a checkout states for a price: Stripe requires a quantity for a licensed
    /// price and refuses one for a metered price.
    async fn quantity_of(&self, price: &str) -> Result<Option<&'static str>, ApiError> {
        let object = self.stripe(&Call::get(format!("/v1/prices/{price}"))).await?;
        let is_metered = object["recurring"]["usage_type"] == "metered";
        Ok((!is_metered).then_some("1"))
    }

    async fn checkout_of(
        &self,
        organization: &Organization,
        customer: String,
        checkout: &Checkout<'_>,
        quantity: Option<&'static str>,
    ) -> Result<Session, Failed> {
        let id = organization.id.to_string();
        let call = Call::post("/v1/checkout/sessions")
            .scoped(checkout.scope)
            .field("mode", "subscription")
            .field("customer", &*customer)
            .field("client_reference_id", &*id)
            .field("line_items[0][price]", checkout.price)
            .maybe("line_items[0][quantity]", quantity)
            .maybe("line_items[1][price]", checkout.metered_price)
            .field("subscription_data[metadata][organization]", &*id)
            .field("success_url", checkout.success_url)
            .field("cancel_url", checkout.cancel_url);
        let session = self.stripe(&call).await?;
        Ok(Session { id: member(&session, "id")?, url: member(&session, "url")?, customer })
    }

    /// Creates a Customer Portal session and returns its URL; `scope` distinguishes the sessions.
    pub(crate) async fn portal(
        &self,
        customer: &str,
        return_url: &str,
        scope: &str,
    ) -> Result<String, ApiError> {
        let call = Call::post("/v1/billing_portal/sessions")
            .scoped(scope)
            .field("customer", customer)
            .field("return_url", return_url);
        member(&self.stripe(&call).await?, "url")
    }
}

fn member(object: &Value, name: &str) -> Result<String, ApiError> {
    let found = object[name].as_str().map(str::to_owned);
    found.ok_or_else(|| ApiError::Unreadable(format!("an object without `{name}`")))
}
