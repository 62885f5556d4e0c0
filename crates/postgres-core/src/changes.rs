//! Changes by other nodes, read by cursor; they invalidate a node's cache (I5).
//!
//! The cursor stands for the transactions that the last read's snapshot could not see, so that no
//! change is missed in whatever order transactions commit. A change that is read twice is reported
//! once. After each read, [`Change::NothingElse`] states that all earlier commits were reported.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use driftlock_domain::id::OrganizationId;
use driftlock_domain::key::KeyHash;
use serde_json::{Value, json};

/// The database function that returns changes.
pub const CHANGES: &str = "driftlock_changes";
/// The interval of polling.
pub const POLLED_EVERY: Duration = Duration::from_millis(500);
/// The database keeps changes for an hour. A node that could not read them for half an hour
/// invalidates everything.
const REMEMBERED: Duration = Duration::from_secs(1_800);

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The key of this hash was created, changed or removed.
    Key(KeyHash),
    /// The organization was created, changed or removed.
    Organization(OrganizationId),
    /// Anything may have changed: there are too many changes, or the changes are not known.
    Everything,
    /// All changes that were committed before this instant were reported.
    NothingElse(Instant),
}

/// A node's position in the list of changes.
#[derive(Debug)]
pub struct Reader {
    cursor: Option<Value>,
    seen: HashSet<i64>,
    read_at: Instant,
}

impl Reader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { cursor: None, seen: HashSet::new(), read_at: now }
    }

    /// The arguments for [`CHANGES`].
    #[must_use]
    pub fn question(&self) -> Value {
        json!({ "cursor": self.cursor })
    }

    /// Takes the answer to a call that was made at `asked` and answered by `now`, and reports the
    /// changes.
    pub fn take(
        &mut self,
        mut answer: Value,
        asked: Instant,
        now: Instant,
        mut on_change: impl FnMut(Change),
    ) {
        let rows = answer["changes"].as_array();
        // Without a cursor, or with one that is too old, earlier changes are not known. If there
        // are too many changes, the answer has none.
        if self.cursor.is_none() || rows.is_none() || now - self.read_at > REMEMBERED {
            on_change(Change::Everything);
        }
        let mut seen = HashSet::new();
        for row in rows.into_iter().flatten() {
            let Some(id) = row["id"].as_i64() else { continue };
            if seen.insert(id) && !self.seen.contains(&id) {
                on_change(change(row).unwrap_or(Change::Everything));
            }
        }
        on_change(Change::NothingElse(asked));
        self.read_at = now;
        self.seen = seen;
        self.cursor = Some(answer["cursor"].take());
    }
}

fn change(row: &Value) -> Option<Change> {
    let item = row["item"].as_str()?;
    match row["kind"].as_str()? {
        "key" => KeyHash::from_hex(item).map(Change::Key),
        "organization" => item.parse().ok().map(Change::Organization),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(reader: &mut Reader, answer: Value, at: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        reader.take(answer, at, at, |change| changes.push(change));
        changes
    }

    #[test]
    fn a_repeated_change_is_reported_once_and_an_unknown_one_as_everything() {
        let began = Instant::now();
        let mut reader = Reader::new(began);
        let organization = "00000000-0000-0000-0000-000000000007";
        let row = |id: i64| json!({ "id": id, "kind": "organization", "item": organization });
        let first = taken(&mut reader, json!({ "cursor": "5", "changes": [row(1)] }), began);
        let known = Change::Organization(organization.parse().expect("an id"));
        assert_eq!(first, [Change::Everything, known, Change::NothingElse(began)]);
        assert_eq!(reader.question(), json!({ "cursor": "5" }));
        let second = json!({ "cursor": "6", "changes": [row(1), row(2)] });
        assert_eq!(taken(&mut reader, second, began), [known, Change::NothingElse(began)]);
        let odd = json!({ "cursor": "7", "changes": [{ "id": 3, "kind": "later" }] });
        assert_eq!(taken(&mut reader, odd, began)[0], Change::Everything);
        let many = json!({ "cursor": "8", "changes": null });
        assert_eq!(taken(&mut reader, many, began)[0], Change::Everything);
        let late = began + REMEMBERED + Duration::from_secs(1);
        let after = taken(&mut reader, json!({ "cursor": "9", "changes": [] }), late);
        assert_eq!(after, [Change::Everything, Change::NothingElse(late)]);
    }
}
