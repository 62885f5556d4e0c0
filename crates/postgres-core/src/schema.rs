//! Migrations: numbered files, each idempotent, each noting its version itself, so that Supabase's
//! own migration command applies the same ones.

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its name without the ending.
    pub name: &'static str,
    /// Its statements, to be run in one transaction.
    pub sql: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            sql: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
        }
    };
}

/// All of them; a database's version is the number of the last one applied.
pub const MIGRATIONS: [Migration; 6] = [
    migration!("0001_tables"),
    migration!("0002_access"),
    migration!("0003_directory"),
    migration!("0004_ledger"),
    migration!("0005_billing"),
    migration!("0006_edge"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_notes_its_number_and_leaves_transactions_to_whoever_applies_it() {
        for (number, migration) in (1..).zip(MIGRATIONS) {
            assert!(migration.name.starts_with(&format!("{number:04}_")), "{}", migration.name);
            let note = format!("insert into driftlock.migrations (version) values ({number})");
            assert!(migration.sql.contains(&note), "{}", migration.name);
            let own = migration.sql.lines().any(|line| matches!(line, "begin;" | "commit;"));
            assert!(!own, "{}", migration.name);
        }
    }
}
