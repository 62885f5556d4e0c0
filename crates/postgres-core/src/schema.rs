//! Migrations: numbered, idempotent files. Each file stores its own version, so that Supabase's
//! migration command can apply the same files.

use sha2::{Digest, Sha256};

/// One migration file.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The file's name without its extension.
    pub name: &'static str,
    /// The file's statements, to be run in one transaction.
    pub sql: &'static str,
}

impl Migration {
    /// The SHA-256 of the file in hex. The database stores it for each applied file, so that later
    /// changes of the file are found.
    #[must_use]
    pub fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.sql))
    }
}

/// Compares the stored checksums of applied files with this program's; returns the files that
/// differ.
#[must_use]
pub fn changed(applied: &[(i32, String)]) -> Vec<&'static str> {
    let here = |(version, noted): &(i32, String)| {
        let place = usize::try_from(*version).ok()?.checked_sub(1)?;
        let (name, checksum) = CHECKSUMS.get(place)?;
        (checksum != noted).then_some(*name)
    };
    applied.iter().filter_map(here).collect()
}

// Names and checksums of all migrations, in order: `build.rs`.
include!(concat!(env!("OUT_DIR"), "/checksums.rs"));

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            sql: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
        }
    };
}

/// All migrations. A database's version is the number of the last applied one.
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
    fn a_changed_file_is_named_and_what_was_not_noted_is_not() {
        let noted = |place: usize| MIGRATIONS[place].checksum();
        assert_eq!(changed(&[(1, noted(0)), (2, noted(1))]), [""; 0]);
        assert_eq!(changed(&[(1, noted(0)), (3, noted(1))]), ["0003_directory"]);
        assert_eq!(changed(&[(99, noted(0)), (0, noted(0))]), [""; 0]);
    }

    #[test]
    fn the_checksums_are_those_of_the_files() {
        let here = MIGRATIONS.map(|migration| (migration.name, migration.checksum()));
        assert_eq!(CHECKSUMS.map(|(name, checksum)| (name, checksum.to_owned())), here);
    }

    #[test]
    fn each_file_stores_its_number_and_contains_no_transaction_statements() {
        for (number, migration) in (1..).zip(MIGRATIONS) {
            assert!(migration.name.starts_with(&format!("{number:04}_")), "{}", migration.name);
            let note = format!("insert into driftlock.migrations (version) values ({number})");
            assert!(migration.sql.contains(&note), "{}", migration.name);
            let own = migration.sql.lines().any(|line| matches!(line, "begin;" | "commit;"));
            assert!(!own, "{}", migration.name);
        }
    }
}
