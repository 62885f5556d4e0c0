//! The expected cost of a period, line by line, rounded as Stripe rounds.
//!
//! Amounts are exact in micro-dollars; each line of an invoice is rounded separately to whole
//! cents, half a cent up, and the invoice is the sum of its rounded lines.
//! <https://docs.stripe.com/products-prices/pricing-models#decimal-amounts>

use serde::Serialize;

use crate::plan::MicroDollars;
use crate::quota::Quota;

const MICROS_PER_CENT: u64 = 10_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvoiceLine {
    /// What is billed.
    pub description: &'static str,
    /// How many.
    pub quantity: u64,
    /// What one of it costs.
    pub unit_amount_micros: MicroDollars,
    /// What all of it costs, exactly.
    pub amount_micros: MicroDollars,
    /// The amount that is billed, in whole cents.
    pub amount_cents: u64,
}

/// The lines for a period with this many units: base fee, included units, units beyond them.
#[must_use]
pub fn lines(quota: &Quota, units: u64) -> Vec<InvoiceLine> {
    let overage = quota.overage_units(units);
    let mut lines =
        vec![line("Base fee", 1, quota.base_micros), line("Included units", units - overage, 0)];
    if let Some(price) = quota.overage_micros {
        lines.push(line("Overage units", overage, price));
    }
    lines
}

/// The sum of the lines, in whole cents.
#[must_use]
pub fn total_cents(lines: &[InvoiceLine]) -> u64 {
    lines.iter().fold(0, |sum, line| sum.saturating_add(line.amount_cents))
}

fn line(description: &'static str, quantity: u64, unit_amount_micros: MicroDollars) -> InvoiceLine {
    let amount_micros = quantity.saturating_mul(unit_amount_micros);
    let amount_cents = amount_micros.saturating_add(MICROS_PER_CENT / 2) / MICROS_PER_CENT;
    InvoiceLine { description, quantity, unit_amount_micros, amount_micros, amount_cents }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::quota::QuotaOverride;

    fn of(plan: &str, units: u64) -> (Vec<InvoiceLine>, u64, u64) {
        let config = Config::default();
        let plan = config.plan(plan).expect("it is shipped");
        let quota = Quota::in_force(plan, 1, &QuotaOverride::default());
        let lines = lines(&quota, units);
        let (cents, micros) = (total_cents(&lines), quota.amount_micros(units));
        (lines, cents, micros)
    }

    #[test]
    fn the_worked_example_costs_136_dollars_50() {
        let (lines, cents, micros) = of("standard", 275_000);
        assert_eq!((cents, micros), (13_650, 136_500_000));
        let amounts: Vec<_> = lines.iter().map(|line| (line.quantity, line.amount_cents)).collect();
        assert_eq!(amounts, [(1, 4_900), (250_000, 0), (25_000, 8_750)]);
    }

    #[test]
    fn half_a_cent_is_rounded_up_line_by_line() {
        for (units, cents) in [(250_001, 0), (250_002, 1), (250_004, 1), (250_005, 2)] {
            assert_eq!(of("standard", units).1, 4_900 + cents, "{units}");
        }
        assert_eq!(of("developer", 10_000).1, 0);
        assert_eq!(of("developer", 10_000).0.len(), 2, "there is no overage to buy");
    }
}
