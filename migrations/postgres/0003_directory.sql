-- Organizations, keys and the audit log: one function per operation, each one transaction.
-- Every function takes one JSON object and returns JSON, so that a PostgreSQL connection and
-- PostgREST call the same functions.

create or replace function driftlock.micros(at timestamptz) returns bigint
    language sql immutable parallel safe as $$ select (extract(epoch from at) * 1000000)::bigint $$;

create or replace function driftlock.instant(at bigint) returns timestamptz
    language sql immutable parallel safe
    as $$ select timestamptz 'epoch' + at * interval '1 microsecond' $$;

-- The time of a call: the caller's `now` if given, otherwise the database's, which all nodes share.
create or replace function driftlock.clock(args jsonb) returns bigint language sql volatile
    as $$ select coalesce((args ->> 'now')::bigint, driftlock.micros(clock_timestamp())) $$;

-- An organization as JSON. In an adopted row all columns but the id may be null.
create or replace function driftlock.organization(o public.organizations) returns jsonb
    language sql stable as $$
    select jsonb_build_object('id', o.id, 'name', coalesce(o.name, ''),
        'plan', coalesce(o.plan, 'developer'),
        -- A status that the gateway does not know, from the project, counts as suspended.
        'status', case when coalesce(o.status, 'active') = 'active' then 'active' else 'suspended' end,
        'quota', coalesce(o.quota, '{}'), 'requests_per_minute', o.requests_per_minute,
        'stripe_customer_id', o.stripe_customer_id, 'contract', o.contract,
        'purchases', o.purchases,
        'created_at', coalesce(o.created_at, 'epoch'), 'ledger', o.ledger) $$;

-- The ledger host of an organization at an instant.
create or replace function driftlock.ledger_kind(ledger jsonb, at bigint) returns text
    language sql stable as $$
    select case
        when ledger is null then 'leases'
        when at >= driftlock.micros((ledger -> 'next' ->> 'from')::timestamptz)
            then ledger -> 'next' ->> 'kind'
        else ledger ->> 'kind' end $$;

create or replace function driftlock.api_key(k public.api_keys) returns jsonb
    language sql stable as $$
    select jsonb_build_object('id', k.id, 'organization_id', k.organization_id,
        'name', coalesce(k.name, ''), 'prefix', coalesce(k.key_prefix, ''),
        'scopes', coalesce(k.scopes, '{}'), 'requests_per_minute', k.requests_per_minute,
        'ip_allow', coalesce(k.ip_allow, '{}'), 'expires_at', k.expires_at,
        'revoked_at', k.revoked_at, 'last_used_at', k.last_used_at,
        'created_at', coalesce(k.created_at, 'epoch')) $$;

create or replace function driftlock.texts(list jsonb) returns text[] language sql immutable
    as $$ select coalesce(array_agg(x order by n), '{}')
          from jsonb_array_elements_text(list) with ordinality t(x, n) $$;

-- Appends records to an organization's audit chain.
create or replace function driftlock.chain(organization uuid, records jsonb) returns void
    language plpgsql set search_path = public, pg_temp as $$
declare
    head driftlock.audit_heads%rowtype;
    tail bytea;
    first bigint;
    hashes bytea[];
begin
    select * into head from driftlock.audit_heads h
        where h.organization_id = chain.organization for update;
    if not found then
        -- The hash before the first entry names the organization.
        insert into driftlock.audit_heads values (organization, 0,
            sha256(convert_to('driftlock audit chain ', 'UTF8') || uuid_send(organization)))
            on conflict (organization_id) do nothing;
        select * into head from driftlock.audit_heads h
            where h.organization_id = chain.organization for update;
    end if;
    first := head.seq;
    hashes := array[head.hash];
    for tail in
        select int8send(r.at) || sha256(
            int8send(octet_length(r.actor)) || convert_to(r.actor, 'UTF8')
            || int8send(octet_length(r.action)) || convert_to(r.action, 'UTF8')
            || int8send(octet_length(r.resource)) || convert_to(r.resource, 'UTF8')
            || int8send(octet_length(r.outcome)) || convert_to(r.outcome, 'UTF8')
            || int8send(octet_length(r.request_id)) || convert_to(r.request_id, 'UTF8')
            || int8send(octet_length(r.ip)) || convert_to(r.ip, 'UTF8')
            || int8send(octet_length(r.details)) || convert_to(r.details, 'UTF8'))
        from jsonb_to_recordset(records) as r(at bigint, actor text, action text, resource text,
            outcome text, request_id text, ip text, details text)
    loop
        head.seq := head.seq + 1;
        head.hash := sha256(head.hash || int8send(head.seq) || tail);
        hashes := hashes || head.hash;
    end loop;
    insert into audit_logs (organization_id, seq, at, actor, action, resource, outcome, request_id,
                            ip, details, prev_hash, hash)
    select chain.organization, first + r.n, driftlock.instant(r.at), r.actor, r.action, r.resource,
           r.outcome, r.request_id, r.ip, r.details, hashes[r.n], hashes[r.n + 1]
    from rows from (jsonb_to_recordset(records) as (at bigint, actor text, action text,
        resource text, outcome text, request_id text, ip text, details text)) with ordinality
        as r(at, actor, action, resource, outcome, request_id, ip, details, n);
    update driftlock.audit_heads h set seq = head.seq, hash = head.hash
        where h.organization_id = chain.organization;
end $$;

-- Appends records to the chain here or, if a Durable Object keeps the chain, to the outbox for it.
create or replace function driftlock.append(organization uuid, records jsonb) returns void
    language plpgsql set search_path = public, pg_temp as $$
begin
    if exists (select from organizations o where o.id = organization and o.ledger is not null
               and driftlock.ledger_kind(o.ledger, driftlock.micros(clock_timestamp())) = 'objects')
    then
        -- The object ignores ids below its last one, so rows must become visible in order of id.
        perform from organizations o where o.id = organization for no key update;
        insert into driftlock.audit_outbox (organization_id, record)
        select organization, r from jsonb_array_elements(records) with ordinality t(r, n)
        order by n;
    else
        perform driftlock.chain(organization, records);
    end if;
end $$;

create or replace function public.driftlock_key_by_hash(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select driftlock.api_key(k) from api_keys k where k.key_hash = args ->> 'hash' $$;

-- A key with its organization: all that a request with an uncached key needs.
create or replace function public.driftlock_caller(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_array(driftlock.api_key(k), case when o.id is not null
        then driftlock.organization(o) end)
    from api_keys k left join organizations o on o.id = k.organization_id
    where k.key_hash = args ->> 'hash' $$;

create or replace function public.driftlock_key(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select driftlock.api_key(k) from api_keys k where k.id = (args ->> 'id')::uuid $$;

create or replace function public.driftlock_keys(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(driftlock.api_key(k) order by k.id), '[]') from (
        select * from api_keys where organization_id = (args ->> 'organization')::uuid
            and id > (args ->> 'after')::uuid
        order by id limit (args ->> 'limit')::integer) k $$;

-- An organization with its revision, which a later update must state.
create or replace function public.driftlock_organization(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object('organization', driftlock.organization(o), 'revision', o.revision)
    from organizations o where o.id = (args ->> 'id')::uuid $$;

create or replace function public.driftlock_organizations(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(driftlock.organization(o) order by o.id), '[]') from (
        select * from organizations where id > (args ->> 'after')::uuid
        order by id limit (args ->> 'limit')::integer) o $$;

-- Raises SQLSTATE DL409, which the gateway reads as "it exists already". Only conflicts of an id,
-- key hash or customer raise it. A violation of a project's own unique constraint stays a plain
-- error.
create or replace function driftlock.exists_already(what text) returns void language plpgsql as $$
begin
    raise exception 'there is % already', what using errcode = 'DL409';
end $$;

create or replace function driftlock.customer_taken(o jsonb) returns void language plpgsql as $$
begin
    if exists (select from public.organizations h where h.id <> (o ->> 'id')::uuid
               and h.stripe_customer_id = o ->> 'stripe_customer_id') then
        perform driftlock.exists_already('an organization with this customer');
    end if;
end $$;

create or replace function public.driftlock_create_organization(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare o jsonb := args -> 'organization';
begin
    insert into organizations (id, name, plan, status, quota, requests_per_minute,
                               stripe_customer_id, contract, purchases, created_at, ledger)
    values ((o ->> 'id')::uuid, o ->> 'name', o ->> 'plan', o ->> 'status', o -> 'quota',
            (o ->> 'requests_per_minute')::integer, o ->> 'stripe_customer_id',
            nullif(o -> 'contract', 'null'), nullif(o -> 'purchases', 'null'),
            (o ->> 'created_at')::timestamptz, o -> 'ledger');
    perform driftlock.append((o ->> 'id')::uuid, args -> 'audit');
    return 'null';
exception when unique_violation then
    if exists (select from organizations h where h.id = (o ->> 'id')::uuid) then
        perform driftlock.exists_already('an organization of this id');
    end if;
    perform driftlock.customer_taken(o);
    raise;
end $$;

-- Returns whether the change was made; false if the row has another revision by now.
create or replace function public.driftlock_update_organization(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare o jsonb := args -> 'organization';
begin
    update organizations set name = o ->> 'name', plan = o ->> 'plan', status = o ->> 'status',
        quota = o -> 'quota', requests_per_minute = (o ->> 'requests_per_minute')::integer,
        stripe_customer_id = o ->> 'stripe_customer_id',
        contract = nullif(o -> 'contract', 'null'),
        purchases = nullif(o -> 'purchases', 'null'), revision = revision + 1
    where id = (o ->> 'id')::uuid and revision = (args ->> 'revision')::bigint;
    if not found then
        return 'false';
    end if;
    perform driftlock.append((o ->> 'id')::uuid, args -> 'audit');
    return 'true';
exception when unique_violation then
    perform driftlock.customer_taken(o);
    raise;
end $$;

create or replace function driftlock.insert_key(k jsonb, hash text) returns void
    language plpgsql set search_path = public, pg_temp as $$
begin
    insert into api_keys (id, organization_id, key_hash, name, key_prefix, scopes,
        requests_per_minute, ip_allow, expires_at, revoked_at, last_used_at, created_at)
    values ((k ->> 'id')::uuid, (k ->> 'organization_id')::uuid, hash, k ->> 'name',
        k ->> 'prefix', driftlock.texts(k -> 'scopes'), (k ->> 'requests_per_minute')::integer,
        driftlock.texts(k -> 'ip_allow'), (k ->> 'expires_at')::timestamptz,
        (k ->> 'revoked_at')::timestamptz, (k ->> 'last_used_at')::timestamptz,
        (k ->> 'created_at')::timestamptz);
exception when unique_violation then
    if exists (select from api_keys h
               where h.id = (k ->> 'id')::uuid or h.key_hash = insert_key.hash) then
        perform driftlock.exists_already('a key of this id or hash');
    end if;
    raise;
end $$;

create or replace function public.driftlock_create_key(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if not exists (select from organizations
                   where id = (args -> 'key' ->> 'organization_id')::uuid for key share) then
        raise foreign_key_violation using message = 'there is no such organization';
    end if;
    perform driftlock.insert_key(args -> 'key', args ->> 'hash');
    perform driftlock.append((args -> 'key' ->> 'organization_id')::uuid, args -> 'audit');
    return 'null';
end $$;

-- Revokes a key; of two revocations the earlier one counts. A `successor` is created in the same
-- commit.
create or replace function public.driftlock_revoke_key(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare k api_keys%rowtype;
begin
    update api_keys set revoked_at = least(revoked_at, driftlock.instant((args ->> 'at')::bigint))
        where id = (args ->> 'id')::uuid returning * into k;
    if not found then
        return null;
    end if;
    if args ? 'successor' then
        perform driftlock.insert_key(args -> 'successor', args ->> 'hash');
    end if;
    perform driftlock.append(k.organization_id, args -> 'audit');
    return driftlock.api_key(k);
end $$;

-- Locks keys in order of id, so that two nodes that record uses at once cannot deadlock.
create or replace function public.driftlock_touch_keys(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    with used as (
        select k.id, driftlock.instant(max(u.at)) as at
        from jsonb_to_recordset(args -> 'used') as u(id uuid, at bigint) join api_keys k using (id)
        group by k.id),
    locked as (
        select k.id from api_keys k where k.id in (select id from used) order by k.id for no key update)
    update api_keys k set last_used_at = greatest(k.last_used_at, used.at)
    from used join locked using (id) where k.id = used.id;
    return 'null';
end $$;

create or replace function public.driftlock_append(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare r record;
begin
    for r in select (x ->> 'organization')::uuid as organization,
                    jsonb_agg(x -> 'record' order by n) as records
             from jsonb_array_elements(args -> 'records') with ordinality t(x, n) group by 1 order by 1
    loop
        perform driftlock.append(r.organization, r.records);
    end loop;
    return 'null';
end $$;

create or replace function public.driftlock_entries(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_object('seq', a.seq, 'at', a.at, 'actor', a.actor,
        'action', a.action, 'resource', a.resource, 'outcome', a.outcome,
        'request_id', a.request_id, 'ip', a.ip, 'details', a.details,
        'prev_hash', encode(a.prev_hash, 'hex'), 'hash', encode(a.hash, 'hex')) order by a.seq), '[]')
    from (select * from audit_logs where organization_id = (args ->> 'organization')::uuid
          and ledger = 'leases' and seq > (args ->> 'after')::bigint
          order by seq limit (args ->> 'limit')::integer) a $$;

create or replace function public.driftlock_head(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object('seq', seq, 'hash', encode(hash, 'hex')) from driftlock.audit_heads
    where organization_id = (args ->> 'organization')::uuid $$;

create or replace function public.driftlock_checkpoint(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object('seq', seq, 'hash', encode(hash, 'hex'))
    from driftlock.audit_checkpoints where organization_id = (args ->> 'organization')::uuid $$;

-- Removes a chain's entries up to `seq` and writes its checkpoint. Returns whether it did: if two
-- nodes call this at once, only one gets true.
create or replace function public.driftlock_prune(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    organization uuid := (args ->> 'organization')::uuid;
    last bigint := (args ->> 'seq')::bigint;
begin
    perform from driftlock.audit_heads h where h.organization_id = organization for update;
    perform from audit_logs a
        where a.organization_id = organization and a.ledger = 'leases' and a.seq = last;
    if not found then
        return 'false';
    end if;
    perform driftlock.append(organization, args -> 'audit');
    insert into driftlock.audit_checkpoints values (organization, last, decode(args ->> 'hash', 'hex'))
        on conflict (organization_id) do update set seq = excluded.seq, hash = excluded.hash;
    delete from audit_logs a
        where a.organization_id = organization and a.ledger = 'leases' and a.seq <= last;
    return 'true';
end $$;

-- The changes since a cursor, and the next cursor. Without a cursor, `changes` is an empty list. It
-- is null if there are too many changes.
create or replace function public.driftlock_changes(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select jsonb_build_object('cursor', pg_snapshot_xmin(pg_current_snapshot())::text, 'changes',
        case when count(*) <= 10000 then coalesce(jsonb_agg(to_jsonb(c)), '[]') end)
    from (select id, kind, item from driftlock.changes where xid >= (args ->> 'cursor')::xid8
          limit 10001) c $$;

create or replace function driftlock.note_change() returns trigger
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if tg_argv[0] = 'key' then
        insert into driftlock.changes (kind, item)
        select distinct 'key', hash
        from unnest(array[to_jsonb(old) ->> 'key_hash', to_jsonb(new) ->> 'key_hash']) hash
        where hash is not null;
    else
        insert into driftlock.changes (kind, item)
        values ('organization', coalesce(to_jsonb(new), to_jsonb(old)) ->> 'id');
    end if;
    perform pg_notify('driftlock_changes', '');
    return null;
end $$;

-- The trigger's columns omit `last_used_at`: recording a use is not a change of the key.
create or replace trigger driftlock_key_changed
    after insert or delete or update of key_hash, organization_id, name, scopes,
    requests_per_minute, ip_allow, expires_at, revoked_at on public.api_keys
    for each row execute function driftlock.note_change('key');
create or replace trigger driftlock_organization_changed
    after insert or delete or update on public.organizations
    for each row execute function driftlock.note_change('organization');

-- The number of the last migration.
create or replace function public.driftlock_version(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select to_jsonb(coalesce(max(version), 0)) from driftlock.migrations $$;

-- Fails if the database is read-only: a standby, or one that its platform made read-only because
-- the disk is full.
create or replace function public.driftlock_ready(args jsonb) returns jsonb
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if current_setting('transaction_read_only')::boolean then
        raise exception 'the database takes no writes' using errcode = 'read_only_sql_transaction';
    end if;
    return 'true'::jsonb;
end $$;

-- The checksums of the applied migration files: [[version, checksum], ...].
create or replace function public.driftlock_checksums(args jsonb) returns jsonb
    language sql stable security definer set search_path = public, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_array(version, checksum) order by version), '[]')
    from driftlock.migrations where checksum is not null $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (3) on conflict (version) do nothing;
