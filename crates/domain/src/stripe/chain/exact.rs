//! Finds the best order of a few events by the Held-Karp algorithm: for each subset and each last
//! event in it, the best order of that subset.

use super::Ending;

/// For each event, the best order of all events that ends with it.
pub(super) fn search(places: &[usize], starts: &[(u32, usize)], links: &[Vec<u32>]) -> Vec<Ending> {
    let count = places.len();
    let full = (1_usize << count) - 1;
    // The best score and the event before the last one, indexed by subset, then by last event.
    let mut table = vec![(0_u32, count); (full + 1) * count];
    for subset in 1..=full {
        for last in (0..count).filter(|last| subset & (1 << last) != 0) {
            let rest = subset & !(1 << last);
            table[subset * count + last] = if rest == 0 {
                (starts[last].0, count)
            } else {
                (0..count)
                    .filter(|from| rest & (1 << from) != 0)
                    .map(|from| (table[rest * count + from].0 + links[from][last], from))
                    .max()
                    .unwrap_or((0, count))
            };
        }
    }
    let ending = |last: usize| {
        let (mut subset, mut at, mut reversed) = (full, last, Vec::new());
        loop {
            reversed.push(at);
            let (_, from) = table[subset * count + at];
            if from == count {
                break;
            }
            subset &= !(1 << at);
            at = from;
        }
        let continues = starts[at].1;
        let path = reversed.iter().rev().map(|at| places[*at]).collect();
        Ending { score: table[full * count + last].0, path, continues }
    };
    (0..count).map(ending).collect()
}
