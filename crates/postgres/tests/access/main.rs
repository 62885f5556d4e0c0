//! Access rights in the database, for `anon`, a member of A, a member of B, a user without
//! organization, and the service. Each table and function has a row here; a missing row fails.

mod functions;
mod neighbours;
mod tables;

use driftlock_postgres::{DatabaseUrl, migrate};
use driftlock_testkit::postgres::Cluster;

/// Two organizations, and their members.
pub(crate) const A: &str = "0a000000-0000-0000-0000-000000000000";
pub(crate) const B: &str = "0b000000-0000-0000-0000-000000000000";
const MEMBER_OF_A: &str = "1a000000-0000-0000-0000-000000000000";
const MEMBER_OF_B: &str = "1b000000-0000-0000-0000-000000000000";
const NON_MEMBER: &str = "1c000000-0000-0000-0000-000000000000";

/// The caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anon,
    MemberOfA,
    MemberOfB,
    NonMember,
    /// `authenticated` without the claims of a token: a direct connection.
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

    /// The claims that PostgREST sets for a request.
    fn claims(self) -> String {
        let sub = |user: &str| format!(r#"{{"sub":"{user}","role":"authenticated"}}"#);
        match self {
            Self::Anon => r#"{"role":"anon"}"#.to_owned(),
            Self::MemberOfA => sub(MEMBER_OF_A),
            Self::MemberOfB => sub(MEMBER_OF_B),
            Self::NonMember => sub(NON_MEMBER),
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

    /// As [`Self::new`], in a database in which `before` was run first.
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

    /// The result of each statement, run as `who` and rolled back: `denied`, a number of rows, or
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

/// The subtransaction is rolled back, with the role and the effect of the statement.
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

/// Fails with all disagreements.
pub(crate) fn agree(disagreements: &[String]) {
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}
