//! The event types that are handled. Any other event is stored and acknowledged, without effect.
//!
//! `docs/stripe.md` and `docs/workers.md` list the same types; a test of the server compares them.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// An event's `type`; open, since Stripe adds types.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
            /// A type that is not handled.
            Other(String),
        }

        impl EventKind {
            /// Every type that is handled.
            pub const HANDLED: &[Self] = &[$(Self::$name,)*];

            /// The type as Stripe writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for EventKind {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

kinds! {
    /// A Checkout Session was completed: it links an organization to a customer.
    CheckoutCompleted = "checkout.session.completed",
    /// A subscription began.
    SubscriptionCreated = "customer.subscription.created",
    /// A subscription changed.
    SubscriptionUpdated = "customer.subscription.updated",
    /// A subscription ended.
    SubscriptionDeleted = "customer.subscription.deleted",
    /// A subscription was paused: its trial ended without a payment method.
    SubscriptionPaused = "customer.subscription.paused",
    /// A paused subscription was resumed.
    SubscriptionResumed = "customer.subscription.resumed",
    /// A trial ends in three days, or sooner if it is shorter.
    TrialWillEnd = "customer.subscription.trial_will_end",
    /// An invoice was created; it is a draft for about an hour.
    InvoiceCreated = "invoice.created",
    /// An invoice is paid, by any means.
    InvoicePaid = "invoice.paid",
    /// An attempt to collect an invoice succeeded.
    InvoicePaymentSucceeded = "invoice.payment_succeeded",
    /// An attempt to collect an invoice failed.
    InvoicePaymentFailed = "invoice.payment_failed",
    /// An invoice is final and open for payment.
    InvoiceFinalized = "invoice.finalized",
    /// An invoice was voided: it need not be paid.
    InvoiceVoided = "invoice.voided",
    /// An invoice is not expected to be paid any more.
    InvoiceMarkedUncollectible = "invoice.marked_uncollectible",
    /// A customer was deleted together with all its subscriptions.
    CustomerDeleted = "customer.deleted",
    /// A customer disputes a charge with the bank.
    DisputeCreated = "charge.dispute.created",
    /// A dispute is over, whichever side won.
    DisputeClosed = "charge.dispute.closed",
    /// Accepted meter events were found invalid later (a thin event).
    MeterErrorReport = "v1.billing.meter.error_report_triggered",
}

impl EventKind {
    /// Whether events of this type are handled.
    #[must_use]
    pub const fn is_handled(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Whether an event of this type can be processed even if it names no customer.
    #[must_use]
    pub const fn is_looked_up(&self) -> bool {
        matches!(self, Self::DisputeCreated | Self::DisputeClosed | Self::MeterErrorReport)
    }

    /// Whether the event's object is a subscription.
    #[must_use]
    pub fn is_subscription(&self) -> bool {
        self.as_str().starts_with("customer.subscription.")
    }

    /// Whether the event's object is an invoice.
    #[must_use]
    pub fn is_invoice(&self) -> bool {
        self.as_str().starts_with("invoice.")
    }
}

impl From<String> for EventKind {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<EventKind> for String {
    fn from(kind: EventKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
