//! The table "Who may call", applied row by row to a history. It is slow and simple on purpose, and
//! uses no code of the decision under test.

use driftlock_domain::config::AfterSubscription;
use driftlock_domain::entitlement::NotEntitled;
use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;

use super::history::{Billed, DAY, History, Sold};

/// The decision by the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Result<(), NotEntitled>,
    pub(super) shown: Option<String>,
    pub(super) plan: String,
    pub(super) quantity: u64,
    pub(super) period: Period,
}

/// The result of one row: why it does not entitle, or what it grants.
struct Row {
    reason: Option<NotEntitled>,
    answer: Answer,
    has_served: bool,
}

pub(super) fn answer(history: &History, own_plan: &str, now: Timestamp) -> Answer {
    let mut answer = active(history, own_plan, now);
    if history.is_suspended {
        answer.verdict = Err(NotEntitled::Suspended);
    }
    answer
}

fn active(history: &History, own_plan: &str, now: Timestamp) -> Answer {
    let mut rows = Vec::new();
    rows.extend(contract(history, now));
    let mut sold: Vec<(usize, &Sold)> = history.sold.iter().enumerate().collect();
    sold.sort_by_key(|(_, one)| std::cmp::Reverse((one.created, one.id.clone())));
    // Of several ended subscriptions only one matters: the last that was in service, if any.
    let ended = |one: &Sold| ["canceled", "incomplete_expired"].contains(&status(history, one));
    let last_end = sold.iter().copied().filter(|(_, one)| ended(one) && plan(one).is_some());
    let last_end = last_end
        .max_by_key(|(_, one)| (status(history, one) == "canceled", one.created, one.id.clone()));
    for (place, one) in sold.iter().copied() {
        let is_of_interest = !ended(one) || last_end.is_some_and(|(last, _)| last == place);
        if is_of_interest {
            rows.extend(subscription(history, place, one, now));
        }
    }
    let was_live = history.contract.is_some()
        || history.sold.iter().any(|one| one.was_live && plan(one).is_some());
    for row in &rows {
        if row.reason.is_none() {
            return row.answer.clone();
        }
    }
    let own_plan_is_free = own_plan == "developer";
    let nearest = nearest(&rows);
    if own_plan_is_free && (!was_live || history.after == AfterSubscription::OwnPlan) {
        return own(own_plan, nearest, Ok(()), now);
    }
    let reason = match (nearest.and_then(|row| row.reason), was_live) {
        (Some(reason), _) => reason,
        (None, true) => NotEntitled::SubscriptionEnded,
        (None, false) => NotEntitled::NoSubscription,
    };
    match nearest {
        Some(row) if row.has_served => Answer { verdict: Err(reason), ..row.answer.clone() },
        nearest => own(own_plan, nearest, Err(reason), now),
    }
}

/// The row with the highest rank; of several, the first.
fn nearest(rows: &[Row]) -> Option<&Row> {
    let order = [
        NotEntitled::GraceOver,
        NotEntitled::Unpaid,
        NotEntitled::Paused,
        NotEntitled::QuantityZero,
        NotEntitled::FirstPaymentOutstanding,
    ];
    for wanted in order {
        if let Some(row) = rows.iter().find(|row| row.reason == Some(wanted)) {
            return Some(row);
        }
    }
    let ends = [NotEntitled::SubscriptionEnded, NotEntitled::ContractEnded];
    let ended = rows.iter().find(|row| row.reason.is_some_and(|reason| ends.contains(&reason)));
    ended.or(rows.first())
}

fn own(plan: &str, row: Option<&Row>, verdict: Result<(), NotEntitled>, now: Timestamp) -> Answer {
    Answer {
        verdict,
        shown: row.and_then(|row| row.answer.shown.clone()),
        plan: plan.to_owned(),
        quantity: 1,
        period: calendar_month(now),
    }
}

fn contract(history: &History, now: Timestamp) -> Option<Row> {
    let set = history.contract.as_ref()?;
    let has_ended = set.cancel_at.is_some_and(|end| end <= now);
    let reason = has_ended.then_some(NotEntitled::ContractEnded);
    Some(Row {
        reason,
        has_served: true,
        answer: Answer {
            verdict: reason.map_or(Ok(()), Err),
            shown: Some(set.id.clone()),
            plan: set.plan.clone(),
            quantity: 1,
            period: continued(set.period, now),
        },
    })
}

fn subscription(history: &History, place: usize, one: &Sold, now: Timestamp) -> Option<Row> {
    let plan = plan(one)?;
    let reason = match status(history, one) {
        "trialing" | "active" | "past_due" => {
            if one.cancel_at.is_some_and(|end| end <= now) {
                Some(NotEntitled::SubscriptionEnded)
            } else if one.quantity == 0 {
                Some(NotEntitled::QuantityZero)
            } else if grace_end(history, place).is_some_and(|end| end <= now) {
                Some(NotEntitled::GraceOver)
            } else {
                None
            }
        }
        "incomplete" => Some(NotEntitled::FirstPaymentOutstanding),
        "incomplete_expired" => Some(NotEntitled::FirstPaymentExpired),
        "unpaid" => Some(NotEntitled::Unpaid),
        "paused" => Some(NotEntitled::Paused),
        "canceled" => Some(NotEntitled::SubscriptionEnded),
        other => unreachable!("no history has the status {other}"),
    };
    let billed = continued(one.period, now);
    Some(Row {
        reason,
        has_served: one.was_live,
        answer: Answer {
            verdict: reason.map_or(Ok(()), Err),
            shown: Some(one.id.clone()),
            plan: plan.to_owned(),
            quantity: one.quantity,
            period: if one.months > 1 { month_of(billed, one.created, now) } else { billed },
        },
    })
}

/// A deleted customer has no live subscription.
fn status(history: &History, one: &Sold) -> &'static str {
    match one.status {
        "incomplete" if history.is_deleted => "incomplete_expired",
        "incomplete_expired" => "incomplete_expired",
        _ if history.is_deleted => "canceled",
        status => status,
    }
}

fn plan(one: &Sold) -> Option<&'static str> {
    match one.price {
        "price_standard" => Some("standard"),
        "price_growth" => Some("growth"),
        _ => None,
    }
}

fn grace_end(history: &History, place: usize) -> Option<Timestamp> {
    let mut first: Option<Timestamp> = None;
    for invoice in history.billed.iter().filter(|invoice| invoice.subscription == place) {
        let Billed { status, due, first_failure, .. } = invoice;
        if *status != "open" {
            continue;
        }
        let since = if history.sold[place].is_sent { *due } else { *first_failure };
        if let Some(since) = since
            && first.is_none_or(|first| since < first)
        {
            first = Some(since);
        }
    }
    first.map(|first| first.plus(DAY * 7))
}

fn continued(mut period: Period, now: Timestamp) -> Period {
    let length = period.end.since(period.start);
    while period.end <= now {
        period = Period { start: period.end, end: period.end.plus(length) };
    }
    period
}

fn calendar_month(now: Timestamp) -> Period {
    let date = now.date_time();
    let (year, month) = (date.year(), u8::from(date.month()));
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    Period { start: on(year, month, 1, "00:00:00"), end: on(next.0, next.1, 1, "00:00:00") }
}

/// The month within a longer period, counted from the anchor.
fn month_of(billed: Period, anchor: Timestamp, now: Timestamp) -> Period {
    let date = anchor.date_time();
    let time = format!("{:02}:{:02}:{:02}", date.hour(), date.minute(), date.second());
    let (mut year, mut month) = (date.year(), u8::from(date.month()));
    let mut start = anchor;
    loop {
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let next = on(year, month, date.day(), &time);
        if next > now {
            return Period { start: start.max(billed.start), end: next.min(billed.end) };
        }
        start = next;
    }
}

/// The given day of a month, or its last day.
fn on(year: i32, month: u8, day: u8, time: &str) -> Timestamp {
    (1..=day)
        .rev()
        .find_map(|day| Timestamp::parse(&format!("{year:04}-{month:02}-{day:02}T{time}Z")).ok())
        .expect("a month has a first day")
}
