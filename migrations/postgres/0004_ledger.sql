-- The ledger: leases, settlement, receipts, idempotency. I4: used + reserved never exceeds the cap,
-- since whoever leases or settles holds the row of the organization in `usage_ledgers`.

create or replace function driftlock.route(label text) returns bigint language plpgsql as $$
declare id bigint;
begin
    select r.id into id from driftlock.routes r where r.label = route.label;
    if not found then
        insert into driftlock.routes (label) values (label) on conflict do nothing;
        select r.id into strict id from driftlock.routes r where r.label = route.label;
    end if;
    return id;
end $$;

-- The oldest instant whose idempotency record still counts.
create or replace function driftlock.kept_since(now bigint) returns bigint language sql immutable
    as $$ select now - 86400000000 $$;

-- The least id that is made at an instant or after.
create or replace function driftlock.first_id(at bigint) returns uuid language sql immutable
    as $$ select rpad(lpad(to_hex(greatest(at, 0) / 1000), 12, '0'), 32, '0')::uuid $$;

-- Adds to counters, outbox and periods what these usage events say; -1 takes it away.
create or replace function driftlock.count(events uuid[], sign integer) returns void
    language plpgsql set search_path = public, pg_temp as $$
begin
    insert into usage_counters as c
        (organization_id, period_id, hour, key_id, route_id, units, requests)
    select organization_id, period_id, at / 3600000000 * 3600, key_id, route_id,
           sign * sum(units), sign * count(*)
    from driftlock.usage_events where id = any (events) group by 1, 2, 3, 4, 5
    on conflict (organization_id, period_id, hour, key_id, route_id) do update
        set units = c.units + excluded.units, requests = c.requests + excluded.requests;
    insert into driftlock.meter_outbox as m (organization_id, period_id, hour, units)
    select organization_id, period_id, at / 3600000000 * 3600, sign * sum(units)
    from driftlock.usage_events where id = any (events) group by 1, 2, 3
    on conflict (organization_id, period_id, hour) do update set units = m.units + excluded.units;
end $$;

-- The locked ledger of an organization, turned to a period. A period that is learned late takes over
-- what was settled in it under another one, but for sealed buckets.
create or replace function driftlock.open_ledger(organization uuid, starts bigint, ends bigint,
    included bigint, cap bigint, now bigint) returns driftlock.usage_ledgers
    language plpgsql set search_path = public, pg_temp as $$
declare
    l driftlock.usage_ledgers%rowtype;
    period bigint;
    moved uuid[];
begin
    select * into l from driftlock.usage_ledgers u where u.organization_id = organization for update;
    if not found then
        insert into driftlock.usage_ledgers values (organization, 0, 0, 0, 0, null, 0, 0)
            on conflict do nothing;
        select * into l from driftlock.usage_ledgers u
            where u.organization_id = organization for update;
    end if;
    if l.starts_at = starts and l.ends_at = ends then
        return l;
    end if;
    insert into driftlock.billing_periods (organization_id, starts_at, ends_at)
        values (organization, starts, ends) on conflict do nothing;
    select id into strict period from driftlock.billing_periods p
        where p.organization_id = organization and p.starts_at = starts and p.ends_at = ends;
    if now >= starts and exists (select from driftlock.billing_periods p
            where p.organization_id = organization and p.id <> period and p.starts_at < ends
              and p.ends_at > starts and p.last_settled_at >= starts) then
        select array_agg(e.id) into moved from driftlock.usage_events e
        where e.organization_id = organization and e.at >= starts and e.at < ends
          and e.period_id <> period and not e.voided and not exists (
              select from driftlock.meter_outbox o
              where o.organization_id = e.organization_id and o.period_id = e.period_id
                and o.hour = e.at / 3600000000 * 3600 and o.sealed_at is not null);
        if moved is not null then
            perform driftlock.count(moved, -1);
            update driftlock.usage_events set period_id = period where id = any (moved);
            perform driftlock.count(moved, 1);
        end if;
    end if;
    -- What was reserved in the old period lapses.
    delete from driftlock.usage_leases u where u.organization_id = organization;
    update driftlock.usage_ledgers u set period_id = period, starts_at = starts, ends_at = ends,
        included = case when l.period_id = 0 then open_ledger.included else u.included end,
        cap = case when l.period_id = 0 then open_ledger.cap else u.cap end,
        used = (select coalesce(sum(c.units), 0) from usage_counters c
                where c.organization_id = organization and c.period_id = period),
        last_at = greatest(u.last_at, (select coalesce(max(p.last_settled_at), 0)
                from driftlock.billing_periods p where p.organization_id = organization))
        where u.organization_id = organization returning * into l;
    return l;
end $$;

-- Renews, extends or gives back a node's lease: what it keeps stays reserved, and of what is left it
-- gets an eighth at most, and one unit at least.
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
            where u.organization_id = organization;
    end if;
    if the_cap is not null then
        delete from driftlock.usage_leases u where u.organization_id = organization and u.until <= now;
        select greatest(the_cap - l.used - coalesce(sum(u.units), 0), 0) into free
            from driftlock.usage_leases u where u.organization_id = organization and u.node_id <> node;
        reserved := least(keep, free);
        free := free - reserved;
        if want > 0 and free > 0 then
            reserved := reserved + least(want, greatest(free / 8, 1));
        end if;
    end if;
    if reserved > 0 then
        insert into driftlock.usage_leases values (organization, node, reserved, now + ttl)
            on conflict (organization_id, node_id) do update
            set units = excluded.units, until = excluded.until;
    else
        delete from driftlock.usage_leases u where u.organization_id = organization and u.node_id = node;
    end if;
    return jsonb_build_object('period', l.period_id, 'reserved', reserved, 'used', l.used, 'ttl', ttl);
end $$;

-- Alerts of the thresholds that are reached when an organization's units go from `before` to `l.used`.
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
    on conflict do nothing $$;

-- Settles what one node settles for one organization; [place, outcome] of each. What says `late` was
-- acknowledged while nobody could be asked: it counts, whatever cap there is by now.
create or replace function driftlock.settle(organization uuid, node uuid, settlements jsonb)
    returns jsonb language plpgsql set search_path = public, pg_temp as $$
declare
    l driftlock.usage_ledgers%rowtype;
    s record;
    known driftlock.usage_events%rowtype;
    outcome jsonb;
    outcomes jsonb[] := '{}';
    records jsonb[] := '{}';
    counted uuid[] := '{}';
    now bigint;
    others bigint;
    own bigint;
    leased bigint;
    before bigint;
    length bigint;
    shift bigint;
    held_by text;
    late jsonb;
begin
    select * into l from driftlock.usage_ledgers u where u.organization_id = organization for update;
    select max(driftlock.clock(x)) into now from jsonb_array_elements(settlements) x;
    select x -> 'late' into late from jsonb_array_elements(settlements) x
        where jsonb_typeof(x -> 'late') = 'object' limit 1;
    if l.organization_id is null and late is not null then
        -- Whoever admitted it could ask nobody for units.
        l := driftlock.open_ledger(organization, (late ->> 'start')::bigint,
            (late ->> 'end')::bigint, (late ->> 'included')::bigint, null, now);
    end if;
    if l.ends_at <= now then
        -- The next period is not known yet: one of the same kind follows.
        length := l.ends_at - l.starts_at;
        shift := length * ((now - l.ends_at) / length + 1);
        l := driftlock.open_ledger(organization, l.starts_at + shift, l.ends_at + shift,
                                   l.included, l.cap, now);
    end if;
    select driftlock.ledger_kind(o.ledger, now) into held_by from organizations o
        where o.id = organization;
    before := l.used;
    select coalesce(sum(u.units) filter (where u.node_id <> node), 0),
           coalesce(sum(u.units) filter (where u.node_id = node), 0) into others, leased
        from driftlock.usage_leases u
        where u.organization_id = organization and u.until > greatest(now, l.last_at);
    own := leased;
    for s in select * from jsonb_to_recordset(settlements) as (place integer, usage uuid, key uuid,
        route text, units bigint, request_id text, claim text, fingerprint text, audit jsonb,
        now bigint, late jsonb) order by place
    loop
        select * into known from driftlock.usage_events e where e.id = s.usage;
        if found then
            outcome := case when known.voided then '"refused"'
                else jsonb_build_object('at', known.at, 'period', known.period_id) end;
        elsif held_by <> 'leases' and s.late is null then
            outcome := '"refused"';
        elsif l.organization_id is null then
            outcome := '"unleased"';
        elsif s.claim is not null and exists (select from driftlock.idempotency_keys k
                where k.key = decode(s.claim, 'hex') and k.at >= driftlock.kept_since(now)) then
            outcome := '"refused"';
        elsif l.cap is not null and s.late is null
              and s.units - least(own, s.units) > l.cap - l.used - others - own then
            outcome := '"refused"';
        else
            l.last_at := greatest(coalesce(s.now, now), l.last_at);
            insert into driftlock.usage_events (id, organization_id, key_id, route_id, units,
                                                period_id, at, request_id)
            values (s.usage, organization, s.key, driftlock.route(s.route), s.units, l.period_id,
                    l.last_at, s.request_id);
            own := own - least(own, s.units);
            l.used := l.used + s.units;
            if s.claim is not null then
                insert into driftlock.idempotency_keys (key, fingerprint, usage_id, at)
                values (decode(s.claim, 'hex'), decode(s.fingerprint, 'hex'), s.usage, l.last_at)
                on conflict (key) do update set fingerprint = excluded.fingerprint,
                    usage_id = excluded.usage_id, at = excluded.at, answer_status = null,
                    answer_headers = null, answer_body = null;
            end if;
            counted := counted || s.usage;
            records := records || s.audit;
            outcome := jsonb_build_object('at', l.last_at, 'period', l.period_id);
        end if;
        outcomes := outcomes || jsonb_build_array(s.place, outcome);
    end loop;
    if counted <> '{}' then
        perform driftlock.count(counted, 1);
        update driftlock.usage_ledgers u set used = l.used, last_at = l.last_at
            where u.organization_id = organization;
        if own <> leased then
            update driftlock.usage_leases u set units = own
                where u.organization_id = organization and u.node_id = node;
        end if;
        update driftlock.billing_periods set last_settled_at = l.last_at where id = l.period_id;
        perform driftlock.thresholds(l, before);
        perform driftlock.append(organization, to_jsonb(records));
    end if;
    return to_jsonb(outcomes);
end $$;

-- Settles a batch in one commit; [place, outcome] of each, where an outcome is {at, period},
-- "refused", or "unleased" when no units were ever leased to the organization. Organizations come in
-- order of id, so that two batches wait for one another, and never both.
create or replace function public.driftlock_settle(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    g record;
    outcomes jsonb := '[]';
begin
    for g in select (x ->> 'organization')::uuid as organization, (x ->> 'node')::uuid as node,
                    jsonb_agg(x || jsonb_build_object('place', n - 1)) as settlements
             from jsonb_array_elements(args -> 'settlements') with ordinality t(x, n)
             group by 1, 2 order by 1, 2
    loop
        outcomes := outcomes || driftlock.settle(g.organization, g.node, g.settlements);
    end loop;
    return outcomes;
end $$;

-- Another kind of ledger is to count an organization's units from the end of the period on, and never
-- before everybody knows; at once where leases counted none in the period, so that it is not split.
-- Whoever leases or settles holds the same row.
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

-- Takes a settlement back; "sealed" when Stripe may know of it already.
create or replace function public.driftlock_void(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'organization')::uuid;
    e driftlock.usage_events%rowtype;
begin
    perform from driftlock.usage_ledgers u where u.organization_id = organization for update;
    select * into e from driftlock.usage_events u
        where u.id = (args ->> 'usage')::uuid and u.organization_id = organization and not u.voided;
    if not found then
        return 'null';
    end if;
    perform from driftlock.meter_outbox m where m.organization_id = organization
        and m.period_id = e.period_id and m.hour = e.at / 3600000000 * 3600
        and m.sealed_at is not null;
    if found then
        return '"sealed"';
    end if;
    perform driftlock.count(array[e.id], -1);
    update driftlock.usage_events set voided = true where id = e.id;
    delete from driftlock.idempotency_keys where usage_id = e.id;
    update driftlock.usage_ledgers u set used = greatest(u.used - e.units, 0)
        where u.organization_id = organization and u.period_id = e.period_id;
    perform driftlock.append(organization, jsonb_build_array(
        args -> 'audit' || jsonb_build_object('at', e.at)));
    return 'null';
end $$;

-- The sums of the period that holds an instant; of several the one learned last.
create or replace function public.driftlock_usage(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    with p as (
        select * from driftlock.billing_periods
        where organization_id = (args ->> 'organization')::uuid
          and starts_at <= (args ->> 'at')::bigint and ends_at > (args ->> 'at')::bigint
        order by id desc limit 1),
    sums as (
        select case args ->> 'grouping'
                   when 'hour' then to_jsonb(c.hour)
                   when 'day' then to_jsonb(c.hour / 86400 * 86400)
                   when 'key' then to_jsonb(c.key_id)
                   else to_jsonb(r.label) end as place,
               sum(c.units) as units, sum(c.requests) as requests
        from p join usage_counters c on c.organization_id = p.organization_id and c.period_id = p.id
        join driftlock.routes r on r.id = c.route_id group by 1 having sum(c.requests) > 0)
    select jsonb_build_object('start', p.starts_at, 'end', p.ends_at, 'buckets', coalesce(
        (select jsonb_agg(jsonb_build_array(place, units, requests) order by place) from sums), '[]'))
    from p $$;

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

create or replace function public.driftlock_keep_answer(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update driftlock.idempotency_keys set answer_status = (args ->> 'status')::integer,
        answer_headers = args -> 'headers', answer_body = decode(args ->> 'body', 'hex')
    where key = decode(args ->> 'key', 'hex');
    return 'null';
end $$;

-- Makes the partitions of usage events from this month to the one after next, and drops those in which
-- everything is from before `oldest`. Who comes second leaves it to the first.
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
            -- Nobody made it in time: its rows are in the rest, and stay there.
            raise warning 'events of % are in the partition for the rest', name;
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

-- Drops what is kept no longer: expired idempotency records, changes that every node has seen, usage
-- events and closed periods with their sums older than their retention; each in portions. How many
-- idempotency records there were.
create or replace function public.driftlock_purge(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    now bigint := driftlock.clock(args);
    oldest bigint := now - (args ->> 'usage_days')::bigint * 86400000000;
    purged bigint;
begin
    delete from driftlock.changes where id in (
        select id from driftlock.changes where at < clock_timestamp() - interval '1 hour'
        limit 10000 for update skip locked);
    perform driftlock.keep_partitions(now, oldest);
    delete from driftlock.usage_events_rest where id in (
        select id from driftlock.usage_events_rest where id < driftlock.first_id(oldest)
        order by id limit 10000 for update skip locked);
    with closed as (
        select id, organization_id from driftlock.billing_periods where ends_at < oldest
        order by ends_at limit 100 for update skip locked),
    counters as (delete from usage_counters c using closed p
        where c.organization_id = p.organization_id and c.period_id = p.id),
    outbox as (delete from driftlock.meter_outbox m using closed p
        where m.organization_id = p.organization_id and m.period_id = p.id),
    reports as (delete from driftlock.meter_reports m using closed p
        where m.organization_id = p.organization_id and m.period_id = p.id)
    delete from driftlock.billing_periods b using closed p where b.id = p.id
        and not exists (select from driftlock.usage_ledgers l where l.period_id = b.id);
    delete from driftlock.idempotency_keys where key in (
        select key from driftlock.idempotency_keys where at < driftlock.kept_since(now)
        limit 10000 for update skip locked);
    get diagnostics purged = row_count;
    return to_jsonb(purged);
end $$;

do $$ begin
    perform driftlock.keep_partitions(driftlock.micros(clock_timestamp()), 0);
end $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (4) on conflict do nothing;
