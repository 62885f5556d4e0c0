-- The ledger: leases, settlement, receipts, idempotency. Invariant I4: used + reserved never
-- exceeds the cap, since leasing and settling lock the organization's row in `usage_ledgers`.
--
-- A usage batch (`tally_id`) is what a ledger counts between two period changes.

create or replace function driftlock.route(wanted text) returns bigint language plpgsql as $$
declare id bigint;
begin
    select r.id into id from driftlock.routes r where r.label = wanted;
    if not found then
        insert into driftlock.routes (label) values (wanted) on conflict (label) do nothing;
        select r.id into strict id from driftlock.routes r where r.label = wanted;
    end if;
    return id;
end $$;

-- Idempotency records from this instant on still count; older ones have expired.
create or replace function driftlock.kept_since(now bigint) returns bigint language sql immutable
    as $$ select now - 86400000000 $$;

-- The smallest UUIDv7 of an instant.
create or replace function driftlock.first_id(at bigint) returns uuid language sql immutable
    as $$ select rpad(lpad(to_hex(greatest(at, 0) / 1000), 12, '0'), 32, '0')::uuid $$;

-- The usage batch that a settlement belongs to now: the one at settlement, or a part of it if the
-- batch was split since. If several parts contain the settlement's time, the first part has it.
create or replace function driftlock.part(batch bigint, at bigint) returns bigint
    language plpgsql stable as $$
declare next bigint;
begin
    loop
        select min(p.part_id) into next from driftlock.tally_parts p
            where p.tally_id = batch and p.since <= part.at and part.at < p.until;
        if next is null then
            return batch;
        end if;
        batch := next;
    end loop;
end $$;

-- The period in which a settlement counts.
create or replace function driftlock.period_of(e driftlock.usage_events) returns bigint
    language sql stable as $$
    select coalesce((select m.period_id from driftlock.meter_outbox m
        where m.organization_id = e.organization_id and m.tally_id = driftlock.part(e.tally_id, e.at)
          and m.hour = e.at / 3600000000 * 3600), e.tally_id) $$;

-- Whether a bucket was sealed, so that Stripe may already have its report.
create or replace function driftlock.is_sealed(organization uuid, period bigint, hour bigint)
    returns boolean language sql stable as $$
    select exists (select from driftlock.meter_outbox m where m.organization_id = is_sealed.organization
        and m.period_id = is_sealed.period and m.hour = is_sealed.hour and m.sealed_at is not null) $$;

-- The usage in a period, by hour, key and route: settlements by leases, and what was copied from
-- Durable Objects.
create or replace function driftlock.counted(organization uuid, period bigint)
    returns table (hour bigint, key_id uuid, route_id bigint, units bigint, requests bigint)
    language sql stable as $$
    select c.hour, c.key_id, c.route_id, c.units, c.requests
    from driftlock.meter_outbox m join public.usage_counters c
        on c.organization_id = m.organization_id and c.tally_id = m.tally_id and c.hour = m.hour
    where m.organization_id = counted.organization and m.period_id = counted.period
    union all
    select c.hour, c.key_id, c.route_id, c.units, c.requests from public.usage_counters c
    where c.organization_id = counted.organization and c.tally_id = counted.period $$;

-- The units of a period. For leases it reads the outbox, which has the same sums as the counters in
-- far fewer rows.
create or replace function driftlock.used(organization uuid, period bigint) returns bigint
    language sql stable as $$
    select (select coalesce(sum(m.units), 0) from driftlock.meter_outbox m
            where m.organization_id = used.organization and m.period_id = used.period)::bigint
        + (select coalesce(sum(c.units), 0) from public.usage_counters c
           where c.organization_id = used.organization and c.tally_id = used.period)::bigint $$;

-- Unsealed usage within bounds that is assigned to another period: hours of usage batches, and the
-- instants of each hour that lie within the bounds.
create or replace function driftlock.misplaced(organization uuid, period bigint, starts bigint,
    ends bigint)
    returns table (tally_id bigint, hour bigint, is_whole boolean, since bigint, until bigint)
    language sql stable as $$
    select m.tally_id, m.hour, m.hour * 1000000 >= starts and (m.hour + 3600) * 1000000 <= ends,
        greatest(m.hour * 1000000, starts), least((m.hour + 3600) * 1000000, ends)
    from driftlock.meter_outbox m
    where m.organization_id = misplaced.organization and m.period_id <> misplaced.period
      and m.units <> m.sealed_units
      and m.hour between starts / 3600000000 * 3600 and (ends - 1) / 3600000000 * 3600
      and not driftlock.is_sealed(m.organization_id, m.period_id, m.hour) $$;

-- The sums of the settlements of a usage batch between two instants of an hour.
create or replace function driftlock.part_sums(organization uuid, batch bigint, since bigint,
    until bigint) returns table (key_id uuid, route_id bigint, units bigint, requests bigint)
    language sql stable as $$
    with root as (
        select coalesce((select p.root_id from driftlock.tally_parts p
                         where p.part_id = part_sums.batch), part_sums.batch) as id),
    cuts as (
        select part_sums.since as at
        union select unnest(array[p.since, p.until]) from driftlock.tally_parts p, root
              where p.root_id = root.id),
    pieces as (
        select c.at as since, lead(c.at, 1, part_sums.until) over (order by c.at) as until from cuts c
        where c.at >= part_sums.since and c.at < part_sums.until),
    own as materialized (
        select p.*, root.id from pieces p, root
        where driftlock.part(root.id, p.since) = part_sums.batch)
    select e.key_id, e.route_id, sum(e.units)::bigint, count(*)
    from own p join driftlock.usage_events e on e.organization_id = part_sums.organization
        and e.at >= p.since and e.at < p.until and e.tally_id = p.id
    where not e.voided group by 1, 2 $$;

-- Splits a usage batch: what was settled between two instants of an hour becomes a new batch, still
-- assigned to the same period. The settlements' rows do not change; `driftlock.part` finds their
-- batch by their time. No settlements are added to a split batch.
create or replace function driftlock.cut(organization uuid, batch bigint, hour bigint, since bigint,
    until bigint) returns bigint
    language plpgsql set search_path = public, pg_temp as $$
declare
    part bigint := nextval(pg_get_serial_sequence('driftlock.billing_periods', 'id'));
    total bigint;
begin
    with moved as materialized (
        select * from driftlock.part_sums(organization, batch, since, until)),
    rest as (
        update usage_counters c set units = c.units - m.units, requests = c.requests - m.requests
        from moved m where c.organization_id = organization and c.tally_id = batch
            and c.hour = cut.hour and c.key_id = m.key_id and c.route_id = m.route_id),
    entered as (
        insert into usage_counters (organization_id, tally_id, hour, key_id, route_id, units, requests)
        select organization, part, cut.hour, m.key_id, m.route_id, m.units, m.requests from moved m)
    select sum(m.units) into total from moved m;
    if total is null then
        return null;
    end if;
    insert into driftlock.meter_outbox (organization_id, period_id, tally_id, hour, units)
    select organization, m.period_id, part, m.hour, total from driftlock.meter_outbox m
        where m.organization_id = organization and m.tally_id = batch and m.hour = cut.hour;
    update driftlock.meter_outbox m set units = m.units - total
        where m.organization_id = organization and m.tally_id = batch and m.hour = cut.hour;
    insert into driftlock.tally_parts (part_id, organization_id, tally_id, root_id, since, until)
    select part, organization, batch, coalesce((select p.root_id from driftlock.tally_parts p
        where p.part_id = batch), batch), since, until;
    return part;
end $$;

-- Locks the ledger of an organization and changes it to a period. A period that becomes known late
-- takes over what was settled within its bounds under another period, except sealed buckets. Whole
-- hours are reassigned by one update per batch; in an hour that contains a boundary, settlements
-- are added up and split off.
create or replace function driftlock.open_ledger(organization uuid, starts bigint, ends bigint,
    included bigint, cap bigint, now bigint) returns driftlock.usage_ledgers
    language plpgsql set search_path = public, pg_temp as $$
declare
    l driftlock.usage_ledgers%rowtype;
    period bigint;
    place record;
    cut bigint[] := '{}';
begin
    select * into l from driftlock.usage_ledgers u where u.organization_id = organization for update;
    if not found then
        insert into driftlock.usage_ledgers values (organization, 0, 0, 0, 0, null, 0, 0)
            on conflict (organization_id) do nothing;
        select * into l from driftlock.usage_ledgers u
            where u.organization_id = organization for update;
    end if;
    if l.starts_at = starts and l.ends_at = ends then
        return l;
    end if;
    insert into driftlock.billing_periods (organization_id, starts_at, ends_at)
        values (organization, starts, ends)
        on conflict (organization_id, starts_at, ends_at) do nothing;
    select id into strict period from driftlock.billing_periods p
        where p.organization_id = organization and p.starts_at = starts and p.ends_at = ends;
    if now >= starts then
        for place in select * from driftlock.misplaced(organization, period, starts, ends) m
                     where not m.is_whole loop
            cut := cut || driftlock.cut(organization, place.tally_id, place.hour, place.since,
                                        place.until);
        end loop;
        update driftlock.meter_outbox m set period_id = period
        from driftlock.misplaced(organization, period, starts, ends) f
        where m.organization_id = organization and m.tally_id = f.tally_id and m.hour = f.hour
          and (f.is_whole or f.tally_id = any (cut));
    end if;
    -- Leases of the old period end.
    delete from driftlock.usage_leases u where u.organization_id = organization;
    update driftlock.usage_ledgers u set period_id = period, starts_at = starts, ends_at = ends,
        tally_id = nextval(pg_get_serial_sequence('driftlock.billing_periods', 'id')),
        included = case when l.period_id = 0 then open_ledger.included else u.included end,
        cap = case when l.period_id = 0 then open_ledger.cap else u.cap end,
        used = driftlock.used(organization, period),
        last_at = greatest(u.last_at, (select coalesce(max(p.last_settled_at), 0)
                from driftlock.billing_periods p where p.organization_id = organization))
        where u.organization_id = organization returning * into l;
    if l.used > 0 then
        perform driftlock.thresholds(l, -1);
    end if;
    return l;
end $$;

-- Renews, extends or gives back a node's lease: `keep` units stay reserved, and of the free units
-- the node gets at most one eighth, but at least one unit. The lease's row stays if nothing is
-- reserved, since settlements return the number of the node's last lease request.
create or replace function public.driftlock_lease(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'organization')::uuid;
    node uuid := (args ->> 'node')::uuid;
    now bigint;
    the_cap bigint := (args ->> 'cap')::bigint;
    keep bigint := (args ->> 'keep')::bigint;
    want bigint := (args ->> 'want')::bigint;
    ttl bigint;
    free bigint;
    reserved bigint;
    held_by text;
    l driftlock.usage_ledgers%rowtype;
begin
    l := driftlock.open_ledger(organization, (args ->> 'start')::bigint, (args ->> 'end')::bigint,
        (args ->> 'included')::bigint, the_cap, driftlock.clock(args));
    now := driftlock.clock(args); -- after waiting for the row
    select driftlock.ledger_kind(o.ledger, now) into held_by from organizations o
        where o.id = organization;
    if held_by <> 'leases' then
        return jsonb_build_object('held_by', held_by);
    end if;
    ttl := greatest(least((args ->> 'ttl')::bigint, l.ends_at - now), 0);
    if l.cap is distinct from the_cap or l.included <> (args ->> 'included')::bigint then
        update driftlock.usage_ledgers u set cap = the_cap, included = (args ->> 'included')::bigint
            where u.organization_id = organization returning * into l;
        -- Under new terms, the units used may already have reached thresholds.
        if l.used > 0 then
            l.last_at := greatest(l.last_at, now);
            perform driftlock.thresholds(l, -1);
        end if;
    end if;
    update driftlock.billing_periods b set included = l.included,
        base_micros = (args ->> 'base_micros')::bigint,
        overage_micros = (args ->> 'overage_micros')::bigint
    where b.id = l.period_id and (b.included, b.base_micros, b.overage_micros) is distinct from
        (l.included, (args ->> 'base_micros')::bigint, (args ->> 'overage_micros')::bigint);
    delete from driftlock.usage_leases u where u.organization_id = organization and u.until <= now;
    if the_cap is not null then
        select greatest(the_cap - l.used - coalesce(sum(u.units), 0), 0) into free
            from driftlock.usage_leases u where u.organization_id = organization and u.node_id <> node;
        reserved := least(keep, free);
        free := free - reserved;
        if want > 0 and free > 0 then
            reserved := reserved + least(want, greatest(free / 8, 1));
        end if;
    end if;
    insert into driftlock.usage_leases (organization_id, node_id, number, units, until)
        values (organization, node, (args ->> 'number')::bigint, coalesce(reserved, 0), now + ttl)
        on conflict (organization_id, node_id) do update
        set number = excluded.number, units = excluded.units, until = excluded.until;
    return jsonb_build_object('period', l.period_id, 'reserved', reserved, 'used', l.used, 'ttl', ttl);
end $$;

-- Raises alerts of the thresholds reached when an organization's units go from `before` to
-- `l.used`.
create or replace function driftlock.thresholds(l driftlock.usage_ledgers, before bigint)
    returns void language sql as $$
    insert into driftlock.alerts (organization_id, kind, subject, at, details)
    select l.organization_id, kind, (l.starts_at / 1000000)::text, l.last_at, jsonb_build_object(
        'threshold_units', units, 'included', l.included, 'cap', l.cap, 'period', jsonb_build_object(
            'start', driftlock.instant(l.starts_at), 'end', driftlock.instant(l.ends_at)))
    from (values
        ('usage_70_percent', case when l.included > 0 then ceil(l.included * 0.7) end),
        ('usage_90_percent', case when l.included > 0 then ceil(l.included * 0.9) end),
        ('usage_100_percent', case when l.included > 0 then l.included::numeric end),
        ('overage_started', case when l.cap is null or l.cap > l.included then l.included + 1.0 end),
        ('cap_reached', l.cap::numeric)) t(kind, units)
    where before < units and units <= l.used
    on conflict (organization_id, kind, subject) do nothing $$;

-- One settlement of a call, and its place in the list.
do $$ begin
    create type driftlock.settlement as (place bigint, usage uuid, organization uuid, key uuid,
        node uuid, route text, units bigint, request_id text, claim text, fingerprint text,
        answer jsonb, audit jsonb, now bigint, late jsonb);
exception when duplicate_object then null;
end $$;

-- Writes settlements of which none is known, refused or beyond the cap; [place, outcome] of each.
create or replace function driftlock.settle_all(l driftlock.usage_ledgers, lease bigint,
    list driftlock.settlement[]) returns jsonb
    language plpgsql set search_path = public, pg_temp as $$
begin
    with labels as materialized (
        select label, driftlock.route(label) as id from (select distinct route as label
            from unnest(list)) d),
    entered as (
        insert into driftlock.usage_events (id, organization_id, key_id, route_id, units, tally_id,
                                            at, request_id)
        select s.usage, l.organization_id, s.key, r.id, s.units, l.tally_id, l.last_at, s.request_id
        from unnest(list) s join labels r on r.label = s.route)
    insert into usage_counters as c
        (organization_id, tally_id, hour, key_id, route_id, units, requests)
    select l.organization_id, l.tally_id, l.last_at / 3600000000 * 3600, s.key, r.id, sum(s.units),
           count(*)
    from unnest(list) s join labels r on r.label = s.route group by s.key, r.id
    on conflict (organization_id, tally_id, hour, key_id, route_id) do update
        set units = c.units + excluded.units, requests = c.requests + excluded.requests;
    insert into driftlock.meter_outbox as m (organization_id, period_id, tally_id, hour, units)
    select l.organization_id, l.period_id, l.tally_id, l.last_at / 3600000000 * 3600, sum(s.units)
    from unnest(list) s
    on conflict (organization_id, tally_id, hour) do update set units = m.units + excluded.units;
    insert into driftlock.idempotency_keys
        (key, fingerprint, usage_id, at, answer_status, answer_headers, answer_body)
    select decode(s.claim, 'hex'), decode(s.fingerprint, 'hex'), s.usage, l.last_at,
           (s.answer ->> 'status')::integer, s.answer -> 'headers',
           decode(s.answer ->> 'body', 'hex')
    from unnest(list) s where s.claim is not null
    on conflict (key) do update set fingerprint = excluded.fingerprint,
        usage_id = excluded.usage_id, at = excluded.at, answer_status = excluded.answer_status,
        answer_headers = excluded.answer_headers, answer_body = excluded.answer_body;
    delete from driftlock.idempotency_claims
        where key in (select decode(s.claim, 'hex') from unnest(list) s where s.claim is not null);
    perform driftlock.append(l.organization_id,
        (select jsonb_agg(s.audit order by s.place) from unnest(list) s));
    return (select jsonb_agg(jsonb_build_array(s.place,
                jsonb_build_object('at', l.last_at, 'period', l.period_id, 'lease', lease)))
            from unnest(list) s);
end $$;

-- Separates settlements that cannot be written, with the outcome of each, from those that can. Not
-- written are known ones, those with a used idempotency key, and those beyond `free` units (null:
-- no cap), in order. A settlement with `late` was acknowledged during an outage of the database: it
-- counts regardless of the cap.
create or replace function driftlock.settle_not(l driftlock.usage_ledgers,
    list driftlock.settlement[], free bigint, now bigint,
    out refused jsonb, out entered driftlock.settlement[])
    language plpgsql set search_path = public, pg_temp as $$
declare
    s driftlock.settlement;
    known driftlock.usage_events%rowtype;
    outcome jsonb;
    claims text[] := '{}';
begin
    refused := '[]';
    entered := '{}';
    foreach s in array list loop
        select * into known from driftlock.usage_events e where e.id = s.usage;
        if found then
            outcome := case when known.voided then '"refused"'
                else jsonb_build_object('since', known.at, 'period', driftlock.period_of(known)) end;
        elsif exists (select from unnest(entered) e where e.usage = s.usage) then
            outcome := jsonb_build_object('since', l.last_at, 'period', l.period_id);
        elsif s.claim = any (claims) or exists (select from driftlock.idempotency_keys k
                where k.key = decode(s.claim, 'hex') and k.at >= driftlock.kept_since(now)) then
            outcome := '"refused"';
        elsif free is not null and jsonb_typeof(s.late) is distinct from 'object'
                and s.units > free then
            outcome := '"refused"';
        else
            free := case when free is not null then greatest(free - s.units, 0) end;
            claims := claims || coalesce(array[s.claim], '{}');
            entered := entered || s;
            continue;
        end if;
        refused := refused || jsonb_build_array(jsonb_build_array(s.place, outcome));
    end loop;
end $$;

-- A provisional period for an instant after the end of the last known period: after a calendar
-- month (UTC) the calendar month of the instant, otherwise a period of the same length.
create or replace function driftlock.provisional(starts_at bigint, ends_at bigint, now bigint,
    out starts bigint, out ends bigint) language plpgsql set search_path = public, pg_temp as $$
declare
    month timestamp := date_trunc('month', driftlock.instant(starts_at) at time zone 'UTC');
    shift bigint;
begin
    if starts_at = driftlock.micros(month at time zone 'UTC')
       and ends_at = driftlock.micros((month + interval '1 month') at time zone 'UTC') then
        month := date_trunc('month', driftlock.instant(now) at time zone 'UTC');
        starts := driftlock.micros(month at time zone 'UTC');
        ends := driftlock.micros((month + interval '1 month') at time zone 'UTC');
        return;
    end if;
    shift := (ends_at - starts_at) * ((now - ends_at) / (ends_at - starts_at) + 1);
    starts := starts_at + shift;
    ends := ends_at + shift;
end $$;

-- Settles one node's settlements for one organization; [place, outcome] of each.
create or replace function driftlock.settle(organization uuid, node uuid,
    list driftlock.settlement[]) returns jsonb
    language plpgsql set search_path = public, pg_temp as $$
declare
    l driftlock.usage_ledgers%rowtype;
    now bigint := coalesce((select max(s.now) from unnest(list) s),
                           driftlock.micros(clock_timestamp()));
    late jsonb;
    others bigint;
    own bigint;
    lease bigint;
    free bigint;
    total bigint;
    before bigint;
    next record;
    held_by text;
    outcomes jsonb := '[]';
begin
    select * into l from driftlock.usage_ledgers u where u.organization_id = organization for update;
    if not found then
        select s.late into late from unnest(list) s where jsonb_typeof(s.late) = 'object' limit 1;
        if late is null then
            return (select jsonb_agg(jsonb_build_array(s.place, '"unleased"'::jsonb))
                    from unnest(list) s);
        end if;
        -- The node admitted it during an outage, before any lease was granted.
        l := driftlock.open_ledger(organization, (late ->> 'start')::bigint,
            (late ->> 'end')::bigint, (late ->> 'included')::bigint, null, now);
    end if;
    if l.ends_at <= now then
        select * into next from driftlock.provisional(l.starts_at, l.ends_at, now);
        l := driftlock.open_ledger(organization, next.starts, next.ends, l.included, l.cap, now);
    end if;
    l.last_at := greatest(now, l.last_at);
    before := l.used;
    select coalesce(sum(u.units) filter (where u.node_id <> node), 0),
           coalesce(sum(u.units) filter (where u.node_id = node), 0),
           max(u.number) filter (where u.node_id = node) into others, own, lease
        from driftlock.usage_leases u where u.organization_id = organization and u.until > l.last_at;
    select driftlock.ledger_kind(o.ledger, now) into held_by from organizations o
        where o.id = organization;
    -- The node's leased units plus the part of the cap that is neither used nor leased. Null
    -- without a cap; 0 if Durable Objects are the ledger host.
    if held_by <> 'leases' then
        free := 0;
    elsif l.cap is not null then
        free := own + greatest(l.cap - l.used - others - own, 0);
    end if;
    if (select count(distinct s.usage) < count(*) or count(distinct s.claim) < count(s.claim)
               or sum(s.units) > free from unnest(list) s)
       or exists (select from driftlock.usage_events e
                  where e.id in (select s.usage from unnest(list) s))
       or exists (select from unnest(list) s where s.claim is not null) and exists (
            select from driftlock.idempotency_keys k where k.at >= driftlock.kept_since(now)
              and k.key in (select decode(s.claim, 'hex') from unnest(list) s)) then
        select * into outcomes, list from driftlock.settle_not(l, list, free, now);
    end if;
    if list = '{}' then
        return outcomes;
    end if;
    total := (select sum(s.units) from unnest(list) s);
    l.used := l.used + total;
    outcomes := outcomes || driftlock.settle_all(l, lease, list);
    update driftlock.usage_ledgers u set used = l.used, last_at = l.last_at
        where u.organization_id = organization;
    if own > 0 then
        update driftlock.usage_leases u set units = greatest(units - total, 0)
            where u.organization_id = organization and u.node_id = node and u.until > l.last_at;
    end if;
    update driftlock.billing_periods set last_settled_at = l.last_at where id = l.period_id;
    perform driftlock.thresholds(l, before);
    return outcomes;
end $$;

-- Settles a list in one commit; [place, outcome] of each. An outcome is {at, period, lease};
-- {since, period} for what was settled before; "refused"; or "unleased" if no units were ever
-- leased to the organization. Organizations are locked in order of id, so that two calls cannot
-- deadlock.
create or replace function public.driftlock_settle(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    g record;
    outcomes jsonb := '[]';
begin
    for g in
        select s.organization, s.node, array_agg((n - 1, s.usage, s.organization, s.key, s.node,
            s.route, s.units, s.request_id, s.claim, s.fingerprint, s.answer, s.audit, s.now,
            s.late)::driftlock.settlement order by n) as list
        from rows from (jsonb_to_recordset(args -> 'settlements') as (usage uuid, organization uuid,
            key uuid, node uuid, route text, units bigint, request_id text, claim text,
            fingerprint text, answer jsonb, audit jsonb, now bigint, late jsonb)) with ordinality
            as s(usage, organization, key, node, route, units, request_id, claim, fingerprint, answer,
            audit, now, late, n)
        group by 1, 2 order by 1, 2
    loop
        outcomes := outcomes || driftlock.settle(g.organization, g.node, g.list);
    end loop;
    return outcomes;
end $$;

-- Hands an organization to another ledger host at the end of its period, but not before `notice`
-- has passed, so that all nodes know. If leases counted no units in the period, the host changes at
-- once. Locks the row that leasing and settling lock.
create or replace function public.driftlock_hand_over(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'id')::uuid;
    wanted text := args ->> 'to';
    now bigint;
    kind text;
    agreed jsonb;
    o organizations%rowtype;
    l driftlock.usage_ledgers%rowtype;
begin
    select * into l from driftlock.usage_ledgers u where u.organization_id = organization for update;
    select * into o from organizations x where x.id = organization for update;
    if not found then
        return 'null';
    end if;
    now := driftlock.clock(args);
    kind := driftlock.ledger_kind(o.ledger, now);
    agreed := jsonb_build_object('kind', kind);
    if kind <> wanted then
        if kind = 'leases' and (l.organization_id is null or l.used = 0 or l.ends_at <= now) then
            delete from driftlock.usage_leases u where u.organization_id = organization;
            agreed := jsonb_build_object('kind', wanted);
        else
            agreed := agreed || jsonb_build_object('next', jsonb_build_object('kind', wanted,
                'from', driftlock.instant(greatest((args ->> 'period_end')::bigint,
                                                   now + (args ->> 'notice')::bigint))));
        end if;
    end if;
    update organizations x set ledger = agreed, revision = x.revision + 1 where x.id = organization
        returning * into o;
    perform driftlock.append(organization, args -> 'audit');
    return driftlock.organization(o);
end $$;

-- Voids a settlement; returns "sealed" if Stripe may already have its report. An unknown settlement
-- may still arrive: its id is stored as voided, in no period, so that the settlement is refused.
create or replace function public.driftlock_void(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'organization')::uuid;
    e driftlock.usage_events%rowtype;
    period bigint;
    batch bigint;
begin
    perform from driftlock.usage_ledgers u where u.organization_id = organization for update;
    select * into e from driftlock.usage_events u
        where u.id = (args ->> 'usage')::uuid and u.organization_id = organization;
    if not found then
        insert into driftlock.usage_events
            (id, organization_id, key_id, route_id, units, tally_id, at, request_id, voided)
        values ((args ->> 'usage')::uuid, organization, '00000000-0000-0000-0000-000000000000',
                0, 0, 0, 0, '', true)
        on conflict (id) do nothing;
        return 'null';
    end if;
    if e.voided then
        return 'null';
    end if;
    period := driftlock.period_of(e);
    if driftlock.is_sealed(organization, period, e.at / 3600000000 * 3600) then
        return '"sealed"';
    end if;
    batch := driftlock.part(e.tally_id, e.at);
    update usage_counters c set units = c.units - e.units, requests = c.requests - 1
        where c.organization_id = organization and c.tally_id = batch
          and c.hour = e.at / 3600000000 * 3600 and c.key_id = e.key_id and c.route_id = e.route_id;
    update driftlock.meter_outbox m set units = m.units - e.units
        where m.organization_id = organization and m.tally_id = batch
          and m.hour = e.at / 3600000000 * 3600;
    update driftlock.usage_events set voided = true where id = e.id;
    delete from driftlock.idempotency_keys where usage_id = e.id;
    update driftlock.usage_ledgers u set used = greatest(u.used - e.units, 0)
        where u.organization_id = organization and u.period_id = period;
    perform driftlock.append(organization, jsonb_build_array(
        args -> 'audit' || jsonb_build_object('at', e.at)));
    return 'null';
end $$;

-- The usage sums of the period that contains an instant. Of several periods: the current one
-- (`start`, `end`), else one with requests, else the one that became known last. If the ledger has
-- not changed to the current period yet, the sums include the usage that it will take over.
create or replace function public.driftlock_usage(args jsonb) returns jsonb
    language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'organization')::uuid;
    at bigint := (args ->> 'at')::bigint;
    starts bigint := (args ->> 'start')::bigint;
    ends bigint := (args ->> 'end')::bigint;
    is_coming boolean;
    p driftlock.billing_periods%rowtype;
begin
    is_coming := at >= starts and at < ends and exists (
        select from driftlock.usage_ledgers l where l.organization_id = organization
          and l.starts_at <= at and (l.starts_at <> starts or l.ends_at <> ends));
    if is_coming then
        select * into p from driftlock.billing_periods b
            where b.organization_id = organization and b.starts_at = starts and b.ends_at = ends;
        p.id := coalesce(p.id, 0);
    else
        select * into p from driftlock.billing_periods b
            where b.organization_id = organization and b.starts_at <= at and b.ends_at > at
            order by b.starts_at = starts and b.ends_at = ends desc,
                exists (select from driftlock.counted(organization, b.id) c where c.requests > 0) desc,
                b.id desc limit 1;
        if not found then
            return null;
        end if;
        starts := p.starts_at;
        ends := p.ends_at;
    end if;
    return (
        with counted as (
            select * from driftlock.counted(organization, p.id)
            union all
            select c.hour, c.key_id, c.route_id, c.units, c.requests
            from driftlock.misplaced(organization, p.id, starts, ends) m join usage_counters c
                on c.organization_id = organization and c.tally_id = m.tally_id and c.hour = m.hour
            where is_coming and m.is_whole
            union all
            select m.hour, s.* from driftlock.misplaced(organization, p.id, starts, ends) m,
                driftlock.part_sums(organization, m.tally_id, m.since, m.until) s
            where is_coming and not m.is_whole),
        sums as (
            select case args ->> 'grouping'
                       when 'hour' then to_jsonb(c.hour)
                       when 'day' then to_jsonb(c.hour / 86400 * 86400)
                       when 'key' then to_jsonb(c.key_id)
                       else to_jsonb(r.label) end as place,
                   sum(c.units) as units, sum(c.requests) as requests
            from counted c join driftlock.routes r on r.id = c.route_id
            group by 1 having sum(c.requests) > 0)
        select jsonb_build_object('start', starts, 'end', ends, 'terms',
            case when p.included is not null then jsonb_build_object('included', p.included,
                'price', jsonb_build_object('base_micros', p.base_micros,
                                            'overage_micros', p.overage_micros)) end,
            'buckets', coalesce(
                jsonb_agg(jsonb_build_array(place, units, requests) order by place), '[]'))
        from sums);
end $$;

create or replace function public.driftlock_receipt(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object('id', e.id, 'organization_id', e.organization_id, 'key_id', e.key_id,
        'route', r.label, 'units', e.units, 'request_id', e.request_id,
        'at', driftlock.instant(e.at))
    from driftlock.usage_events e join driftlock.routes r on r.id = e.route_id
    where e.id = (args ->> 'usage')::uuid and not e.voided $$;

create or replace function public.driftlock_kept(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object('fingerprint', encode(fingerprint, 'hex'), 'usage', usage_id,
        'status', answer_status, 'headers', answer_headers, 'body', encode(answer_body, 'hex'))
    from driftlock.idempotency_keys
    where key = decode(args ->> 'key', 'hex') and at >= driftlock.kept_since(driftlock.clock(args)) $$;

-- Claims an idempotency key for a new request. Returns null if the request has the claim now, else
-- the stored answer, or the request in progress that holds the claim. A claim expires if its node
-- does not free it.
create or replace function public.driftlock_claim_key(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    now bigint := driftlock.clock(args);
    kept jsonb := driftlock_kept(args);
    holder driftlock.idempotency_claims%rowtype;
begin
    if kept is not null then
        return kept;
    end if;
    insert into driftlock.idempotency_claims as c (key, fingerprint, usage_id, until)
    values (decode(args ->> 'key', 'hex'), decode(args ->> 'fingerprint', 'hex'),
            (args ->> 'usage')::uuid, now + (args ->> 'lifetime')::bigint)
    on conflict (key) do update set fingerprint = excluded.fingerprint,
        usage_id = excluded.usage_id, until = excluded.until
    where c.until <= now or c.usage_id = excluded.usage_id;
    if found then
        -- The request with this key may have settled since the first look.
        return driftlock_kept(args);
    end if;
    select * into holder from driftlock.idempotency_claims c where c.key = decode(args ->> 'key', 'hex');
    return jsonb_build_object('in_flight', holder.usage_id,
                              'fingerprint', encode(holder.fingerprint, 'hex'));
end $$;

-- Ends a request's claim: its key is free, unless an answer was stored.
create or replace function public.driftlock_free_key(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    delete from driftlock.idempotency_claims
        where key = decode(args ->> 'key', 'hex') and usage_id = (args ->> 'usage')::uuid;
    return 'null';
end $$;

-- Creates the partitions of usage events from this month to the month after next, and drops those
-- with only events before `oldest`. Of two calls at once, the second does nothing.
create or replace function driftlock.keep_partitions(now bigint, oldest bigint) returns void
    language plpgsql set search_path = public, pg_temp as $$
declare
    month timestamp := date_trunc('month', driftlock.instant(now) at time zone 'UTC');
    found record;
    name text;
begin
    if not pg_try_advisory_xact_lock(hashtext('driftlock.usage_events')) then
        return;
    end if;
    for found in select to_char(m, 'YYYYMM') as month, m at time zone 'UTC' as starts,
            (m + interval '1 month') at time zone 'UTC' as ends
            from generate_series(month, month + interval '2 months', interval '1 month') m loop
        name := 'usage_events_' || found.month;
        continue when to_regclass('driftlock.' || name) is not null;
        begin
            execute format('create table driftlock.%I partition of driftlock.usage_events '
                'for values from (%L) to (%L)', name,
                driftlock.first_id(driftlock.micros(found.starts)),
                driftlock.first_id(driftlock.micros(found.ends)));
            perform driftlock.protect_table(('driftlock.' || name)::regclass);
        exception when check_violation then
            -- The partition was not created in time: the month's rows stay in the default one.
            raise warning 'usage events of % are in the default partition', name;
        end;
    end loop;
    for found in select c.oid::regclass as place, c.relname from pg_inherits i
            join pg_class c on c.oid = i.inhrelid
            where i.inhparent = 'driftlock.usage_events'::regclass
              and c.relname ~ '^usage_events_[0-9]{6}$' loop
        month := (right(found.relname, 6) || '01')::timestamp + interval '1 month';
        if driftlock.micros(month at time zone 'UTC') <= oldest then
            execute format('drop table %s', found.place);
        end if;
    end loop;
end $$;

-- Deletes expired idempotency records and claims, changes that every node has seen, and usage
-- events and closed periods with their sums that are older than their retention; a portion of each.
-- Returns the number of rows; 0 once there are no more.
create or replace function public.driftlock_purge(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    now bigint := driftlock.clock(args);
    oldest bigint := now - (args ->> 'usage_days')::bigint * 86400000000;
    purged bigint := 0;
    portion bigint;
begin
    delete from driftlock.changes where id in (
        select id from driftlock.changes where at < clock_timestamp() - interval '1 hour'
        limit 10000 for update skip locked);
    get diagnostics portion = row_count;
    purged := purged + portion;
    perform driftlock.keep_partitions(now, oldest);
    delete from driftlock.usage_events_rest where id in (
        select id from driftlock.usage_events_rest where id < driftlock.first_id(oldest)
        order by id limit 10000 for update skip locked);
    get diagnostics portion = row_count;
    purged := purged + portion;
    with closed as (
        -- Keep the current period of each ledger, even if it ended long ago.
        select id, organization_id from driftlock.billing_periods b where ends_at < oldest
            and not exists (select from driftlock.usage_ledgers l
                where l.organization_id = b.organization_id and l.period_id = b.id)
        order by ends_at limit 100 for update skip locked),
    outbox as (delete from driftlock.meter_outbox m using closed p
        where m.organization_id = p.organization_id and m.period_id = p.id
        returning m.organization_id, m.tally_id, m.hour),
    counters as (delete from usage_counters c using outbox m
        where c.organization_id = m.organization_id and c.tally_id = m.tally_id and c.hour = m.hour),
    copied as (delete from usage_counters c using closed p
        where c.organization_id = p.organization_id and c.tally_id = p.id),
    reports as (delete from driftlock.meter_reports m using closed p
        where m.organization_id = p.organization_id and m.period_id = p.id)
    delete from driftlock.billing_periods b using closed p where b.id = p.id;
    get diagnostics portion = row_count;
    purged := purged + portion;
    delete from driftlock.tally_parts where part_id in (
        select part_id from driftlock.tally_parts where until < oldest
        limit 10000 for update skip locked);
    get diagnostics portion = row_count;
    purged := purged + portion;
    delete from driftlock.idempotency_claims where key in (
        select key from driftlock.idempotency_claims where until < now
        limit 10000 for update skip locked);
    get diagnostics portion = row_count;
    purged := purged + portion;
    delete from driftlock.idempotency_keys where key in (
        select key from driftlock.idempotency_keys where at < driftlock.kept_since(now)
        limit 10000 for update skip locked);
    get diagnostics portion = row_count;
    return to_jsonb(purged + portion);
end $$;

do $$ begin
    perform driftlock.keep_partitions(driftlock.micros(clock_timestamp()), 0);
end $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (4) on conflict (version) do nothing;
