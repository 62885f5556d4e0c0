//! Orders many events by Hierholzer's algorithm: it follows strong links from event to event, then
//! inserts the round trips that the path missed. If no event is missing, all of them are linked.

use super::{Ending, STRONG};

/// One order of all events; `starts` and `links` have the same indexes as `places`.
pub(super) fn join(places: &[usize], starts: &[(u32, usize)], links: &[Vec<u32>]) -> Ending {
    let first = first_best(starts.iter().map(|(score, _)| *score));
    let (start, continues) = starts[first];
    let mut left: Vec<usize> = (0..places.len()).filter(|at| *at != first).collect();
    let mut path = follow_links(first, &mut left, links);
    while !left.is_empty() {
        if !round_trip(&mut path, &mut left, start, starts, links) {
            let last = path[path.len() - 1];
            let next = left.remove(first_best(left.iter().map(|to| links[last][*to])));
            path.extend(follow_links(next, &mut left, links));
        }
    }
    let linked: u32 = path.windows(2).map(|pair| links[pair[0]][pair[1]]).sum();
    Ending {
        score: start + linked,
        path: path.into_iter().map(|at| places[at]).collect(),
        continues,
    }
}

/// Follows strong links from one event as far as possible.
fn follow_links(first: usize, left: &mut Vec<usize>, links: &[Vec<u32>]) -> Vec<usize> {
    let mut path = vec![first];
    let mut last = first;
    while let Some(found) = left.iter().position(|to| links[last][*to] == STRONG) {
        last = left.remove(found);
        path.push(last);
    }
    path
}

/// Inserts a walk that begins and ends at an event of the path; returns whether there was one.
fn round_trip(
    path: &mut Vec<usize>,
    left: &mut Vec<usize>,
    start: u32,
    starts: &[(u32, usize)],
    links: &[Vec<u32>],
) -> bool {
    for at in 0..path.len() {
        let begins = |to: usize| match at.checked_sub(1) {
            None => starts[to].0 == start,
            Some(before) => links[path[before]][to] == STRONG,
        };
        let candidates: Vec<usize> = left.iter().copied().filter(|to| begins(*to)).collect();
        for first in candidates {
            let mut rest: Vec<usize> = left.iter().copied().filter(|to| *to != first).collect();
            let trip = follow_links(first, &mut rest, links);
            if links[trip[trip.len() - 1]][path[at]] == STRONG {
                path.splice(at..at, trip);
                *left = rest;
                return true;
            }
        }
    }
    false
}

/// The index of the greatest score, the first of equal ones.
fn first_best(scores: impl Iterator<Item = u32>) -> usize {
    let keyed = scores.enumerate().map(|(at, score)| (score, std::cmp::Reverse(at)));
    keyed.max().map_or(0, |(_, at)| at.0)
}
