-- For Cloudflare Workers, whose ledgers and audit chains are in Durable Objects: the audit outbox,
-- the search for a receipt's object, the notes of scheduled jobs, pending voids, and the mirror.

-- An organization's rows of the audit outbox, the oldest first: [[id, record], ...].
create or replace function public.driftlock_outbox(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_array(o.id, o.record) order by o.id), '[]') from (
        select id, record from driftlock.audit_outbox
        where organization_id = (args ->> 'organization')::uuid
        order by id limit (args ->> 'limit')::integer) o $$;

-- Organizations that have rows in the audit outbox.
create or replace function public.driftlock_outbox_organizations(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(o.organization_id), '[]') from (
        select distinct organization_id from driftlock.audit_outbox
        limit (args ->> 'limit')::integer) o $$;

-- Removes an organization's rows that were appended to its chain.
create or replace function public.driftlock_outbox_shipped(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    delete from driftlock.audit_outbox where organization_id = (args ->> 'organization')::uuid
        and id <= (args ->> 'last')::bigint;
    return 'null';
end $$;

-- The organizations whose ids end in these eight hex digits: nearly always one.
create or replace function public.driftlock_tagged(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(o.id), '[]') from (
        select id from organizations where right(id::text, 8) = args ->> 'tag' limit 8) o $$;
create index if not exists driftlock_organizations_tag on public.organizations (right(id::text, 8));

-- Organizations that are customers at Stripe.
create or replace function public.driftlock_customers(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(o.id order by o.id), '[]') from (
        select id from organizations
        where stripe_customer_id is not null and id > (args ->> 'after')::uuid
        order by id limit (args ->> 'limit')::integer) o $$;

create or replace function public.driftlock_note(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select to_jsonb(n.value) from driftlock.notes n where n.name = args ->> 'name' $$;

create or replace function public.driftlock_set_note(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into driftlock.notes (name, value) values (args ->> 'name', args ->> 'value')
        on conflict (name) do update set value = excluded.value;
    return 'null';
end $$;

-- Returns true at most once in `every` microseconds. The caller that gets true does the work.
create or replace function public.driftlock_claim(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare now bigint := driftlock.clock(args);
begin
    insert into driftlock.notes as n (name, value) values (args ->> 'name', now::text)
        on conflict (name) do update set value = excluded.value
        where n.value::bigint <= now - (args ->> 'every')::bigint;
    return to_jsonb(found);
end $$;

-- Settlements of unknown outcome whose clients got an error: the objects must void them.
create table if not exists driftlock.pending_voids (
    usage_id        uuid primary key,
    organization_id uuid not null,
    due_at          bigint not null
);
create index if not exists pending_voids_by_time on driftlock.pending_voids (due_at);

create or replace function public.driftlock_void_at(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into driftlock.pending_voids (usage_id, organization_id, due_at)
    values ((args ->> 'usage')::uuid, (args ->> 'organization')::uuid, (args ->> 'at')::bigint)
        on conflict (usage_id) do update set due_at = excluded.due_at;
    return 'null';
end $$;

-- The pending voids that are due: [[organization, usage], ...].
create or replace function public.driftlock_voids_due(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_array(v.organization_id, v.usage_id)), '[]') from (
        select organization_id, usage_id from driftlock.pending_voids
        where due_at <= (args ->> 'now')::bigint
        order by due_at limit (args ->> 'limit')::integer) v $$;

create or replace function public.driftlock_void_done(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    delete from driftlock.pending_voids where usage_id = (args ->> 'usage')::uuid;
    return 'null';
end $$;

-- Mirrors a portion of a Durable Object's usage and audit log. Sums replace the sums of earlier
-- portions; receipts and audit entries are added once. No meter reports follow: the object sends
-- its own.
create or replace function public.driftlock_ship(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare organization uuid := (args ->> 'organization')::uuid;
begin
    insert into driftlock.routes (label)
    select x ->> 'route' from jsonb_array_elements(args -> 'sums' || (args -> 'receipts')) x
    group by 1 order by 1 on conflict (label) do nothing;
    insert into driftlock.billing_periods (organization_id, starts_at, ends_at)
    select organization, (x ->> 'start')::bigint, (x ->> 'end')::bigint
    from jsonb_array_elements(args -> 'sums' || (args -> 'receipts')) x
    group by 2, 3 order by 2, 3 on conflict (organization_id, starts_at, ends_at) do nothing;

    insert into usage_counters as c
        (organization_id, tally_id, hour, key_id, route_id, units, requests)
    select organization, p.id, x.hour, x.key, r.id, x.units, x.requests
    from jsonb_to_recordset(args -> 'sums') as x (start bigint, "end" bigint, hour bigint, key uuid,
        route text, units bigint, requests bigint)
    join driftlock.billing_periods p on p.organization_id = organization
        and p.starts_at = x.start and p.ends_at = x."end"
    join driftlock.routes r on r.label = x.route
    on conflict (organization_id, tally_id, hour, key_id, route_id) do update
        set units = excluded.units, requests = excluded.requests;

    insert into driftlock.usage_events as e (id, organization_id, key_id, route_id, units, tally_id,
                                             at, request_id, voided)
    select x.id, organization, x.key, r.id, x.units, p.id, x.at, x.request_id, x.voided
    from jsonb_to_recordset(args -> 'receipts') as x (start bigint, "end" bigint, id uuid, key uuid,
        route text, units bigint, at bigint, request_id text, voided boolean)
    join driftlock.billing_periods p on p.organization_id = organization
        and p.starts_at = x.start and p.ends_at = x."end"
    join driftlock.routes r on r.label = x.route
    on conflict (id) do update set voided = excluded.voided, tally_id = excluded.tally_id;

    insert into audit_logs (organization_id, ledger, seq, at, actor, action, resource, outcome,
                            request_id, ip, details, prev_hash, hash)
    select organization, 'objects', x.seq, driftlock.instant(x.at), x.actor, x.action, x.resource,
           x.outcome, x.request_id, x.ip, x.details, decode(x.prev_hash, 'hex'), decode(x.hash, 'hex')
    from jsonb_to_recordset(args -> 'audit') as x (seq bigint, at bigint, actor text, action text,
        resource text, outcome text, request_id text, ip text, details text, prev_hash text,
        hash text)
    on conflict (organization_id, ledger, seq) do nothing;
    -- The object applies retention and writes an entry about it. Remove the same entries here.
    delete from audit_logs a where a.organization_id = organization and a.ledger = 'objects'
        and a.seq <= (
            select max(split_part(x.details::jsonb ->> 'checkpoint', ':', 1)::bigint)
            from jsonb_to_recordset(args -> 'audit') as x (actor text, action text, details text)
            where x.actor = 'system' and x.action = 'audit.prune');
    return 'null';
end $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (6) on conflict (version) do nothing;
