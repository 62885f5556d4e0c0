//! Unassigned events, which name no customer: a dispute names a charge, and the charge names the
//! customer; a report of meter errors concerns many customers (`meter_errors.rs`).

use driftlock_domain::denial::Fault;
use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::stripe::delivery::OTHER_MODE;
use driftlock_domain::stripe::event::Event;
use driftlock_domain::stripe::file::{Postponed, UnassignedEvent};
use driftlock_domain::stripe::object::{Dispute, Subject};

use super::reconcile::Failed;
use crate::gateway::Gateway;
use crate::ports::{Clock, EventInbox, Platform};

/// Unassigned events processed in one run.
const UNASSIGNED_MAX: usize = 100;

impl<P: Platform> Gateway<P> {
    /// Looks for the customers of events that name none.
    pub(crate) async fn assign_unassigned_events(&self) {
        let unassigned_events =
            self.inbox.unassigned_events(self.clock.now(), UNASSIGNED_MAX).await;
        let assigned = async {
            for unassigned_event in unassigned_events? {
                self.assign_event(&unassigned_event).await?;
            }
            Ok::<(), Fault>(())
        };
        if let Err(fault) = assigned.await {
            tracing::error!(error = fault.cause, "could not assign Stripe events; will retry");
        }
    }

    async fn assign_event(&self, unassigned_event: &UnassignedEvent) -> Result<(), Fault> {
        let error = match self.resolve_customer(unassigned_event).await? {
            Ok(Owner::NoCustomer) => {
                return self.inbox.finish(&unassigned_event.event, self.clock.now()).await;
            }
            Ok(Owner::Customer(customer)) => {
                self.inbox.assign(&unassigned_event.event, &customer).await?;
                self.process_customer(&customer).await;
                return Ok(());
            }
            Err(Lookup::NotPossible(why)) => Permanent(why),
            Err(Lookup::Api(error)) => Transient(error.to_string()),
        };
        let now = self.clock.now();
        let postponed = match error {
            Transient(why) => {
                Postponed::retried(why, [unassigned_event.waiting_since], now, self.random())
            }
            Permanent(why) => Postponed::given_up(why, now),
        };
        let (event, error) = (&unassigned_event.event, &postponed.error);
        tracing::warn!(event, error, "Stripe event could not be assigned to a customer");
        self.inbox.postpone_unassigned(event, postponed).await
    }

    async fn resolve_customer(
        &self,
        unassigned_event: &UnassignedEvent,
    ) -> Result<Result<Owner, Lookup>, Fault> {
        let event = match Event::parse(&unassigned_event.body) {
            Ok(event) => event,
            Err(error) => return Ok(Err(Lookup::NotPossible(error.to_string()))),
        };
        if event.is_of_other_mode(self.shared.config.stripe.livemode) {
            return Ok(Err(Lookup::NotPossible(OTHER_MODE.to_owned())));
        }
        match event.subject() {
            Subject::Dispute(dispute) => Ok(self.of_dispute(dispute).await),
            Subject::MeterErrors(_) => match self.alert_meter_errors(&event).await {
                Ok(()) => Ok(Ok(Owner::NoCustomer)),
                Err(Failed::Api(error)) => Ok(Err(Lookup::Api(error))),
                Err(Failed::Fault(fault)) => Err(fault),
            },
            _ => Ok(Err(Lookup::NotPossible("it names no customer".to_owned()))),
        }
    }

    async fn of_dispute(&self, dispute: Dispute) -> Result<Owner, Lookup> {
        if let Some(customer) = dispute.customer {
            return Ok(Owner::Customer(customer));
        }
        let Some(charge) = dispute.charge else {
            return Err(Lookup::NotPossible("the dispute names no charge".to_owned()));
        };
        if !self.has_stripe() {
            return Err(Lookup::NotPossible(format!(
                "the dispute names only charge {charge}; to look up its customer, set \
                 ENV_STRIPE_SECRET_KEY and replay the event"
            )));
        }
        let charge = self.stripe(&Call::get(format!("/v1/charges/{charge}"))).await?;
        let customer = charge["customer"].as_str().map(|id| Owner::Customer(id.to_owned()));
        customer.ok_or_else(|| Lookup::NotPossible("its charge has no customer".to_owned()))
    }
}

/// The customer that an event belongs to.
enum Owner {
    Customer(String),
    /// The event concerns no single customer; its alerts are raised.
    NoCustomer,
}

/// Why an event cannot be assigned: for now, or for good.
enum Obstacle {
    Transient(String),
    Permanent(String),
}
use Obstacle::{Permanent, Transient};

/// Why the lookup of an event's customer failed.
enum Lookup {
    NotPossible(String),
    Api(ApiError),
}

impl From<ApiError> for Lookup {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Missing(why) => Self::NotPossible(why),
            other => Self::Api(other),
        }
    }
}
