//! Finds the order in which the events of one subscription happened.
//!
//! `created` has whole seconds. So events of the same second are ordered by the state that each
//! event implies before it: its object with `previous_attributes` put back must equal the object of
//! the event before it. That is a link. The order with the most links wins, over all seconds
//! together: the last event of a second is chosen so that the next second continues from it.
//! Remaining ties are ordered by id. The result depends only on the set of events, never on the
//! order of arrival.

mod exact;
mod walk;

use serde_json::Value;

use super::event::{Event, EventKind};
use super::object::{Subscription, covers};

/// Up to this many events of one second, the best order is found exactly; for more events a walk is
/// built.
const EXACT_MAX: usize = 8;
/// Up to this many events of one second, a walk is built; more, which no subscription has, are
/// ordered by id.
const WALK_MAX: usize = 256;
/// The score of a link where the whole state before one event equals the state after the other.
const STRONG: u32 = 2;
/// The score of a link where only the members that changed had the values that the other event
/// left.
const WEAK: u32 = 1;

struct Node<'a> {
    event: &'a Event,
    after: Option<Subscription>,
    before: Option<Subscription>,
}

/// One way to order a second's events.
struct Ending {
    score: u32,
    /// Indexes into the list of nodes, in this order.
    path: Vec<usize>,
    /// Index of the ending of the second before that this order continues.
    continues: usize,
}

/// The events of one subscription in the order in which they happened, without duplicates.
#[must_use]
pub fn order<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<&'a Event> {
    let mut events: Vec<&Event> = events.into_iter().collect();
    events.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    events.dedup_by(|a, b| a.id == b.id);
    let nodes: Vec<Node<'_>> = events.into_iter().map(Node::of).collect();
    let mut seconds: Vec<Vec<Ending>> = Vec::new();
    let mut first = 0;
    for group in nodes.chunk_by(|a, b| a.event.created == b.event.created) {
        let places: Vec<usize> = (first..first + group.len()).collect();
        first += group.len();
        let endings = endings(&nodes, &places, seconds.last().map(Vec::as_slice));
        seconds.push(endings);
    }
    trace(&seconds).into_iter().map(|place| nodes[place].event).collect()
}

/// Follows the best ending of the last second back to the first.
fn trace(seconds: &[Vec<Ending>]) -> Vec<usize> {
    let Some(last) = seconds.last() else { return Vec::new() };
    let mut chosen = best(last.iter().map(|ending| ending.score));
    let mut reversed = Vec::new();
    for endings in seconds.iter().rev() {
        let ending = &endings[chosen];
        reversed.extend(ending.path.iter().rev());
        chosen = ending.continues;
    }
    reversed.reverse();
    reversed
}

fn endings(nodes: &[Node<'_>], places: &[usize], before: Option<&[Ending]>) -> Vec<Ending> {
    let starts: Vec<(u32, usize)> =
        places.iter().map(|place| start(nodes, *place, before)).collect();
    if places.len() > WALK_MAX {
        let (score, continues) = starts[0];
        return vec![Ending { score, path: places.to_vec(), continues }];
    }
    let links: Vec<Vec<u32>> = places
        .iter()
        .map(|from| places.iter().map(|to| link(Some(&nodes[*from]), &nodes[*to])).collect())
        .collect();
    if places.len() > EXACT_MAX {
        return vec![walk::join(places, &starts, &links)];
    }
    exact::search(places, &starts, &links)
}

/// The best score, and the ending of the second before that yields it, for an event that comes
/// first in its second.
fn start(nodes: &[Node<'_>], place: usize, before: Option<&[Ending]>) -> (u32, usize) {
    let Some(before) = before else { return (link(None, &nodes[place]), 0) };
    let score = |ending: &Ending| {
        let last = ending.path.last().map(|last| &nodes[*last]);
        ending.score + link(last, &nodes[place])
    };
    let continues = best(before.iter().map(score));
    (before.get(continues).map_or(0, score), continues)
}

/// The score of the link from `from` to `to`; `from` is `None` before the first event.
fn link(from: Option<&Node<'_>>, to: &Node<'_>) -> u32 {
    let begins = to.event.kind == EventKind::SubscriptionCreated;
    match from {
        None => u32::from(begins) * STRONG,
        Some(_) if begins => 0,
        Some(from) => match &to.event.previous {
            Some(_) if to.before.is_some() && to.before == from.after => STRONG,
            Some(previous) => u32::from(covers(&from.event.object, previous)) * WEAK,
            // The event does not say what changed: it may repeat the same state.
            None if to.after == from.after => STRONG,
            None => WEAK,
        },
    }
}

/// The index of the greatest score, the last of equal ones, so that ids stay in order.
fn best(scores: impl Iterator<Item = u32>) -> usize {
    scores.enumerate().map(|(at, score)| (score, at)).max().map_or(0, |(_, at)| at)
}

impl<'a> Node<'a> {
    fn of(event: &'a Event) -> Self {
        let read = |object: &Value| Subscription::read(object).ok();
        let before = event.before().as_ref().and_then(read);
        Self { event, after: read(&event.object), before }
    }
}
