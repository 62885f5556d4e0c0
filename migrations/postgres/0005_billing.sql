-- Stripe's events and the billing states that follow from them; meter reports; alerts.

create or replace function driftlock.inbox_entry(e public.stripe_events) returns jsonb
    language sql stable as $$
    select jsonb_build_object('id', e.id, 'type', e.type, 'created', e.created,
        'livemode', e.livemode, 'customer', e.customer, 'received_at', e.received_at,
        'state', e.state, 'attempts', e.attempts, 'processed_at', e.processed_at, 'error', e.error) $$;

create or replace function driftlock.raise(alerts jsonb) returns void language sql as $$
    insert into driftlock.alerts (organization_id, kind, subject, at, details)
    select (x ->> 'organization')::uuid, x ->> 'kind', x ->> 'subject', (x ->> 'at')::bigint,
           x -> 'details' from jsonb_array_elements(alerts) x
    on conflict (organization_id, kind, subject) do nothing $$;

-- Stores a delivery; returns whether the event is new. Only its id makes an event a duplicate. If
-- it violates another unique constraint of the project's table, the call fails, so that Stripe
-- delivers the event again.
create or replace function public.driftlock_receive(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into stripe_events (id, type, created, livemode, customer, received_at, waiting_since,
                               state, due_at, error, body)
    values (args ->> 'event', args ->> 'kind', driftlock.instant((args ->> 'created')::bigint),
        (args ->> 'livemode')::boolean, args ->> 'customer',
        driftlock.instant((args ->> 'received_at')::bigint),
        driftlock.instant((args ->> 'received_at')::bigint), args ->> 'state',
        driftlock.instant((args ->> 'received_at')::bigint), args ->> 'note',
        decode(args ->> 'body', 'hex'))
    on conflict (id) do nothing;
    return to_jsonb(found);
end $$;

create or replace function public.driftlock_due(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(customer order by due, customer), '[]') from (
        select customer, min(due_at) as due from stripe_events
        where state = 'pending' and due_at <= driftlock.instant((args ->> 'now')::bigint)
          and customer is not null
        group by customer order by 2 limit (args ->> 'limit')::integer) c $$;

create or replace function public.driftlock_unassigned_events(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_object('event', id,
        'waiting_since', driftlock.micros(waiting_since), 'body', encode(body, 'hex'))
        order by due_at, id), '[]') from (
        select * from stripe_events
        where state = 'pending' and due_at <= driftlock.instant((args ->> 'now')::bigint)
          and customer is null
        order by due_at, id limit (args ->> 'limit')::integer) e $$;

create or replace function public.driftlock_assign(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update stripe_events set customer = args ->> 'customer', error = null
        where id = args ->> 'event' and customer is null;
    return 'null';
end $$;

-- Marks an event that concerns no single customer as processed.
create or replace function public.driftlock_finish(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update stripe_events set state = 'done', error = null,
        processed_at = driftlock.instant((args ->> 'now')::bigint)
    where id = args ->> 'event' and state = 'pending';
    return 'null';
end $$;

-- Postpones the pending events of a customer, or one event. Events that wait since `give_up_since`
-- or longer become dead letters.
create or replace function public.driftlock_postpone(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update stripe_events set attempts = attempts + 1, error = args ->> 'error',
        state = case when driftlock.micros(waiting_since) <= (args ->> 'give_up_since')::bigint
                     then 'dead' else 'pending' end,
        due_at = driftlock.instant((args ->> 'until')::bigint)
    where state = 'pending' and (id = args ->> 'event' or customer = args ->> 'customer');
    return 'null';
end $$;

create or replace function public.driftlock_customer(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object(
        'known', (select jsonb_build_object('revision', revision, 'organization', organization_id,
                         'standing', standing)
                  from billing_customers where customer = args ->> 'customer' and revision is not null),
        'organization', (select id from organizations
                         where stripe_customer_id = args ->> 'customer' limit 1),
        'events', (select coalesce(jsonb_agg(jsonb_build_object('state', state,
                          'waiting_since', driftlock.micros(waiting_since),
                          'body', encode(body, 'hex')) order by created, id), '[]')
                   from stripe_events
                   where customer = args ->> 'customer' and state <> 'ignored')) $$;

-- Commits everything that follows from a customer's events. Returns false and writes nothing if
-- another process committed since the caller read the customer.
create or replace function public.driftlock_commit(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    who text := args ->> 'customer';
    organization uuid := (args ->> 'organization')::uuid;
    before bigint := (args ->> 'revision')::bigint;
    has text;
begin
    -- Stop if the link between organization and customer changed since the caller read it.
    select o.stripe_customer_id into has from organizations o where o.id = organization for update;
    if has is distinct from args ->> 'linked' or exists (select from organizations o
            where o.stripe_customer_id = who and o.id <> organization) then
        return 'false';
    end if;
    if before = 0 then
        insert into billing_customers as b (customer, organization_id, standing, revision)
        values (who, organization, args -> 'standing', 1)
        on conflict (customer) do update set organization_id = excluded.organization_id,
            standing = excluded.standing, revision = 1 where b.revision is null;
    else
        update billing_customers b set organization_id = organization,
            standing = args -> 'standing', revision = before + 1
        where b.customer = who and b.revision = before;
    end if;
    if not found then
        return 'false';
    end if;
    update organizations o set purchases = args -> 'purchases', stripe_customer_id = who,
        revision = o.revision + 1 where o.id = organization;
    insert into invoices_mirror (id, organization_id, created, invoice)
    select x ->> 'id', organization, driftlock.instant((x ->> 'created')::bigint), x -> 'invoice'
    from jsonb_array_elements(args -> 'invoices') x
    on conflict (id) do update set organization_id = excluded.organization_id,
        created = excluded.created, invoice = excluded.invoice;
    update stripe_events set state = 'done', error = null,
        processed_at = driftlock.instant((args ->> 'at')::bigint)
    where id in (select jsonb_array_elements_text(args -> 'done')) and state <> 'done';
    update stripe_events e set state = 'dead', error = d.value
    from jsonb_each_text(args -> 'dead') d where e.id = d.key;
    perform driftlock.raise(args -> 'alerts');
    perform driftlock.append(organization, args -> 'audit');
    return 'true';
end $$;

create or replace function public.driftlock_events(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(driftlock.inbox_entry(e) order by e.id collate "C"), '[]') from (
        select * from stripe_events where id collate "C" > args ->> 'after'
            and ((args ->> 'state') is null or state = args ->> 'state')
        order by id collate "C" limit (args ->> 'limit')::integer) e $$;

create or replace function public.driftlock_event(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select driftlock.inbox_entry(e) from stripe_events e where e.id = args ->> 'event' $$;

create or replace function public.driftlock_replay(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update stripe_events set state = 'pending', attempts = 0, error = null,
        waiting_since = driftlock.instant((args ->> 'now')::bigint),
        due_at = driftlock.instant((args ->> 'now')::bigint)
    where id = args ->> 'event' and (customer is not null or type in ('charge.dispute.created',
        'charge.dispute.closed', 'v1.billing.meter.error_report_triggered'));
    return driftlock_event(args);
end $$;

-- Customers with processed events that were not checked for removal since `before`. `state in (…)`
-- repeats the condition of the partial index `driftlock_stripe_events_settled`, so that it is used.
create or replace function public.driftlock_aged(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(customer), '[]') from (
        select distinct customer from stripe_events
        where state in ('done', 'ignored') and state = 'done' and customer is not null
          and due_at < driftlock.instant((args ->> 'before')::bigint)
        limit (args ->> 'limit')::integer) c $$;

-- Removes the given events of a customer, which no longer affect its billing state, and records
-- that its other processed events were checked. Returns the number of removed events.
create or replace function public.driftlock_forget(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    before timestamptz := driftlock.instant((args ->> 'before')::bigint);
    forgotten bigint;
begin
    delete from stripe_events where customer = args ->> 'customer' and state = 'done'
        and received_at < before and id in (select jsonb_array_elements_text(args -> 'events'));
    get diagnostics forgotten = row_count;
    update stripe_events set due_at = driftlock.instant((args ->> 'at')::bigint)
        where customer = args ->> 'customer' and state = 'done' and due_at < before;
    return to_jsonb(forgotten);
end $$;

-- Removes a portion of the old events that are ignored or concern no single customer; returns how
-- many. Rows of the project from before the adoption have no body: they stay.
create or replace function public.driftlock_forget_others(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    before timestamptz := driftlock.instant((args ->> 'before')::bigint);
    forgotten bigint;
begin
    -- An array is evaluated once. PostgreSQL could evaluate a subquery for each row, and get
    -- another portion each time.
    delete from stripe_events where id = any (array(
        select id from stripe_events
        where state in ('done', 'ignored') and due_at < before and received_at < before
          and (state = 'ignored' or customer is null) and body <> ''
        limit (args ->> 'limit')::integer));
    get diagnostics forgotten = row_count;
    return to_jsonb(forgotten);
end $$;

create or replace function public.driftlock_invoices(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(invoice order by created desc, id collate "C" desc), '[]') from (
        select * from invoices_mirror m where organization_id = (args ->> 'organization')::uuid
            and invoice is not null
            and ((args ->> 'after') is null or (m.created, m.id collate "C") < (
                select n.created, n.id from invoices_mirror n where n.id = args ->> 'after'
                    and n.organization_id = (args ->> 'organization')::uuid))
        order by created desc, id collate "C" desc limit (args ->> 'limit')::integer) i $$;

create or replace function public.driftlock_reporting(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(id order by id), '[]') from (
        select o.id from organizations o
        where o.stripe_customer_id is not null
          and (o.purchases is not null or o.contract is not null)
          and o.id > (args ->> 'after')::uuid and (
            exists (select from driftlock.meter_outbox m
                    join driftlock.billing_periods p on p.id = m.period_id
                    where m.organization_id = o.id and m.units <> m.sealed_units
                      and least((m.hour + 3600) * 1000000, p.ends_at) <= (args ->> 'now')::bigint)
            or exists (select from driftlock.meter_reports r where r.organization_id = o.id
                       and r.state in ('pending', 'reconcile')
                       and r.due_at <= (args ->> 'now')::bigint))
        order by o.id limit (args ->> 'limit')::integer) o $$;

-- Buckets with unsealed units, and the units and values already sealed in their periods.
create or replace function public.driftlock_open_buckets(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(to_jsonb(b) order by b.hour, b.period_id), '[]') from (
        select m.period_id, m.hour, m.units, m.sealed_units, m.parts, p.starts_at,
            least(p.ends_at, (select min(n.starts_at) from driftlock.billing_periods n
                where n.organization_id = p.organization_id and n.id > p.id
                  and n.starts_at > p.starts_at and n.starts_at < p.ends_at)) as ends_at,
            (select coalesce(sum(r.units), 0) from driftlock.meter_reports r
             where r.organization_id = p.organization_id and r.period_id = m.period_id) as before_units,
            (select coalesce(sum(r.value), 0) from driftlock.meter_reports r
             where r.organization_id = p.organization_id and r.period_id = m.period_id) as before_value
        from (select o.period_id, o.hour from driftlock.meter_outbox o
              where o.organization_id = (args ->> 'organization')::uuid and o.units <> o.sealed_units
                and o.hour < (args ->> 'now')::bigint / 1000000
              group by o.period_id, o.hour order by o.hour, o.period_id limit 1000) open,
        lateral (select open.period_id, open.hour, sum(o.units) as units,
                     sum(o.sealed_units) as sealed_units, sum(o.parts) as parts
                 from driftlock.meter_outbox o
                 where o.organization_id = (args ->> 'organization')::uuid
                   and o.period_id = open.period_id and o.hour = open.hour) m
        join driftlock.billing_periods p on p.id = m.period_id) b $$;

-- Writes reports of buckets. If a bucket changed since it was read, the function returns "changed"
-- and writes nothing.
create or replace function public.driftlock_seal(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'organization')::uuid;
    now bigint := (args ->> 'now')::bigint;
    r record;
begin
    perform from driftlock.usage_ledgers u where u.organization_id = organization for update;
    for r in select * from jsonb_to_recordset(args -> 'reports') as (identifier text,
        period_id bigint, hour bigint, bucket_units bigint, parts integer, units bigint,
        value bigint, "timestamp" bigint, state text, error text, before_units bigint)
    loop
        perform from driftlock.meter_reports m
            where m.organization_id = organization and m.period_id = r.period_id
            having coalesce(sum(m.units), 0) = r.before_units;
        if found then
            perform from driftlock.meter_outbox m
                where m.organization_id = organization and m.period_id = r.period_id
                  and m.hour = r.hour
                having sum(m.units) = r.bucket_units and sum(m.parts) = r.parts;
        end if;
        if not found then
            raise serialization_failure using message = 'a bucket changed while it was sealed';
        end if;
        -- Only one of the bucket's rows counts the bucket's reports (`parts`).
        update driftlock.meter_outbox m set sealed_units = m.units, sealed_at = now,
            parts = m.parts + (m.tally_id = (select min(o.tally_id) from driftlock.meter_outbox o
                where o.organization_id = organization and o.period_id = r.period_id
                  and o.hour = r.hour))::integer
        where m.organization_id = organization and m.period_id = r.period_id and m.hour = r.hour;
        insert into driftlock.meter_reports (identifier, organization_id, period_id, hour, units,
            value, timestamp, sealed_at, state, due_at, error)
        values (r.identifier, organization, r.period_id, r.hour, r.units, r.value, r."timestamp",
            now, r.state, now, r.error);
    end loop;
    return 'null';
exception when serialization_failure then
    return '"changed"';
end $$;

-- Sums over the reports of a period; a correction's hour is -1.
create or replace function driftlock.reported(organization uuid, period bigint,
    out units bigint, out value bigint, out corrections bigint) language sql stable as $$
    select coalesce(sum(r.units), 0), coalesce(sum(r.value) filter (where r.state <> 'dead'), 0),
        count(*) filter (where r.hour = -1)
    from driftlock.meter_reports r
    where r.organization_id = reported.organization and r.period_id = reported.period $$;

create or replace function public.driftlock_reported(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object('period_id', p.id) || to_jsonb(r)
    from driftlock.billing_periods p, driftlock.reported(p.organization_id, p.id) r
    where p.organization_id = (args ->> 'organization')::uuid
      and p.starts_at = (args ->> 'start')::bigint and p.ends_at = (args ->> 'end')::bigint $$;

-- Writes a correction report. Returns false and writes nothing if the sums changed since they were
-- read.
create or replace function public.driftlock_correct(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'organization')::uuid;
    period bigint := (args ->> 'period_id')::bigint;
    now bigint := (args ->> 'now')::bigint;
begin
    perform from driftlock.usage_ledgers u where u.organization_id = organization for update;
    perform from driftlock.reported(organization, period) r
        where r.units = (args ->> 'units')::bigint and r.value = (args ->> 'value')::bigint
          and r.corrections = (args ->> 'corrections')::bigint;
    if not found then
        return 'false';
    end if;
    insert into driftlock.meter_reports (identifier, organization_id, period_id, hour, units, value,
        timestamp, sealed_at, state, due_at)
    values (args ->> 'identifier', organization, period, -1, 0, (args ->> 'correction')::bigint,
        (args ->> 'timestamp')::bigint, now, 'pending', now);
    return 'true';
end $$;

create or replace function driftlock.report(r driftlock.meter_reports) returns jsonb
    language sql stable as $$
    select jsonb_build_object('organization', r.organization_id, 'identifier', r.identifier,
        'value', r.value, 'timestamp', r.timestamp, 'units', r.units, 'state', r.state,
        'attempts', r.attempts, 'first_at', r.first_at, 'done_at', r.done_at,
        'error', r.error) $$;

-- Takes the report that is due longest, unless another one of the organization is taken: reports of
-- an organization are sent one at a time. The caller has the report for 120 seconds.
create or replace function public.driftlock_take_report(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    now bigint := (args ->> 'now')::bigint;
    r driftlock.meter_reports%rowtype;
begin
    perform pg_advisory_xact_lock(hashtextextended('driftlock report ' || (args ->> 'organization'), 0));
    perform from driftlock.meter_reports m
        where m.organization_id = (args ->> 'organization')::uuid
          and m.state in ('pending', 'reconcile') and m.due_at > now and m.taken_until > now;
    if found then
        return null;
    end if;
    select * into r from driftlock.meter_reports m
        where m.organization_id = (args ->> 'organization')::uuid
          and m.state in ('pending', 'reconcile') and m.due_at <= now
        order by m.due_at, m.identifier limit 1 for update skip locked;
    if not found then
        return null;
    end if;
    update driftlock.meter_reports m set due_at = now + 120000000,
        taken_until = now + 120000000 where m.identifier = r.identifier;
    return driftlock.report(r);
end $$;

-- Records an attempt before it is made.
create or replace function public.driftlock_attempt_report(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update driftlock.meter_reports set state = args ->> 'state',
        attempts = (args ->> 'attempts')::integer, first_at = (args ->> 'first_at')::bigint
    where identifier = args ->> 'identifier' and attempts = (args ->> 'attempts_before')::integer
      and state in ('pending', 'reconcile');
    return to_jsonb(found);
end $$;

create or replace function public.driftlock_answer_report(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare fresh boolean := (args ->> 'fresh')::boolean;
begin
    update driftlock.meter_reports set state = args ->> 'state', due_at = (args ->> 'due')::bigint,
        error = args ->> 'error', taken_until = 0,
        done_at = case when args ->> 'state' = 'done' then (args ->> 'now')::bigint end,
        attempts = case when fresh then 0 else attempts end,
        first_at = case when fresh then null else first_at end
    where identifier = args ->> 'identifier' and state in ('pending', 'reconcile');
    return 'null';
end $$;

create or replace function public.driftlock_reports(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(driftlock.report(r) order by r.identifier collate "C"), '[]')
    from driftlock.meter_reports r where r.organization_id = (args ->> 'organization')::uuid
      and r.timestamp >= (args ->> 'start')::bigint and r.timestamp < (args ->> 'end')::bigint $$;

-- Reports of all organizations, in order of identifier.
create or replace function public.driftlock_reports_in(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(driftlock.report(r) order by r.identifier collate "C"), '[]') from (
        select * from driftlock.meter_reports m where m.identifier collate "C" > args ->> 'after'
            and ((args ->> 'state') is null or m.state = args ->> 'state')
        order by m.identifier collate "C" limit (args ->> 'limit')::integer) r $$;

create or replace function public.driftlock_report(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select driftlock.report(r) from driftlock.meter_reports r
    where r.identifier = args ->> 'identifier'
      and r.organization_id = (args ->> 'organization')::uuid $$;

-- Makes a dead report due again; returns whether the report was dead.
create or replace function public.driftlock_revive_report(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare organization uuid := (args ->> 'organization')::uuid;
begin
    update driftlock.meter_reports m set state = 'pending', due_at = (args ->> 'now')::bigint,
        error = null
    where m.identifier = args ->> 'identifier' and m.organization_id = organization
      and m.state = 'dead';
    if not found then
        return 'false';
    end if;
    perform driftlock.append(organization, args -> 'audit');
    return 'true';
end $$;

create or replace function public.driftlock_report_sums(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(to_jsonb(s) order by s.starts_at desc, s.id desc), '[]') from (
        select p.id, p.starts_at, p.ends_at,
            (select coalesce(sum(c.units), 0) from driftlock.counted(p.organization_id, p.id) c)
                as settled,
            o.sealed, o.open, r.acknowledged, r.outstanding, r.dead
        from driftlock.billing_periods p,
        lateral (select sum(sealed_units) as sealed, sum(units - sealed_units) as open
                 from driftlock.meter_outbox m
                 where m.organization_id = p.organization_id and m.period_id = p.id) o,
        lateral (select coalesce(sum(value) filter (where state = 'done'), 0) as acknowledged,
                     coalesce(sum(value) filter (where state in ('pending', 'reconcile')), 0)
                         as outstanding,
                     coalesce(sum(value) filter (where state = 'dead'), 0) as dead
                 from driftlock.meter_reports m
                 where m.organization_id = p.organization_id and m.period_id = p.id) r
        where p.organization_id = (args ->> 'organization')::uuid and o.sealed is not null
        order by p.starts_at desc, p.id desc limit (args ->> 'limit')::integer) s $$;

create or replace function public.driftlock_raise(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform driftlock.raise(args -> 'alerts');
    return 'null';
end $$;

create or replace function public.driftlock_alerts(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_object('organization', organization_id, 'kind', kind,
        'subject', subject, 'at', at, 'details', details) order by at desc, kind, subject), '[]')
    from (select * from driftlock.alerts where organization_id = (args ->> 'organization')::uuid
          order by at desc, kind, subject limit (args ->> 'limit')::integer) a $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (5) on conflict (version) do nothing;
