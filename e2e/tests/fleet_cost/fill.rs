//! A database that has been in use for long: organizations, keys and usage, made by PostgreSQL itself.
//!
//! It is filled as bulk loading is done: nothing is synced, two connections insert, indices are made
//! afterwards. What is measured then is as `driftlock migrate` made it, under a server that runs as in
//! production. `DRIFTLOCK_BENCH_FOLDER` names a folder to keep it in: a second measurement with the
//! same numbers in the same month fills nothing.

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use driftlock_testkit::postgres::Cluster;

use super::support::fleet::Fleet;

/// The organization that is measured, in the middle of the others.
pub(crate) const MEASURED: &str = "00000000-0000-7000-8000-000000000100";
const ORGANIZATIONS: u64 = 1_000;
const NAME: &str = "filled";
/// Rows of one statement.
const PORTION: u64 = 250_000;
const MONTH_MICROS: u64 = 30 * 86_400_000_000;

/// As a server runs in production: everything is synced.
pub(crate) const PRODUCTION: [&str; 4] = [
    "fsync=on",
    "shared_buffers=1GB",
    "max_wal_size=4GB",
    "shared_preload_libraries=pg_stat_statements",
];
const FILLING: [&str; 9] = [
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=32GB",
    "checkpoint_timeout=1h",
    "shared_buffers=2GB",
    "maintenance_work_mem=1GB",
    "autovacuum=off",
];

/// A fleet without gateways yet, on a database with so many keys of all organizations and so many usage
/// events of the last 30 days.
pub(crate) fn filled(backend_url: &str, config: &str, keys: u64, events: u64) -> Fleet {
    let kept = std::env::var_os("DRIFTLOCK_BENCH_FOLDER").filter(|_| events > 0);
    let cluster = match kept.map(PathBuf::from) {
        Some(folder) => Cluster::start_in(&folder, &FILLING),
        None => Cluster::start_with(&FILLING),
    };
    let month = cluster.sql("postgres", "select to_char(now() at time zone 'UTC', 'YYYY-MM')");
    let mark = format!("{keys} keys, {events} usage rows, {month}");
    let found =
        "select shobj_description(oid, 'pg_database') from pg_database where datname = 'filled'";
    let is_filled = cluster.sql("postgres", found) == mark;
    if !is_filled {
        cluster.sql("postgres", &format!("drop database if exists {NAME}"));
        cluster.sql("postgres", &format!("create database {NAME} template template0"));
    }
    let mut fleet = Fleet::start_in(cluster, NAME, config, backend_url);
    if is_filled {
        println!("  filled by an earlier run");
    } else {
        fill(&fleet, keys, events);
        fleet.sql(&format!("comment on database {NAME} is '{mark}'"));
    }
    fleet.cluster.restart_with(&PRODUCTION);
    fleet
}

fn fill(fleet: &Fleet, keys: u64, events: u64) {
    let began = Instant::now();
    let done = |what: &str| println!("  {:>4.0} s  {what}", began.elapsed().as_secs_f64());
    fleet.sql(&standing());
    by_portions(keys, |first, last| drop(fleet.sql(&some_keys(first, last))));
    done(&format!("{keys} keys"));
    let made = indices(fleet);
    if events > 0 {
        let again = unindexed(fleet);
        usage(fleet, events, &done);
        again.iter().for_each(|statement| drop(fleet.sql(statement)));
        done("indices");
        fleet.sql(SUMS);
        done("sums");
    }
    fleet.sql("vacuum (analyze)");
    fleet.cluster.sync();
    done("vacuumed and analyzed");
    assert_eq!(indices(fleet), made, "all indices are there again");
}

/// Has two connections do what there is to do for this many rows, a portion at a time, in turns.
fn by_portions(rows: u64, portion: impl Fn(u64, u64) + Sync) {
    let (portion, size) = (&portion, PORTION.try_into().expect("it fits"));
    thread::scope(|scope| {
        for worker in 0..2 {
            let own = (0..rows).step_by(size).skip(worker).step_by(2);
            scope
                .spawn(move || own.for_each(|first| portion(first, rows.min(first + PORTION) - 1)));
        }
    });
}

/// Keys by number; the triggers' notes of each not at all.
fn some_keys(first: u64, last: u64) -> String {
    format!(
        "set session_replication_role = replica;
        insert into api_keys (id, organization_id, key_hash, name, key_prefix, requests_per_minute)
        select ('00000000-0000-7000-8001-' || lpad(to_hex(k), 12, '0'))::uuid,
            ('00000000-0000-7000-8000-' || lpad(to_hex(k % {ORGANIZATIONS}), 12, '0'))::uuid,
            encode(sha256(convert_to('bench-' || k, 'UTF8')), 'hex'), 'k' || k, 'bench', 1000000000
        from generate_series({first}, {last}) k"
    )
}

/// Organizations and their periods.
fn standing() -> String {
    format!(
        "set session_replication_role = replica;
        insert into organizations (id, name, plan, quota)
        select ('00000000-0000-7000-8000-' || lpad(to_hex(o), 12, '0'))::uuid, 'o' || o, 'developer',
            '{{\"included\": 2000000000}}'
        from generate_series(0, {ORGANIZATIONS} - 1) o;
        insert into driftlock.routes (label) values ('POST /api/v1/anomalies/detect')
            on conflict (label) do nothing;
        insert into driftlock.billing_periods (organization_id, starts_at, ends_at, last_settled_at)
        select id, driftlock.micros(date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'),
            driftlock.micros((date_trunc('month', now() at time zone 'UTC') + interval '1 month')
                at time zone 'UTC'), driftlock.micros(now()) from organizations;
        select driftlock.keep_partitions(driftlock.micros(now() - interval '30 days'), 0);
        create unlogged table filling as
        select row_number() over (order by o.id) - 1 as n, o.id as organization_id,
            ('00000000-0000-7000-8001-' || right(o.id::text, 12))::uuid as key_id, p.id as period_id,
            nextval(pg_get_serial_sequence('driftlock.billing_periods', 'id')) as tally_id,
            r.id as route_id
        from organizations o join driftlock.billing_periods p on p.organization_id = o.id,
            driftlock.routes r;
        analyze filling"
    )
}

/// Every index of usage events, whoever's partition.
fn indices(fleet: &Fleet) -> String {
    // The partitions' are named by PostgreSQL.
    fleet.sql(
        "select indrelid::regclass, indisvalid, indisunique, indisprimary, \
            regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON', 'INDEX ON') \
         from pg_index where indrelid = 'driftlock.usage_events'::regclass \
            or indrelid in (select inhrelid from pg_inherits \
                            where inhparent = 'driftlock.usage_events'::regclass) \
         order by 1, 5",
    )
}

/// Drops the indices of usage events; what makes them again.
fn unindexed(fleet: &Fleet) -> Vec<String> {
    let again = "select format('alter table driftlock.usage_events add constraint %I %s', conname, \
            pg_get_constraintdef(oid)) from pg_constraint \
            where conrelid = 'driftlock.usage_events'::regclass and contype = 'p' \
         union all select replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') from pg_index \
            where indrelid = 'driftlock.usage_events'::regclass and not indisprimary";
    let again = fleet.sql(again).lines().map(str::to_owned).collect();
    fleet.sql(
        "do $$ declare name text; begin \
            for name in select conname from pg_constraint \
                where conrelid = 'driftlock.usage_events'::regclass and contype = 'p' loop \
                execute format('alter table driftlock.usage_events drop constraint %I', name); \
            end loop; \
            for name in select indexrelid::regclass from pg_index \
                where indrelid = 'driftlock.usage_events'::regclass loop \
                execute 'drop index ' || name; \
            end loop; end $$",
    );
    again
}

/// Events spread evenly over organizations and 30 days, in order of time but for what two connections
/// do at once.
fn usage(fleet: &Fleet, events: u64, done: &(impl Fn(&str) + Sync)) {
    let now: u64 = fleet.sql("select driftlock.micros(now())").parse().expect("a number");
    let step = MONTH_MICROS / events;
    by_portions(events, |first, last| {
        fleet.sql(&format!(
            "insert into driftlock.usage_events (id, organization_id, key_id, route_id, units,
                tally_id, at, request_id)
            select encode(int8send(at / 1000 << 16 | 28672 | e.n % 4096)
                    || int8send(e.n | -9223372036854775807 - 1), 'hex')::uuid,
                f.organization_id, f.key_id, f.route_id, 1, f.tally_id, at, 'r' || e.n
            from (select n, {now} - ({events} - n) * {step} as at
                  from generate_series({first}::bigint, {last}) n) e
            join filling f on f.n = e.n % {ORGANIZATIONS}"
        ));
        if (last + 1) % (20 * PORTION) == 0 {
            done(&format!("{} usage rows", last + 1));
        }
    });
    done(&format!("{events} usage rows"));
}

const SUMS: &str = "
    set work_mem = '256MB';
    create unlogged table sums as
        select organization_id, tally_id, at / 3600000000 * 3600 as hour, key_id, route_id,
            sum(units) as units, count(*) as requests
        from driftlock.usage_events group by 1, 2, 3, 4, 5;
    insert into usage_counters (organization_id, tally_id, hour, key_id, route_id, units, requests)
        select * from sums order by 1, 2, 3;
    insert into driftlock.meter_outbox (organization_id, period_id, tally_id, hour, units,
        sealed_units, parts, sealed_at)
    select s.organization_id, f.period_id, s.tally_id, s.hour, sum(units), sum(units), 1, 0
    from sums s join filling f using (tally_id) group by 1, 2, 3, 4 order by 1, 3, 4;
    drop table sums, filling";

/// The key of this number, as its owner has it.
pub(crate) fn secret(number: u64) -> String {
    format!("bench-{number}")
}
