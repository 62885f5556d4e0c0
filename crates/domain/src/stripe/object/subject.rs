//! What an event is about: which object is processed, fetched or linked.

use super::{CheckoutSession, Customer, Dispute, Invoice, MeterErrorReport, Subscription, text};
use crate::stripe::event::{Event, EventForm, EventKind};

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A subscription.
    Subscription(Box<Subscription>),
    /// An invoice that has an id.
    Invoice(Box<Invoice>),
    /// A completed Checkout Session.
    Checkout(Box<CheckoutSession>),
    /// A customer that was deleted.
    Customer(Customer),
    /// A dispute.
    Dispute(Dispute),
    /// Meter events that were found invalid.
    MeterErrors(MeterErrorReport),
    /// Its type is handled, but its object lacks a required member.
    Unreadable(super::MissingMember),
    /// Its type is not handled.
    Nothing,
}

impl Subject {
    pub(in crate::stripe) fn of(event: &Event) -> Self {
        let object = &event.object;
        match &event.kind {
            EventKind::SubscriptionCreated
            | EventKind::SubscriptionUpdated
            | EventKind::SubscriptionDeleted
            | EventKind::SubscriptionPaused
            | EventKind::SubscriptionResumed
            | EventKind::TrialWillEnd => Subscription::read(object)
                .map_or_else(Self::Unreadable, |read| Self::Subscription(Box::new(read))),
            EventKind::InvoiceCreated
            | EventKind::InvoicePaid
            | EventKind::InvoicePaymentSucceeded
            | EventKind::InvoicePaymentFailed
            | EventKind::InvoiceFinalized
            | EventKind::InvoiceVoided
            | EventKind::InvoiceMarkedUncollectible => match text(object, "id") {
                Some(_) => Self::Invoice(Box::new(Invoice::read(object))),
                None => Self::Unreadable(super::MissingMember { object: "invoice", member: "id" }),
            },
            EventKind::CheckoutCompleted => Self::Checkout(Box::new(CheckoutSession::read(object))),
            EventKind::CustomerDeleted => {
                Customer::read(object).map_or_else(Self::Unreadable, Self::Customer)
            }
            EventKind::DisputeCreated | EventKind::DisputeClosed => {
                Dispute::read(object).map_or_else(Self::Unreadable, Self::Dispute)
            }
            EventKind::MeterErrorReport => {
                let meter = match &event.form {
                    EventForm::Thin { related, .. } => related.as_deref(),
                    EventForm::Snapshot => None,
                };
                Self::MeterErrors(MeterErrorReport::read(object, meter))
            }
            EventKind::Other(_) => Self::Nothing,
        }
    }

    /// The subscription that the event is about, if it names one.
    #[must_use]
    pub fn subscription(&self) -> Option<&str> {
        match self {
            Self::Subscription(read) => Some(&read.id),
            Self::Invoice(read) => read.subscription.as_deref(),
            Self::Checkout(read) => read.subscription.as_deref(),
            Self::Customer(_)
            | Self::Dispute(_)
            | Self::MeterErrors(_)
            | Self::Unreadable(_)
            | Self::Nothing => None,
        }
    }

    /// The customer, if the event names it.
    #[must_use]
    pub fn customer(&self) -> Option<&str> {
        match self {
            Self::Subscription(read) => read.customer.as_deref(),
            Self::Invoice(read) => read.customer.as_deref(),
            Self::Checkout(read) => read.customer.as_deref(),
            Self::Customer(read) => Some(&read.id),
            Self::Dispute(read) => read.customer.as_deref(),
            Self::MeterErrors(_) | Self::Unreadable(_) | Self::Nothing => None,
        }
    }

    /// The organization that the object names (`client_reference_id` or our metadata), not parsed.
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        match self {
            Self::Subscription(read) => read.organization.as_deref(),
            Self::Invoice(read) => read.organization.as_deref(),
            Self::Checkout(read) => {
                read.client_reference_id.as_deref().or(read.organization.as_deref())
            }
            Self::Customer(read) => read.organization.as_deref(),
            Self::Dispute(_) | Self::MeterErrors(_) | Self::Unreadable(_) | Self::Nothing => None,
        }
    }
}
