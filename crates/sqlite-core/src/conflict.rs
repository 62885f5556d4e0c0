//! The unique constraint that a write violated. SQLite names it by its columns.
//!
//! Only our constraints may mean "it exists already" or "another commit came first". A violation of
//! a unique index that somebody added is an error, so that a failed write never counts as done.

const FAILED: &str = "UNIQUE constraint failed: ";
/// The columns that identify organizations and keys.
const IDENTITIES: [&str; 4] =
    ["organizations.id", "organizations.stripe_customer_id", "api_keys.id", "api_keys.key_hash"];
/// Each revision of a customer's billing state can be inserted once.
const REVISIONS: &str = "billing_revisions.customer, billing_revisions.revision";

/// Whether a database's message says that an organization or key exists already.
#[must_use]
pub fn exists_already(message: &str) -> bool {
    columns(message).is_some_and(|columns| IDENTITIES.contains(&columns))
}

/// Whether a database's message says that another commit for the customer came first.
#[must_use]
pub fn came_second(message: &str) -> bool {
    columns(message) == Some(REVISIONS)
}

/// The columns of the violated constraint. D1 appends a colon and an error code.
fn columns(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(FAILED)?;
    rest.split([':', '\n', ')']).next().map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_constraints_mean_anything() {
        let d1 = |columns: &str| {
            format!("D1_ERROR: UNIQUE constraint failed: {columns}: SQLITE_CONSTRAINT")
        };
        for own in IDENTITIES {
            assert!(exists_already(&d1(own)) && !came_second(&d1(own)), "{own}");
        }
        assert!(came_second(&d1(REVISIONS)) && !exists_already(&d1(REVISIONS)));
        assert!(came_second(&format!("UNIQUE constraint failed: {REVISIONS}")));
        for foreign in [
            d1("organizations.name"),
            d1("organizations.id, organizations.name"),
            d1("stripe_events.type"),
            d1("billing_revisions.revision"),
            d1("index 'by_lower_name'"),
            "D1_ERROR: NOT NULL constraint failed: organizations.id".to_owned(),
            "the network is away".to_owned(),
        ] {
            assert!(!exists_already(&foreign) && !came_second(&foreign), "{foreign}");
        }
    }
}
