//! Migrations of an empty database, from each earlier version, twice, several at once, and over the
//! tables of an existing Supabase project, whose rows all stay.

use driftlock_domain::config::Durability;
use driftlock_domain::key::KeyHash;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Directory, EventInbox, Page};
use driftlock_postgres::{DatabaseUrl, OpenError, Timing, VERSION, migrate, migrate_to, open};
use driftlock_testkit::postgres::Cluster;
use futures_executor::block_on;

fn url(cluster: &Cluster, database: &str) -> DatabaseUrl {
    DatabaseUrl::parse(&cluster.url(database)).expect("a URL")
}

/// All parts of a schema, one line each.
fn schema(cluster: &Cluster, database: &str) -> String {
    cluster.sql(
        database,
        "select format('%s.%s %s %s %s', table_schema, table_name, column_name, data_type,
                column_default) from information_schema.columns
         where table_schema in ('public', 'driftlock') union all
         select indexdef from pg_indexes where schemaname in ('public', 'driftlock') union all
         select format('%s %s', oid::regprocedure, md5(prosrc)) from pg_proc
         where pronamespace::regnamespace::text in ('public', 'driftlock') union all
         select format('%s %s %s %s %s', schemaname, tablename, policyname, roles, qual)
         from pg_policies union all
         select format('%s %s', oid::regclass, relacl) from pg_class
         where relnamespace::regnamespace::text in ('public', 'driftlock') union all
         select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1",
    )
}

#[test]
fn whatever_the_version_before_the_schema_is_the_same() {
    let cluster = Cluster::start();
    let fresh = cluster.database(None);
    let done = migrate(&url(&cluster, &fresh)).expect("migrated");
    assert_eq!((done.from, done.to, done.applied.len()), (0, VERSION, VERSION as usize));
    let wanted = schema(&cluster, &fresh);
    for version in 1..=VERSION {
        let database = cluster.database(None);
        let at = url(&cluster, &database);
        assert_eq!(migrate_to(&at, version).expect("migrated").to, version);
        let refused = open(&at, Timing::Caller, Durability::Fsync);
        assert_eq!(refused.is_ok(), version == VERSION, "version {version}");
        let done = migrate(&at).expect("migrated");
        assert_eq!((done.from, done.applied.len()), (version, (VERSION - version) as usize));
        assert_eq!(schema(&cluster, &database), wanted, "from version {version}");
    }
    let again = migrate(&url(&cluster, &fresh)).expect("nothing to do");
    assert_eq!((again.from, again.applied), (VERSION, Vec::new()));
}

/// Supabase's command keeps its own versions, and may run each file again.
#[test]
fn every_file_may_be_run_again() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    migrate(&url(&cluster, &database)).expect("migrated");
    cluster.sql(&database, "insert into organizations (id, name) values (gen_random_uuid(), 'a')");
    let wanted = schema(&cluster, &database);
    for migration in driftlock_postgres::MIGRATIONS {
        cluster.sql(&database, &format!("begin; {}; commit", migration.sql));
    }
    assert_eq!(schema(&cluster, &database), wanted);
    assert_eq!(cluster.sql(&database, "select count(*) from organizations"), "1");
}

/// A file that was changed after it was applied is reported, and nothing is changed.
#[test]
fn a_file_that_was_changed_after_it_was_applied_is_named() {
    let cluster = Cluster::start();
    for version in 1..=VERSION {
        let database = cluster.database(None);
        let at = url(&cluster, &database);
        migrate_to(&at, version).expect("migrated");
        let noted = "select count(*) from driftlock.migrations where checksum ~ '^[0-9a-f]{64}$'";
        assert_eq!(cluster.sql(&database, noted), version.to_string());
        let change = format!(
            "update driftlock.migrations set checksum = repeat('0', 64) where version = {version}"
        );
        cluster.sql(&database, &change);
        let name = driftlock_postgres::MIGRATIONS[version as usize - 1].name;
        let refused = migrate(&at).expect_err("it was changed");
        assert!(matches!(&refused, OpenError::Changed(files) if *files == [name]), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
        let held = "select max(version) from driftlock.migrations";
        assert_eq!(cluster.sql(&database, held), version.to_string(), "nothing happened");
        if version == VERSION {
            let refused = open(&at, Timing::Caller, Durability::Fsync).expect_err("refused, too");
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }
    // Other programs store no checksum: that is no reason to refuse.
    let database = cluster.database(None);
    let at = url(&cluster, &database);
    migrate(&at).expect("migrated");
    cluster.sql(&database, "update driftlock.migrations set checksum = null");
    assert!(open(&at, Timing::Caller, Durability::Fsync).is_ok());
}

#[test]
fn concurrent_migrations_run_one_after_the_other() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    let at = url(&cluster, &database);
    let applied: usize = std::thread::scope(|scope| {
        let both: Vec<_> =
            (0..4).map(|_| scope.spawn(|| migrate(&at).expect("migrated"))).collect();
        both.into_iter().map(|one| one.join().expect("no panic").applied.len()).sum()
    });
    assert_eq!(applied, VERSION as usize, "each file once");
}

/// Tables as projects have them: other columns, rows, policies, references.
const LIVED_IN: &str = "
    create role anon nologin; create role authenticated nologin;
    create role service_role nologin bypassrls;
    create table organizations (id uuid primary key default gen_random_uuid(), name text not null,
        slug varchar(40) unique, plan text default 'standard', created_at timestamptz default now());
    create table organization_members (id bigserial primary key, organization_id uuid not null
        references organizations, user_id uuid not null, role text not null);
    create table api_keys (id uuid primary key default gen_random_uuid(), organization_id uuid not null
        references organizations, name varchar(200) not null, key_hash text not null unique,
        key_prefix text, created_by uuid, last_used_at timestamptz);
    create table subscriptions (id text primary key, organization_id uuid, status text);
    create table usage_counters (id bigserial primary key, organization_id uuid, month date,
        requests bigint not null default 0);
    create table audit_logs (id uuid primary key default gen_random_uuid(), organization_id uuid,
        actor text, action text not null default '', metadata jsonb, created_at timestamptz default now());
    create table stripe_events (id text primary key, type text, payload jsonb,
        created_at timestamptz default now());
    alter table usage_counters enable row level security;
    create policy \"members can do anything\" on usage_counters using (true) with check (true);
    grant all on all tables in schema public to anon, authenticated, service_role;
    insert into organizations (id, name, slug) values
        ('0a000000-0000-0000-0000-000000000000', 'Acme', 'acme'),
        ('0b000000-0000-0000-0000-000000000000', 'Bolt', 'bolt');
    insert into organization_members (organization_id, user_id, role)
        select id, gen_random_uuid(), 'owner' from organizations;
    insert into api_keys (organization_id, name, key_hash, key_prefix) values
        ('0a000000-0000-0000-0000-000000000000', 'ci', repeat('ab', 32), 'sk_live_1'),
        ('0b000000-0000-0000-0000-000000000000', 'web', repeat('cd', 32), null);
    insert into subscriptions values ('sub_1', '0a000000-0000-0000-0000-000000000000', 'active');
    insert into usage_counters (organization_id, month, requests) select id, '2026-01-01', 7
        from organizations;
    insert into audit_logs (organization_id, actor, action) select id, 'x', 'login' from organizations;
    insert into stripe_events (id, type, payload) values ('evt_1', 'invoice.paid', '{}');";

/// The rows of the original columns.
fn rows(cluster: &Cluster, database: &str) -> String {
    let tables = [
        "select id, name, slug, plan, created_at from organizations",
        "select id, organization_id, user_id, role from organization_members",
        "select id, organization_id, name, key_hash, key_prefix, created_by from api_keys",
        "select id, organization_id, status from subscriptions",
        "select id, organization_id, month, requests from usage_counters",
        "select id, organization_id, actor, action, metadata, created_at from audit_logs",
        "select id, type, payload, created_at from stripe_events",
    ];
    tables.map(|query| cluster.sql(database, &format!("{query} order by id"))).join("\n")
}

#[test]
fn existing_tables_are_adopted_with_their_rows() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    cluster.sql(&database, LIVED_IN);
    let before = rows(&cluster, &database);
    let at = url(&cluster, &database);
    let done = migrate(&at).expect("adopted");
    let notice = "policy members can do anything on usage_counters is dropped";
    assert_eq!(done.notices, [notice]);
    assert_eq!(rows(&cluster, &database), before);
    let policies = "select count(*) from pg_policies where policyname not like 'driftlock%'";
    assert_eq!(cluster.sql(&database, policies), "0", "a wider policy would count");

    let store = open(&at, Timing::Caller, Durability::Fsync).expect("opens");
    let page = Page { after: None, limit: 9 };
    let organizations = block_on(store.organizations(page)).expect("read");
    let plans: Vec<_> = organizations.iter().map(|o| (&*o.name, &*o.plan)).collect();
    assert_eq!(plans, [("Acme", "standard"), ("Bolt", "standard")]);
    let hash = KeyHash::from_hex(&"ab".repeat(32)).expect("a hash");
    let key =
        block_on(store.key_by_hash(&hash)).expect("read").expect("existing keys keep working");
    assert_eq!((key.organization, &*key.prefix), (organizations[0].id, "sk_live_1"));
    // Rows of the project stay, however old they are.
    let late = Timestamp::parse("2126-01-01T00:00:00Z").expect("RFC 3339");
    assert_eq!(block_on(store.forget_others(late, 9)).expect("answered"), 0);
    drop(store);
    driftlock_testkit::conformance::run(|| {
        let copy = cluster.database(Some(&database));
        cluster.sql(
            &copy,
            "delete from api_keys; delete from organization_members;
            delete from organizations; delete from stripe_events",
        );
        open(&url(&cluster, &copy), Timing::Caller, Durability::Fsync).expect("opens")
    });
}

#[test]
fn tables_that_cannot_be_adopted_are_named_before_anything_changes() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    cluster.sql(
        &database,
        "create table organizations (id bigserial primary key, name text);
         create table api_keys (id uuid primary key, key_hash bytea, tenant text not null);
         create view audit_logs as select 1 as seq;
         create table stripe_events (id varchar(40) primary key, type varchar(64),
            customer varchar(255) not null, amount integer check (amount > 0));
         create table invoices_mirror (id text primary key, created timestamptz,
            constraint recent check (created > '2020-01-01'));
         insert into organizations (name) values ('kept')",
    );
    let before = schema(&cluster, &database);
    let refused = migrate(&url(&cluster, &database)).expect_err("they cannot be adopted");
    let OpenError::Migration { name, message } = refused else { panic!("{refused}") };
    assert_eq!(name, "0001_tables");
    for problem in [
        "nothing was changed",
        "public.organizations.id is bigint; uuid is needed",
        "public.api_keys.key_hash is bytea; text is needed",
        "public.api_keys.tenant is not ours and NOT NULL: give it a default",
        "public.audit_logs is not a table",
        "public.stripe_events.id is character varying(40); text is needed, or varchar(255)",
        "public.stripe_events.type is character varying(64); text is needed",
        "public.stripe_events.customer is NOT NULL but may be null here: drop its NOT NULL",
        "public.invoices_mirror has the constraint recent CHECK ((created > '2020-01-01",
    ] {
        assert!(message.contains(problem), "{problem}: {message}");
    }
    assert!(!message.contains("amount"), "a column of the project's own may be checked: {message}");
    assert_eq!(schema(&cluster, &database), before);
    assert_eq!(cluster.sql(&database, "select name from organizations"), "kept");
}
