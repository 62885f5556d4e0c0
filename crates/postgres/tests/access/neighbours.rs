//! Tables of the project with names that belong to billing: they keep their rows, and are protected
//! like the gateway's tables.

use super::{A, B, Database, Who, agree};

/// Tables that are open to everybody, as a project's tables are by default.
const BEFORE: &str = "
    create role anon nologin; create role authenticated nologin;
    create role service_role nologin bypassrls;
    create table subscriptions (id text primary key, organization_id uuid, status text);
    create table quota_policy (organization_id uuid primary key, cap bigint);
    create table dunning_states (id text primary key, organization_id uuid, state text);
    create table plans (id text primary key, price integer);
    create table plan_price_map (price text primary key, plan text);
    alter table subscriptions enable row level security;
    create policy \"members can do anything\" on subscriptions using (true) with check (true);
    grant all on all tables in schema public to anon, authenticated, service_role;
    insert into subscriptions values ('a', '0a000000-0000-0000-0000-000000000000', 'active'),
        ('b', '0b000000-0000-0000-0000-000000000000', 'active');
    insert into quota_policy select organization_id, 5 from subscriptions;
    insert into dunning_states select id, organization_id, 'late' from subscriptions;
    insert into plans values ('a', 49), ('b', 249);
    insert into plan_price_map values ('a', 'standard'), ('b', 'growth')";

const OWNED: [&str; 3] = ["subscriptions", "quota_policy", "dunning_states"];
const LISTS: [&str; 2] = ["plans", "plan_price_map"];

#[test]
fn project_tables_stay_and_only_the_service_writes_them() {
    let database = Database::over(BEFORE);
    let mut wrong = Vec::new();
    for who in Who::ALL {
        for name in OWNED.into_iter().chain(LISTS) {
            assert_eq!(database.sql(&format!("select count(*) from {name}")), "2", "{name}");
            let column = database.sql(&format!(
                "select attname from pg_attribute where attrelid = '{name}'::regclass and attnum = 1"
            ));
            let statements = [
                format!("insert into {name} select * from {name} where false"),
                format!("update {name} set {column} = {column}"),
                format!("delete from {name}"),
                format!("truncate {name}"),
            ];
            for (statement, found) in statements.iter().zip(database.probe(who, &statements)) {
                if (found == "denied") == (who == Who::Service) {
                    wrong.push(format!("{who:?}: {statement}: {found}"));
                }
            }
        }
    }
    agree(&wrong);
}

#[test]
fn a_member_reads_its_organizations_rows_and_everybody_the_price_list() {
    let database = Database::over(BEFORE);
    let mut wrong = Vec::new();
    for who in Who::ALL {
        let owned = match who {
            Who::Anon => ["denied"; 3],
            Who::MemberOfA => ["1", "0", "1"],
            Who::MemberOfB => ["0", "1", "1"],
            Who::NonMember | Who::Unnamed => ["0"; 3],
            Who::Service => ["1", "1", "2"],
        };
        for name in OWNED {
            let of = |organization: &str| {
                format!("select 1 from {name} where organization_id = '{organization}'")
            };
            let found = database.probe(who, &[of(A), of(B), format!("select * from {name}")]);
            if found != owned {
                wrong.push(format!("{who:?} reads {found:?} of {name}, not {owned:?}"));
            }
        }
        for name in LISTS {
            let found = database.probe(who, &[format!("select * from {name}")]);
            if found != ["2"] {
                wrong.push(format!("{who:?} reads {found:?} of {name}"));
            }
        }
    }
    agree(&wrong);
}
