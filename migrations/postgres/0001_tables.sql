-- Tables, roles and row-level security of the gateway on PostgreSQL 15+ and in Supabase projects.
--
-- The schema `public` has the tables that people and other programs read. A Supabase project may
-- already have tables of these names: this migration keeps them with their rows and adds missing
-- columns. If a table cannot be kept (a column has another type or is too narrow, a column of the
-- project is NOT NULL without a default, a CHECK may reject our rows), the migration fails with a
-- list of these problems before it changes anything. The schema `driftlock` has the tables that
-- only the gateway reads. It is safe to apply this file again. Integer columns named `at`, `…_at`
-- or `hour` in `driftlock` are microseconds (`hour`: seconds) since 1970, UTC.

do $$
declare name text;
begin
    foreach name in array array['anon', 'authenticated', 'service_role'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
    end loop;
    if (select rolsuper from pg_roles where rolname = current_user)
       and not (select rolbypassrls from pg_roles where rolname = 'service_role') then
        alter role service_role bypassrls;
    end if;
end $$;

create schema if not exists driftlock;
revoke all on schema driftlock from public;
grant usage on schema driftlock to service_role;

create table if not exists driftlock.migrations (
    version    integer primary key,
    applied_at timestamptz not null default now(),
    checksum   text -- of the file, SHA-256 in hex; null if another program applied the file
);

-- The wanted form of the public tables. It is compared with the existing tables, then dropped.
drop schema if exists driftlock_wanted cascade;
create schema driftlock_wanted;

create table driftlock_wanted.organizations (
    id                  uuid constraint driftlock_organizations_id primary key,
    name                text not null default '',
    plan                text not null default 'developer',
    status              text not null default 'active',
    quota               jsonb not null default '{}', -- settings that differ from the plan's quota
    requests_per_minute integer,
    stripe_customer_id  text,
    contract            jsonb, -- the subscription that an operator set
    purchases           jsonb, -- what its customer bought at Stripe
    ledger              jsonb, -- the ledger host now, and the planned one; null: leases
    created_at          timestamptz not null default now(),
    revision            bigint not null default 0 -- increases with each change: detects stale writes
);
create unique index driftlock_organizations_customer on driftlock_wanted.organizations (stripe_customer_id);

create table driftlock_wanted.organization_members (
    organization_id uuid not null,
    user_id         uuid not null,
    role            text not null default 'member', -- owner, admin, member, viewer
    constraint driftlock_organization_members_pair primary key (organization_id, user_id)
);
create index driftlock_members_by_user on driftlock_wanted.organization_members (user_id);

create table driftlock_wanted.api_keys (
    id                  uuid constraint driftlock_api_keys_id primary key,
    organization_id     uuid not null,
    key_hash            text not null constraint driftlock_api_keys_hash unique, -- SHA-256, hex
    name                text not null default '',
    key_prefix          text not null default '',
    scopes              text[] not null default '{*}',
    requests_per_minute integer,
    ip_allow            text[] not null default '{}',
    expires_at          timestamptz,
    revoked_at          timestamptz,
    last_used_at        timestamptz,
    created_at          timestamptz not null default now()
);
create index driftlock_api_keys_of_organization on driftlock_wanted.api_keys (organization_id, id);

-- Usage by hour (`hour`: seconds since 1970). Quota, usage API and outbox are sums of these rows.
-- `tally_id` is the usage batch. `driftlock.meter_outbox` assigns each hour of a batch to a period.
-- Usage that was copied from Durable Objects has one batch per period: `tally_id` is the period's
-- id.
create table driftlock_wanted.usage_counters (
    organization_id uuid,
    tally_id        bigint,
    hour            bigint,
    key_id          uuid,
    route_id        bigint,
    units           bigint,
    requests        bigint
);
create unique index driftlock_usage_counters_place
    on driftlock_wanted.usage_counters (organization_id, tally_id, hour, key_id, route_id);

-- The audit log: a hash chain per organization, and copies of the Durable Objects' chains.
create table driftlock_wanted.audit_logs (
    organization_id uuid,
    seq             bigint,
    at              timestamptz,
    actor           text,
    action          text,
    resource        text,
    outcome         text,
    request_id      text,
    ip              text,
    details         text, -- JSON; the hash covers exactly these bytes
    prev_hash       bytea,
    hash            bytea,
    ledger          text not null default 'leases' -- the ledger host that wrote the chain
);
create unique index driftlock_audit_logs_place
    on driftlock_wanted.audit_logs (organization_id, ledger, seq);

-- Events that Stripe delivered; `body` has the signed bytes.
create table driftlock_wanted.stripe_events (
    id           text constraint driftlock_stripe_events_id primary key,
    type         text not null default '',
    created      timestamptz not null default now(),
    livemode     boolean,
    customer     text,
    received_at  timestamptz not null default now(),
    waiting_since timestamptz not null default now(), -- when it was received, or replayed by a person
    state        text not null default 'ignored', -- rows of the project have no effect
    attempts     integer not null default 0,
    due_at       timestamptz not null default now(),
    processed_at timestamptz,
    error        text,
    body         bytea not null default ''
);
create index driftlock_stripe_events_customer on driftlock_wanted.stripe_events (customer);
create index driftlock_stripe_events_due on driftlock_wanted.stripe_events (due_at)
    where state = 'pending';
create index driftlock_stripe_events_settled on driftlock_wanted.stripe_events (due_at)
    where state in ('done', 'ignored');

-- A customer's billing state as it was committed last. The next commit is compared with it.
create table driftlock_wanted.billing_customers (
    customer        text,
    organization_id uuid,
    standing        jsonb,
    revision        bigint
);
create unique index driftlock_billing_customers_id on driftlock_wanted.billing_customers (customer);

create table driftlock_wanted.invoices_mirror (
    id              text,
    organization_id uuid,
    created         timestamptz,
    invoice         jsonb
);
create unique index driftlock_invoices_id on driftlock_wanted.invoices_mirror (id);
create index driftlock_invoices_of_organization
    on driftlock_wanted.invoices_mirror (organization_id, created);

do $$
declare
    found text;
    wanted record;
begin
    select string_agg(problem, E'\n' order by problem) into found from (
        select format('public.%s.%s is %s; %s is needed', c.relname, a.attname,
                      format_type(h.atttypid, h.atttypmod), format_type(a.atttypid, a.atttypmod))
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        join pg_attribute h on h.attrelid = to_regclass('public.' || quote_ident(c.relname))
             and h.attname = a.attname and not h.attisdropped
        where c.relnamespace = 'driftlock_wanted'::regnamespace and c.relkind = 'r'
          and h.atttypid <> a.atttypid
          and not (a.atttypid = 'text'::regtype and h.atttypid = 'varchar'::regtype)
        union all
        select format('public.%s.%s is not ours and NOT NULL: give it a default',
                      c.relname, h.attname)
        from pg_class c
        join pg_attribute h on h.attrelid = to_regclass('public.' || quote_ident(c.relname))
             and h.attnum > 0 and not h.attisdropped
        where c.relnamespace = 'driftlock_wanted'::regnamespace and c.relkind = 'r'
          and h.attnotnull and not h.atthasdef and h.attidentity = '' and h.attgenerated = ''
          and not exists (select from pg_attribute a where a.attrelid = c.oid
                          and a.attname = h.attname)
        union all
        -- A text column whose values have a maximum length fits a varchar of that length; the
        -- other text columns have no maximum.
        select format('public.%s.%s is %s; text is needed%s', c.relname, a.attname,
                      format_type(h.atttypid, h.atttypmod),
                      coalesce(', or varchar(' || n.chars || ')', ''))
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and a.atttypid = 'text'::regtype
        join pg_attribute h on h.attrelid = to_regclass('public.' || quote_ident(c.relname))
             and h.attname = a.attname and h.atttypid = 'varchar'::regtype and h.atttypmod > 0
        left join (values ('organizations', 'name', 200), ('organizations', 'status', 9),
                          ('organizations', 'stripe_customer_id', 255), ('api_keys', 'name', 200),
                          ('api_keys', 'key_hash', 64), ('api_keys', 'key_prefix', 12),
                          ('stripe_events', 'id', 255), ('stripe_events', 'customer', 255),
                          ('billing_customers', 'customer', 255), ('invoices_mirror', 'id', 255))
             n(table_name, column_name, chars)
             on n.table_name = c.relname and n.column_name = a.attname
        where c.relnamespace = 'driftlock_wanted'::regnamespace and c.relkind = 'r'
          -- Only the project writes members.
          and c.relname <> 'organization_members'
          and (n.chars is null or h.atttypmod - 4 < n.chars)
        union all
        select format('public.%s has the constraint %s %s, which may reject our rows: drop it',
                      c.relname, k.conname, pg_get_constraintdef(k.oid))
        from pg_class c
        join pg_constraint k on k.conrelid = to_regclass('public.' || quote_ident(c.relname))
             and k.contype = 'c'
        where c.relnamespace = 'driftlock_wanted'::regnamespace and c.relkind = 'r'
          and c.relname <> 'organization_members'
          and (k.conkey is null or exists (
              select from pg_attribute h join pg_attribute a on a.attname = h.attname
              where h.attrelid = k.conrelid and h.attnum = any (k.conkey) and a.attrelid = c.oid))
        union all
        select format('public.%s.%s is NOT NULL but may be null here: drop its NOT NULL',
                      c.relname, h.attname)
        from (values ('organizations', 'requests_per_minute'), ('organizations', 'contract'),
                     ('organizations', 'purchases'),
                     ('organizations', 'stripe_customer_id'), ('organizations', 'ledger'),
                     ('api_keys', 'requests_per_minute'), ('api_keys', 'expires_at'),
                     ('api_keys', 'revoked_at'), ('api_keys', 'last_used_at'),
                     ('stripe_events', 'livemode'), ('stripe_events', 'customer'),
                     ('stripe_events', 'processed_at'), ('stripe_events', 'error'))
             c(relname, attname)
        join pg_attribute h on h.attrelid = to_regclass('public.' || quote_ident(c.relname))
             and h.attname = c.attname and h.attnotnull
        union all
        select format('public.%s is not a table', c.relname)
        from pg_class c join pg_class h on h.oid = to_regclass('public.' || quote_ident(c.relname))
        where c.relnamespace = 'driftlock_wanted'::regnamespace and c.relkind = 'r'
          and h.relkind not in ('r', 'p')
    ) problems(problem);
    if found is not null then
        raise exception E'these tables cannot be adopted; nothing was changed\n%', found;
    end if;

    for wanted in select c.oid, c.relname from pg_class c
                  where c.relnamespace = 'driftlock_wanted'::regnamespace and c.relkind = 'r' loop
        execute format('create table if not exists public.%I (like driftlock_wanted.%I including all)',
                       wanted.relname, wanted.relname);
        -- Close the table until the next migration adds the policies.
        execute format('alter table public.%I enable row level security', wanted.relname);
        for found in
            select format('alter table public.%I add column if not exists %I %s%s', wanted.relname,
                          a.attname, format_type(a.atttypid, a.atttypmod),
                          coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''))
            from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where a.attrelid = wanted.oid and a.attnum > 0 and not a.attisdropped
        loop
            execute found;
        end loop;
        -- `like` names its indexes differently; one index over the same columns is enough.
        for found in
            select replace(replace(i.indexdef, 'driftlock_wanted.', 'public.'),
                           'INDEX ', 'INDEX IF NOT EXISTS ')
            from pg_indexes i
            where i.schemaname = 'driftlock_wanted' and i.tablename = wanted.relname
              and not exists (
                  select from pg_indexes h
                  where h.schemaname = 'public' and h.tablename = wanted.relname
                    and split_part(h.indexdef, ' USING ', 2) = split_part(i.indexdef, ' USING ', 2)
                    and (h.indexdef like 'CREATE UNIQUE%') = (i.indexdef like 'CREATE UNIQUE%'))
        loop
            execute found;
        end loop;
    end loop;
end $$;

drop schema driftlock_wanted cascade;

-- A unit belongs to the period in which it is settled. A usage batch (`tally_id`) is what a ledger
-- counts between two period changes, or the part of a batch's hour that another period took over.
-- Batch ids come from this table's id sequence.
create table if not exists driftlock.billing_periods (
    id              bigint generated always as identity primary key,
    organization_id uuid not null,
    starts_at       bigint not null,
    ends_at         bigint not null,
    last_settled_at bigint not null default 0,
    -- The terms of the last lease; a closed period is shown with these terms.
    included        bigint,
    base_micros     bigint,
    overage_micros  bigint,
    unique (organization_id, starts_at, ends_at)
);
create index if not exists billing_periods_by_end on driftlock.billing_periods (ends_at);

create table if not exists driftlock.routes (
    id    bigint generated always as identity primary key,
    label text not null unique
);

-- One row per settled request, partitioned by the time in its id (UUIDv7), so that retention drops
-- whole partitions. The default partition `usage_events_rest` takes rows without a partition.
create table if not exists driftlock.usage_events (
    id              uuid primary key,
    organization_id uuid not null,
    key_id          uuid not null,
    route_id        bigint not null,
    units           bigint not null,
    tally_id        bigint not null, -- the usage batch at settlement; never changes; see `tally_parts`
    at              bigint not null,
    request_id      text not null,
    voided          boolean not null default false
) partition by range (id);
create table if not exists driftlock.usage_events_rest
    partition of driftlock.usage_events default;
create index if not exists usage_events_of_organization
    on driftlock.usage_events (organization_id, at);

-- The current state of an organization's ledger in the period. Leasing and settling lock its row.
create table if not exists driftlock.usage_ledgers (
    organization_id uuid primary key,
    period_id       bigint not null,
    starts_at       bigint not null,
    ends_at         bigint not null,
    included        bigint not null,
    cap             bigint,
    used            bigint not null,
    last_at         bigint not null,
    tally_id        bigint not null default 0 -- the usage batch of new settlements
) with (fillfactor = 50);

-- Units that nodes hold or may still admit; a lease that is not renewed expires.
create table if not exists driftlock.usage_leases (
    organization_id uuid not null,
    node_id         uuid not null,
    number          bigint not null, -- the number of the node's lease request that it answers
    units           bigint not null,
    until           bigint not null,
    primary key (organization_id, node_id)
) with (fillfactor = 50);

-- Usage to be sent to Stripe, and how much of it is sealed. Each row assigns one hour of a usage
-- batch to a period, which may differ from the period at settlement. All rows of one hour of a
-- period are one bucket.
create table if not exists driftlock.meter_outbox (
    organization_id uuid not null,
    period_id       bigint not null,
    tally_id        bigint not null,
    hour            bigint not null,
    units           bigint not null,
    sealed_units    bigint not null default 0,
    parts           integer not null default 0,
    sealed_at       bigint,
    primary key (organization_id, tally_id, hour)
);
create index if not exists meter_outbox_of_period
    on driftlock.meter_outbox (organization_id, period_id, hour);
create index if not exists meter_outbox_open on driftlock.meter_outbox (organization_id, hour)
    where units <> sealed_units;

-- Batches that were split because a period that became known late begins or ends within an hour:
-- settlements of batch `tally_id` from `since` until `until` now belong to batch `part_id`.
create table if not exists driftlock.tally_parts (
    part_id         bigint primary key,
    organization_id uuid not null,
    tally_id        bigint not null, -- the batch that was split
    root_id         bigint not null, -- the batch in the settlements' own rows
    since           bigint not null,
    until           bigint not null
);
create index if not exists tally_parts_of_tally on driftlock.tally_parts (tally_id);
create index if not exists tally_parts_of_root on driftlock.tally_parts (root_id);

-- Sealed buckets: the meter report of each, which never changes, and the state of its delivery.
create table if not exists driftlock.meter_reports (
    identifier      text primary key,
    organization_id uuid not null,
    period_id       bigint not null,
    hour            bigint not null,
    units           bigint not null,
    value           bigint not null,
    timestamp       bigint not null, -- seconds since 1970
    sealed_at       bigint not null,
    state           text not null,
    attempts        integer not null default 0,
    first_at        bigint,
    due_at          bigint not null,
    taken_until     bigint not null default 0, -- until then one process may be sending it
    done_at         bigint,
    error           text
);
create index if not exists meter_reports_due on driftlock.meter_reports (organization_id, due_at)
    where state in ('pending', 'reconcile');
create index if not exists meter_reports_of_period
    on driftlock.meter_reports (organization_id, period_id);
create index if not exists meter_reports_by_time
    on driftlock.meter_reports (organization_id, timestamp);

create table if not exists driftlock.idempotency_keys (
    key            bytea primary key, -- SHA-256 over organization, route and key
    fingerprint    bytea not null,
    usage_id       uuid not null,
    at             bigint not null,
    answer_status  integer,
    answer_headers jsonb,
    answer_body    bytea
);
-- Claims: idempotency keys of requests in progress, until they expire.
create table if not exists driftlock.idempotency_claims (
    key         bytea primary key,
    fingerprint bytea not null,
    usage_id    uuid not null,
    until       bigint not null
);
create index if not exists idempotency_claims_by_age on driftlock.idempotency_claims (until);
create index if not exists idempotency_keys_by_age on driftlock.idempotency_keys (at);
create index if not exists idempotency_keys_by_usage on driftlock.idempotency_keys (usage_id);

-- Audit records that still have to be appended to the chain of a Durable Object. The object takes
-- each id once.
create table if not exists driftlock.audit_outbox (
    id              bigint generated always as identity primary key,
    organization_id uuid not null,
    record          jsonb not null
);
create index if not exists audit_outbox_of_organization
    on driftlock.audit_outbox (organization_id, id);

-- Values that jobs keep for their next run.
create table if not exists driftlock.notes (
    name  text primary key,
    value text
);

-- The heads of the audit chains. Appending to a chain locks its row.
create table if not exists driftlock.audit_heads (
    organization_id uuid primary key,
    seq             bigint not null,
    hash            bytea not null
) with (fillfactor = 50);

-- Checkpoints: the last entry of each chain that retention removed.
create table if not exists driftlock.audit_checkpoints (
    organization_id uuid primary key,
    seq             bigint not null,
    hash            bytea not null
);

-- Alerts for people, each raised once.
create table if not exists driftlock.alerts (
    organization_id uuid not null,
    kind            text not null,
    subject         text not null,
    at              bigint not null,
    details         jsonb not null,
    primary key (organization_id, kind, subject)
);
create index if not exists alerts_by_time on driftlock.alerts (organization_id, at);

-- Changes by which nodes invalidate their caches. A reader asks for the changes of transactions
-- that its last snapshot could not see, so that it misses none in whatever order transactions
-- commit.
create table if not exists driftlock.changes (
    id   bigint generated always as identity primary key,
    xid  xid8 not null default pg_current_xact_id(),
    kind text not null, -- key, organization
    item text not null, -- a key's hash, an organization's id
    at   timestamptz not null default now()
);
create index if not exists changes_by_transaction on driftlock.changes (xid);

insert into driftlock.migrations (version) values (1) on conflict (version) do nothing;
