//! Migrations: numbered files, applied in order, each in one transaction.

/// All migrations. The version of a database is the number of applied migrations.
pub const MIGRATIONS: [&str; 6] = [
    include_str!("../../../migrations/sqlite/0001_init.sql"),
    include_str!("../../../migrations/sqlite/0002_edge.sql"),
    include_str!("../../../migrations/sqlite/0003_audit_retention.sql"),
    include_str!("../../../migrations/sqlite/0004_stripe.sql"),
    include_str!("../../../migrations/sqlite/0005_reports.sql"),
    include_str!("../../../migrations/sqlite/0006_event_retention.sql"),
];

/// The statements of a migration without comments, for a database that takes one statement at a
/// time.
pub fn statements(migration: &str) -> impl Iterator<Item = String> {
    let lines = migration.lines().map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    let parts: Vec<String> = text.split(';').map(|part| part.trim().to_owned()).collect();
    parts.into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_come_apart_into_statements() {
        for statement in MIGRATIONS.into_iter().flat_map(statements) {
            let first = statement.split(' ').next().unwrap_or_default();
            assert!(["CREATE", "ALTER"].contains(&first), "{statement}");
            assert_eq!(statement.matches('(').count(), statement.matches(')').count());
        }
    }

    #[test]
    fn comments_are_no_statements() {
        let parts: Vec<_> = statements("-- a;\nA (\n b, -- c;\n d\n);\nE;\n").collect();
        assert_eq!(parts, ["A (\n b, \n d\n)", "E"]);
    }
}
