//! Invoices and payments of a life. A method does nothing if its event cannot happen now.

use super::Life;
use crate::stripe::event::EventKind;
use crate::stripe::sample::SampleInvoice;

impl Life {
    /// Begins a new period, at the end of the last one or now if that is later, with an open
    /// invoice. If an end is scheduled, the subscription ends instead.
    pub fn renew(&mut self) {
        let Some(place) = self.live() else { return };
        let subscription = &self.subscriptions[place];
        let renews = ["active", "trialing", "past_due"].contains(&subscription.status.as_str());
        if !renews {
            return;
        }
        self.now = self.now.max(subscription.period.end);
        if subscription.cancel_at_period_end {
            return self.cancel();
        }
        let period = self.next_period(self.now);
        let invoice = self.invoice_of(place, "subscription_cycle", period.start);
        self.update(place, |subscription| {
            subscription.period = period;
            subscription.latest_invoice = Some(invoice);
            if subscription.status == "trialing" {
                subscription.status = "active".to_owned();
            }
        });
    }

    /// Makes an open invoice in the middle of a period, unless there is an open one already.
    pub fn bill(&mut self) {
        let Some(place) = self.live() else { return };
        if self.open_invoice().is_some() {
            return;
        }
        let invoice = self.invoice_of(place, "subscription_update", self.now);
        self.update(place, |subscription| subscription.latest_invoice = Some(invoice));
    }

    /// Pays the last invoice.
    pub fn pay(&mut self) {
        let Some(place) = self.open_invoice() else { return };
        let now = self.now;
        let invoice = &mut self.invoices[place];
        invoice.status = "paid".to_owned();
        invoice.attempt_count += 1;
        invoice.settled_at = Some(now);
        self.emit_invoice(place, &EventKind::InvoicePaymentSucceeded);
        self.emit_invoice(place, &EventKind::InvoicePaid);
        if self.open_invoice().is_none() {
            self.settle_status();
        }
    }

    /// Fails to collect the last invoice, for the first time or again.
    pub fn fail(&mut self) {
        let Some(place) = self.open_invoice() else { return };
        let now = self.now;
        let invoice = &mut self.invoices[place];
        invoice.attempt_count += 1;
        invoice.first_failure_at = invoice.first_failure_at.or(Some(now));
        self.emit_invoice(place, &EventKind::InvoicePaymentFailed);
        if let Some(live) = self.live_as("active") {
            self.update(live, |subscription| subscription.status = "past_due".to_owned());
        }
    }

    /// Stripe gives up collecting.
    pub fn give_up(&mut self) {
        if let Some(live) = self.live_as("past_due") {
            self.update(live, |subscription| subscription.status = "unpaid".to_owned());
        }
    }

    /// Voids the last invoice.
    pub fn void(&mut self) {
        let Some(place) = self.open_invoice() else { return };
        let now = self.now;
        let invoice = &mut self.invoices[place];
        invoice.status = "void".to_owned();
        invoice.settled_at = Some(now);
        self.emit_invoice(place, &EventKind::InvoiceVoided);
        if self.open_invoice().is_none() {
            self.settle_status();
        }
    }

    /// Marks the last invoice uncollectible.
    pub fn write_off(&mut self) {
        let Some(place) = self.open_invoice() else { return };
        let now = self.now;
        let invoice = &mut self.invoices[place];
        invoice.status = "uncollectible".to_owned();
        invoice.settled_at = Some(now);
        self.emit_invoice(place, &EventKind::InvoiceMarkedUncollectible);
        if self.open_invoice().is_none()
            && let Some(live) = ["past_due", "unpaid"].into_iter().find_map(|of| self.live_as(of))
        {
            self.update(live, |subscription| subscription.status = "active".to_owned());
        }
    }

    /// The first invoice of a subscription.
    pub(super) fn invoice(&mut self, place: usize, reason: &str) {
        let start = self.subscriptions[place].period.start;
        let id = self.invoice_of(place, reason, start);
        self.subscriptions[place].latest_invoice = Some(id);
    }

    fn invoice_of(&mut self, place: usize, reason: &str, start: crate::time::Timestamp) -> String {
        let subscription = self.subscriptions[place].clone();
        let id = self.id("in_", "invoice");
        let (line, count) = (self.id("il_", "line"), self.invoices.len() + 1);
        self.invoices.push(SampleInvoice {
            id: id.clone(),
            line,
            status: "open".to_owned(),
            number: format!("DRIFT-{count:04}"),
            total: subscription.price.cents,
            attempt_count: 0,
            created: self.now,
            period: self.next_period(start),
            reason: reason.to_owned(),
            first_failure_at: None,
            settled_at: None,
            subscription,
        });
        let place = self.invoices.len() - 1;
        self.invoices[place].status = "draft".to_owned();
        self.emit_invoice(place, &EventKind::InvoiceCreated);
        self.invoices[place].status = "open".to_owned();
        self.emit_invoice(place, &EventKind::InvoiceFinalized);
        id
    }

    /// The oldest unpaid invoice of the live subscription.
    fn open_invoice(&self) -> Option<usize> {
        let live = &self.subscriptions[self.live()?].id;
        self.invoices
            .iter()
            .position(|invoice| invoice.status == "open" && invoice.subscription.id == *live)
    }

    fn settle_status(&mut self) {
        let waiting = ["incomplete", "past_due", "unpaid"];
        if let Some(live) = waiting.into_iter().find_map(|status| self.live_as(status)) {
            self.update(live, |subscription| subscription.status = "active".to_owned());
        }
    }
}
