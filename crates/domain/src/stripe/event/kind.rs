//! The types of events that are handled; any other is stored and acknowledged.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What happened, by the event's `type`; open, since Stripe adds types.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
            /// A type that is stored and acknowledged, and nothing more.
            Other(String),
        }

        impl EventKind {
            /// Every type that is handled.
            pub const HANDLED: &[Self] = &[$(Self::$name,)*];

            /// The `type`, as Stripe writes it.
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
    /// Something of it changed.
    SubscriptionUpdated = "customer.subscription.updated",
    /// It ended.
    SubscriptionDeleted = "customer.subscription.deleted",
    /// Its trial ended without a payment method.
    SubscriptionPaused = "customer.subscription.paused",
    /// It goes on.
    SubscriptionResumed = "customer.subscription.resumed",
    /// Its trial ends in three days, or less if it is shorter.
    TrialWillEnd = "customer.subscription.trial_will_end",
    /// An invoice was made; it is a draft for about an hour.
    InvoiceCreated = "invoice.created",
    /// An invoice is paid, by any means.
    InvoicePaid = "invoice.paid",
    /// An attempt to collect it succeeded.
    InvoicePaymentSucceeded = "invoice.payment_succeeded",
    /// An attempt to collect it failed.
    InvoicePaymentFailed = "invoice.payment_failed",
    /// It is final, and to be paid.
    InvoiceFinalized = "invoice.finalized",
    /// It is void: nobody has to pay it.
    InvoiceVoided = "invoice.voided",
    /// Nobody expects it to be paid any more.
    InvoiceMarkedUncollectible = "invoice.marked_uncollectible",
    /// A customer was deleted, and with it every subscription.
    CustomerDeleted = "customer.deleted",
    /// A customer disputes a charge with the bank.
    DisputeCreated = "charge.dispute.created",
    /// That dispute is over, whoever won it.
    DisputeClosed = "charge.dispute.closed",
    /// Meter events were found invalid after they had been accepted (thin).
    MeterErrorReport = "v1.billing.meter.error_report_triggered",
}

impl EventKind {
    /// Whether anything is done about it.
    #[must_use]
    pub const fn is_handled(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Whether an event that names no customer can be processed all the same.
    #[must_use]
    pub const fn is_looked_up(&self) -> bool {
        matches!(self, Self::DisputeCreated | Self::DisputeClosed | Self::MeterErrorReport)
    }

    /// Whether its object is a subscription.
    #[must_use]
    pub fn is_subscription(&self) -> bool {
        self.as_str().starts_with("customer.subscription.")
    }

    /// Whether its object is an invoice.
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
