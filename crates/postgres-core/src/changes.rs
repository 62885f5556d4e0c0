//! What a node is to forget (I5): what others changed, read by cursor.
//!
//! The cursor is what the last reading's snapshot could not see yet, so that nothing is missed in
//! whatever order transactions commit; what comes twice by it is told once. After each reading
//! everything that was committed before it has been told, and that is told, too.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use driftlock_domain::id::OrganizationId;
use driftlock_domain::key::KeyHash;
use serde_json::{Value, json};

/// The function that a [`Reader`] asks.
pub const CHANGES: &str = "driftlock_changes";
/// How often changes are asked for when nothing else says that there are any.
pub const POLLED_EVERY: Duration = Duration::from_millis(500);
/// Changes are kept for an hour; who could not read them for so long forgets everything.
const REMEMBERED: Duration = Duration::from_secs(1_800);

/// What somebody changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The key of this hash was made, changed or removed.
    Key(KeyHash),
    /// An organization was.
    Organization(OrganizationId),
    /// Too much to tell, or what is not known.
    Everything,
    /// Nothing else was committed before this instant.
    NothingElse(Instant),
}

/// Where a node is in the list of changes.
#[derive(Debug)]
pub struct Reader {
    cursor: Option<Value>,
    seen: HashSet<i64>,
    read_at: Instant,
}

impl Reader {
    /// One that has read nothing by this instant.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { cursor: None, seen: HashSet::new(), read_at: now }
    }

    /// What to ask [`CHANGES`] with.
    #[must_use]
    pub fn question(&self) -> Value {
        json!({ "cursor": self.cursor })
    }

    /// Takes the answer to a question that was asked at one instant and answered by another.
    pub fn take(
        &mut self,
        mut answer: Value,
        asked: Instant,
        now: Instant,
        mut told: impl FnMut(Change),
    ) {
        let rows = answer["changes"].as_array();
        // Without a cursor, or with one that is too old, what changed before is not known; too
        // many changes come as none.
        if self.cursor.is_none() || rows.is_none() || now - self.read_at > REMEMBERED {
            told(Change::Everything);
        }
        let mut seen = HashSet::new();
        for row in rows.into_iter().flatten() {
            let Some(id) = row["id"].as_i64() else { continue };
            if seen.insert(id) && !self.seen.contains(&id) {
                told(change(row).unwrap_or(Change::Everything));
            }
        }
        told(Change::NothingElse(asked));
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
        let mut told = Vec::new();
        reader.take(answer, at, at, |change| told.push(change));
        told
    }

    #[test]
    fn what_comes_twice_is_told_once_and_what_is_not_known_is_everything() {
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
