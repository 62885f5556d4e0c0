//! `RateLimit` and `RateLimit-Policy`: for any numbers, valid RFC 9651 lists with these numbers.

use driftlock_domain::cell::{LimitsNow, QuotaState};
use driftlock_domain::headers::write_limits;
use driftlock_domain::limit::LimitState;
use http::HeaderMap;
use sfv::{BareItem, List, ListEntry, Parser};

/// # Panics
/// If a header is not a list of strings with the right integers.
pub fn check(bytes: &[u8]) {
    let mut words = bytes.chunks_exact(8).map(|eight| {
        u64::from_le_bytes([
            eight[0], eight[1], eight[2], eight[3], eight[4], eight[5], eight[6], eight[7],
        ])
    });
    let mut number = || words.next().unwrap_or(1);
    let quota = QuotaState {
        included: number(),
        remaining: (bytes.len() % 3 != 2).then(&mut number),
        window_secs: number(),
        reset_secs: number(),
    };
    let mut rate = || LimitState {
        limit: short(number()),
        window_secs: number(),
        remaining: short(number()),
        reset_secs: number(),
    };
    let (key, organization) = (rate(), (bytes.len() % 2 == 1).then_some(rate()));
    let mut headers = HeaderMap::new();
    write_limits(&mut headers, &LimitsNow { key, organization, quota });

    let mut policies = vec![("key", u64::from(key.limit), key.window_secs)];
    let mut current = vec![("key", u64::from(key.remaining), key.reset_secs)];
    if let Some(organization) = organization {
        policies.push(("organization", u64::from(organization.limit), organization.window_secs));
        current.push(("organization", u64::from(organization.remaining), organization.reset_secs));
    }
    policies.push(("quota", quota.included, quota.window_secs));
    current.extend(quota.remaining.map(|remaining| ("quota", remaining, quota.reset_secs)));
    assert_eq!(read(&headers, "ratelimit-policy", ["q", "w"]), owned(&policies));
    assert_eq!(read(&headers, "ratelimit", ["r", "t"]), owned(&current));
    for (name, number) in [
        ("x-ratelimit-limit", u64::from(key.limit)),
        ("x-ratelimit-remaining", u64::from(key.remaining)),
        ("x-ratelimit-reset", key.reset_secs),
    ] {
        assert_eq!(headers[name], *number.to_string(), "{name}");
    }
}

/// Numbers of more than the 15 digits of a structured integer are written as the greatest one.
fn stated(number: u64) -> u64 {
    number.min(999_999_999_999_999)
}

fn short(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

type Member = (String, u64, u64);

fn owned(members: &[(&str, u64, u64)]) -> Vec<Member> {
    members
        .iter()
        .map(|(name, one, two)| ((*name).to_owned(), stated(*one), stated(*two)))
        .collect()
}

fn read(headers: &HeaderMap, name: &str, parameters: [&str; 2]) -> Vec<Member> {
    let list: List = Parser::new(headers[name].as_bytes())
        .parse()
        .unwrap_or_else(|error| panic!("{name} is not a list: {error}: {:?}", headers[name]));
    let member = |entry: &ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("{name}: an inner list") };
        let BareItem::String(text) = &item.bare_item else { panic!("{name}: no string") };
        assert_eq!(item.params.len(), 2, "{name}");
        let [one, two] = parameters.map(|parameter| match item.params.get(parameter) {
            Some(BareItem::Integer(number)) => {
                u64::try_from(i64::from(*number)).unwrap_or_else(|_| panic!("{name}: negative"))
            }
            other => panic!("{name}: {parameter} is {other:?}"),
        });
        (text.as_str().to_owned(), one, two)
    };
    list.iter().map(member).collect()
}
