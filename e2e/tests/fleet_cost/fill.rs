//! A database that has been in use for long: organizations, keys and usage, made by PostgreSQL itself.

use super::support::fleet::Fleet;

/// The organization that is measured, in the middle of the others.
pub(crate) const MEASURED: &str = "00000000-0000-7000-8000-000000000100";
const ORGANIZATIONS: u64 = 1_000;

/// The key of this number, as its owner has it.
pub(crate) fn secret(number: u64) -> String {
    format!("bench-{number}")
}

/// Makes so many keys of all organizations, and so many usage events of the last 30 days.
pub(crate) fn fill(fleet: &Fleet, keys: u64, events: u64) {
    // As bulk loading is done: the rows first, the triggers' notes of each not at all.
    let script = format!(
        "set session_replication_role = replica;
        set synchronous_commit = off;
        insert into organizations (id, name, plan, quota)
        select ('00000000-0000-7000-8000-' || lpad(to_hex(o), 12, '0'))::uuid, 'o' || o, 'developer',
            '{{\"included\": 2000000000}}'
        from generate_series(0, {ORGANIZATIONS} - 1) o;
        insert into api_keys (id, organization_id, key_hash, name, key_prefix, requests_per_minute)
        select ('00000000-0000-7000-8001-' || lpad(to_hex(k), 12, '0'))::uuid,
            ('00000000-0000-7000-8000-' || lpad(to_hex(k % {ORGANIZATIONS}), 12, '0'))::uuid,
            encode(sha256(convert_to('bench-' || k, 'UTF8')), 'hex'), 'k' || k, 'bench', 1000000000
        from generate_series(0, {keys} - 1) k;
        insert into driftlock.routes (label) values ('POST /api/v1/anomalies/detect')
            on conflict do nothing;
        insert into driftlock.billing_periods (organization_id, starts_at, ends_at, last_settled_at)
        select id, driftlock.micros(date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'),
            driftlock.micros((date_trunc('month', now() at time zone 'UTC') + interval '1 month')
                at time zone 'UTC'), driftlock.micros(now()) from organizations;
        select driftlock.keep_partitions(driftlock.micros(now() - interval '30 days'), 0);"
    );
    fleet.sql(&script);
    if events > 0 {
        fleet.sql(&usage(events));
    }
    fleet.sql("vacuum (analyze)");
}

/// Events spread evenly over organizations and 30 days, and the sums of them.
fn usage(events: u64) -> String {
    format!(
        "set synchronous_commit = off; set maintenance_work_mem = '1GB'; set work_mem = '256MB';
        create temporary table p as select organization_id as o, min(id) as id
            from driftlock.billing_periods group by 1;
        create unique index on p (o);
        insert into driftlock.usage_events (id, organization_id, key_id, route_id, units, period_id,
            at, request_id)
        select (lpad(to_hex(at / 1000), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
                || lpad(to_hex(n), 15, '0'))::uuid, p.o,
            ('00000000-0000-7000-8001-' || lpad(to_hex(n % {ORGANIZATIONS}), 12, '0'))::uuid,
            1, 1, p.id, at, 'r' || n
        from (select n, driftlock.micros(now()) - (({events} - n) * (2592000000000.0 / {events}))::bigint
                  as at from generate_series(1, {events}) n) e
        join p on p.o = ('00000000-0000-7000-8000-' || lpad(to_hex(n % {ORGANIZATIONS}), 12, '0'))::uuid;
        insert into usage_counters (organization_id, period_id, hour, key_id, route_id, units, requests)
        select organization_id, period_id, at / 3600000000 * 3600, key_id, route_id, sum(units), count(*)
        from driftlock.usage_events group by 1, 2, 3, 4, 5;
        insert into driftlock.meter_outbox (organization_id, period_id, hour, units, sealed_units,
            parts, sealed_at)
        select organization_id, period_id, hour, sum(units), sum(units), 1, 0 from usage_counters
        group by 1, 2, 3;"
    )
}
