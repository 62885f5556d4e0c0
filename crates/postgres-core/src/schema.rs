//! Migrations: numbered files, each idempotent, each noting its version itself, so that Supabase's
//! own migration command applies the same ones.

use sha2::{Digest, Sha256};

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its name without the ending.
    pub name: &'static str,
    /// Its statements, to be run in one transaction.
    pub sql: &'static str,
}

impl Migration {
    /// What tells this text from any other: SHA-256, in hex. A database notes it of each file that
    /// was applied, so that one that was changed afterwards is found.
    #[must_use]
    pub fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.sql))
    }
}

/// Of files that a database has applied, with the checksums that it noted, those that are others here.
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
