//! Events that do not say whose they are: a dispute names a charge, and the charge its customer; a
//! report of meter errors is of many (`meter_errors.rs`).

use driftlock_domain::denial::Fault;
use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::stripe::delivery::OTHER_MODE;
use driftlock_domain::stripe::event::Event;
use driftlock_domain::stripe::file::{Orphan, Postponed};
use driftlock_domain::stripe::object::{Dispute, Subject};

use super::reconcile::Failed;
use crate::gateway::Gateway;
use crate::ports::{Clock, EventInbox, Platform};

/// Orphans taken up in one round.
const ORPHANS_MAX: usize = 100;

impl<P: Platform> Gateway<P> {
    /// Looks for the customers of events that name none.
    pub(crate) async fn adopt_orphans(&self) {
        let orphans = self.inbox.orphans(self.clock.now(), ORPHANS_MAX).await;
        let adopted = async {
            for orphan in orphans? {
                self.adopt(&orphan).await?;
            }
            Ok::<(), Fault>(())
        };
        if let Err(fault) = adopted.await {
            tracing::error!(cause = fault.cause, "Stripe's events wait");
        }
    }

    async fn adopt(&self, orphan: &Orphan) -> Result<(), Fault> {
        let error = match self.whose(orphan).await? {
            Ok(Owner::Nobody) => {
                return self.inbox.finish(&orphan.event, self.clock.now()).await;
            }
            Ok(Owner::Customer(customer)) => {
                self.inbox.assign(&orphan.event, &customer).await?;
                self.process_customer(&customer).await;
                return Ok(());
            }
            Err(Lookup::NotPossible(why)) => Hopeless(why),
            Err(Lookup::Api(error)) => Later(error.to_string()),
        };
        let now = self.clock.now();
        let postponed = match error {
            Later(why) => Postponed::retried(why, [orphan.waiting_since], now, self.random()),
            Hopeless(why) => Postponed::given_up(why, now),
        };
        let (event, error) = (&orphan.event, &postponed.error);
        tracing::warn!(event, error, "the customer of a Stripe event cannot be found");
        self.inbox.postpone_orphan(event, postponed).await
    }

    async fn whose(&self, orphan: &Orphan) -> Result<Result<Owner, Lookup>, Fault> {
        let event = match Event::parse(&orphan.body) {
            Ok(event) => event,
            Err(error) => return Ok(Err(Lookup::NotPossible(error.to_string()))),
        };
        if event.is_of_other_mode(self.shared.config.stripe.livemode) {
            return Ok(Err(Lookup::NotPossible(OTHER_MODE.to_owned())));
        }
        match event.subject() {
            Subject::Dispute(dispute) => Ok(self.of_dispute(dispute).await),
            Subject::MeterErrors(_) => match self.tell_of_meter_errors(&event).await {
                Ok(()) => Ok(Ok(Owner::Nobody)),
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
                "the dispute names only charge {charge}; set ENV_STRIPE_SECRET_KEY, by which its \
                 customer can be looked up, and replay the event"
            )));
        }
        let charge = self.stripe(&Call::get(format!("/v1/charges/{charge}"))).await?;
        let customer = charge["customer"].as_str().map(|id| Owner::Customer(id.to_owned()));
        customer.ok_or_else(|| Lookup::NotPossible("its charge has no customer".to_owned()))
    }
}

/// Whose an event is.
enum Owner {
    Customer(String),
    /// What it tells concerns no single customer's standing, and is told.
    Nobody,
}

/// What is in the way of an orphan: for a while, or for good.
enum Obstacle {
    Later(String),
    Hopeless(String),
}
use Obstacle::{Hopeless, Later};

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
