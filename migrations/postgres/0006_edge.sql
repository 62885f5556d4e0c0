-- What Workers need, whose ledgers and audit chains are Durable Objects: rows on their way to a
-- chain, whose object a receipt is in, and what the cron notes.

-- Brings an organization's rows of the outbox, the oldest first: [[number, record], ...].
create or replace function public.driftlock_outbox(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_array(o.id, o.record) order by o.id), '[]') from (
        select id, record from driftlock.audit_outbox
        where organization_id = (args ->> 'organization')::uuid
        order by id limit (args ->> 'limit')::integer) o $$;

-- Organizations that have rows there.
create or replace function public.driftlock_outbox_organizations(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(o.organization_id), '[]') from (
        select distinct organization_id from driftlock.audit_outbox
        limit (args ->> 'limit')::integer) o $$;

-- Rows that joined their chain.
create or replace function public.driftlock_outbox_shipped(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    delete from driftlock.audit_outbox where organization_id = (args ->> 'organization')::uuid
        and id <= (args ->> 'last')::bigint;
    return 'null';
end $$;

-- The organizations, nearly always one, whose ids end in these eight hex digits.
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

-- Whether something is due that is done every so many microseconds; whoever is told so does it.
create or replace function public.driftlock_claim(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare now bigint := driftlock.clock(args);
begin
    insert into driftlock.notes as n (name, value) values (args ->> 'name', now::text)
        on conflict (name) do update set value = excluded.value
        where n.value::bigint <= now - (args ->> 'every')::bigint;
    return to_jsonb(found);
end $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (6) on conflict do nothing;
