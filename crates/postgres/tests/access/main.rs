//! Who may what in the database, as `anon`, as a member of A, of B, of neither, and as the service:
//! each table and each function has a row here, and one without fails.

mod functions;
mod neighbours;
mod tables;

use driftlock_postgres::{DatabaseUrl, migrate};
use driftlock_testkit::postgres::Cluster;

/// An organization each, and a member each.
pub(crate) const A: &str = "0a000000-0000-0000-0000-000000000000";
pub(crate) const B: &str = "0b000000-0000-0000-0000-000000000000";
const MEMBER_OF_A: &str = "1a000000-0000-0000-0000-000000000000";
const MEMBER_OF_B: &str = "1b000000-0000-0000-0000-000000000000";
const NOBODYS: &str = "1c000000-0000-0000-0000-000000000000";

/// Whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anon,
    MemberOfA,
    MemberOfB,
    NonMember,
    /// `authenticated` without a token's claims: a connection of its own.
    Unnamed,
    Service,
}

impl Who {
    pub(crate) const ALL: [Self; 6] = [
        Self::Anon,
        Self::MemberOfA,
        Self::MemberOfB,
        Self::NonMember,
        Self::Unnamed,
        Self::Service,
    ];

    fn role(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::MemberOfA | Self::MemberOfB | Self::NonMember | Self::Unnamed => "authenticated",
            Self::Service => "service_role",
        }
    }

    /// As PostgREST sets them for a request.
    fn claims(self) -> String {
        let sub = |user: &str| format!(r#"{{"sub":"{user}","role":"authenticated"}}"#);
        match self {
            Self::Anon => r#"{"role":"anon"}"#.to_owned(),
            Self::MemberOfA => sub(MEMBER_OF_A),
            Self::MemberOfB => sub(MEMBER_OF_B),
            Self::NonMember => sub(NOBODYS),
            Self::Unnamed => String::new(),
            Self::Service => r#"{"role":"service_role"}"#.to_owned(),
        }
    }
}

/// A migrated database with rows of A and of B in every table.
pub(crate) struct Database {
    cluster: Cluster,
    name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self::over("select 1")
    }

    /// The same in a database in which something was before.
    pub(crate) fn over(before: &str) -> Self {
        let cluster = Cluster::start();
        let name = cluster.database(None);
        cluster.sql(&name, before);
        migrate(&DatabaseUrl::parse(&cluster.url(&name)).expect("a URL")).expect("migrated");
        let database = Self { cluster, name };
        database.sql(PROBE);
        for (organization, member) in [(A, MEMBER_OF_A), (B, MEMBER_OF_B)] {
            database.sql(&tables::rows_of(organization, member));
        }
        database
    }

    pub(crate) fn sql(&self, statements: &str) -> String {
        self.cluster.sql(&self.name, statements)
    }

    /// What becomes of each statement, run as `who` and taken back: `denied`, a number of rows, or
    /// another error.
    pub(crate) fn probe(&self, who: Who, statements: &[String]) -> Vec<String> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let list: Vec<String> = statements.iter().map(|statement| quoted(statement)).collect();
        let query = format!(
            "select replace(probe({}, {}, s), E'\\n', ' ') \
             from unnest(array[{}]) with ordinality t(s, n) order by n",
            quoted(who.role()),
            quoted(&who.claims()),
            list.join(", ")
        );
        let outcomes: Vec<String> = self.sql(&query).lines().map(Into::into).collect();
        assert_eq!(outcomes.len(), statements.len());
        outcomes
    }
}

/// The role and whatever the statement did are undone with the subtransaction.
const PROBE: &str = "create function probe(who text, claims text, statement text) returns text \
    language plpgsql as $$
declare seen bigint;
begin
    begin
        perform set_config('request.jwt.claims', claims, true);
        perform set_config('role', who, true);
        execute statement;
        get diagnostics seen = row_count;
        raise exception sqlstate 'UNDO1';
    exception
        when sqlstate 'UNDO1' then return seen::text;
        when insufficient_privilege then return 'denied';
        when others then return sqlerrm;
    end;
end $$";

/// Every disagreement at once.
pub(crate) fn agree(disagreements: &[String]) {
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}
