//! Amounts of money as text for people.

/// Currencies whose amounts Stripe states without decimals.
/// <https://docs.stripe.com/currencies#zero-decimal>; UGX and ISK are not among them: their amounts
/// are stated with two decimals, which are always zero.
const WITHOUT_DECIMALS: [&str; 15] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
    "xof", "xpf",
];
/// Currencies whose amounts Stripe states with three decimals.
const WITH_THREE_DECIMALS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// How many decimals an amount of this currency has, by its ISO code in any case.
#[must_use]
pub fn decimals(currency: &str) -> u32 {
    let code = currency.to_ascii_lowercase();
    if WITHOUT_DECIMALS.contains(&code.as_str()) {
        0
    } else if WITH_THREE_DECIMALS.contains(&code.as_str()) {
        3
    } else {
        2
    }
}

/// An amount in a currency's smallest unit, as people write it: `$49.00`, `49.00 EUR`, `4900 JPY`.
#[must_use]
pub fn shown(amount: i64, currency: &str) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let decimals = decimals(currency);
    let unit = 10_u64.pow(decimals);
    let (whole, rest) = (amount.unsigned_abs() / unit, amount.unsigned_abs() % unit);
    let number = match usize::try_from(decimals) {
        Ok(width) if width > 0 => format!("{whole}.{rest:0width$}"),
        Ok(_) | Err(_) => whole.to_string(),
    };
    match currency.to_ascii_uppercase().as_str() {
        "USD" => format!("{sign}${number}"),
        "" => format!("{sign}{number}"),
        code => format!("{sign}{number} {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_currency_has_its_decimals() {
        let cases = [
            (4_900, "usd", "$49.00"),
            (-1, "usd", "-$0.01"),
            (4_900, "eur", "49.00 EUR"),
            (4_900, "jpy", "4900 JPY"),
            (-4_900, "krw", "-4900 KRW"),
            (4_900, "kwd", "4.900 KWD"),
            (5, "tnd", "0.005 TND"),
            (500, "ugx", "5.00 UGX"),
            (100_000_000_000, "GBP", "1000000000.00 GBP"),
            (i64::MIN, "eur", "-92233720368547758.08 EUR"),
            (7, "", "0.07"),
        ];
        for (amount, currency, wanted) in cases {
            assert_eq!(shown(amount, currency), wanted);
        }
    }
}
