-- Access rights. Members read the rows of their organizations, but no key hashes. Only
-- `service_role` writes and calls the functions. Policies that the project had on these tables are
-- dropped, since PostgreSQL grants what any policy allows; a notice names each dropped policy.
--
-- Every migration calls `driftlock.protect()` at its end, so that new tables and functions are
-- never open to the roles in the project's default privileges.

-- The organizations of the current user. Policies call it, and it is evaluated once per query.
create or replace function driftlock.memberships() returns setof uuid
    language sql stable security definer set search_path = public, pg_temp as $$
    select m.organization_id from organization_members m
    where m.user_id = nullif(
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid $$;

create or replace function driftlock.protect_table(place regclass) returns void
    language plpgsql as $$
declare found record;
begin
    for found in select polname from pg_policy where polrelid = place loop
        if found.polname not like 'driftlock\_%' then
            raise notice 'policy % on % is dropped', found.polname, place;
        end if;
        execute format('drop policy %I on %s', found.polname, place);
    end loop;
    execute format('alter table %s enable row level security', place);
    execute format('revoke all on %s from public, anon, authenticated', place);
    for found in select attname from pg_attribute
                 where attrelid = place and attnum > 0 and not attisdropped loop
        execute format('revoke all (%I) on %s from public, anon, authenticated', found.attname, place);
    end loop;
end $$;

-- Views of subscriptions, quotas and failed payments, which are stored in `organizations`. A member
-- sees its own organizations. A table of the project with the same name stays as it is.
do $$ begin
    if to_regclass('public.subscriptions') is null then
        create view public.subscriptions with (security_invoker = true) as
        select o.id as organization_id, s ->> 'id' as id, o.stripe_customer_id,
            s ->> 'plan' as plan, s ->> 'status' as status,
            (s -> 'period' ->> 'start')::timestamptz as current_period_start,
            (s -> 'period' ->> 'end')::timestamptz as current_period_end,
            (s ->> 'cancel_at')::timestamptz as cancel_at
        from public.organizations o, jsonb_array_elements(
            case when o.contract is null then '[]' else jsonb_build_array(o.contract) end
            || coalesce(o.purchases -> 'subscriptions', '[]')) s;
        comment on view public.subscriptions is
            'driftlock: contracts of organizations and their subscriptions at Stripe';
    end if;
    if to_regclass('public.quota_policy') is null then
        create view public.quota_policy with (security_invoker = true) as
        select o.id as organization_id, o.plan, (o.quota ->> 'included')::bigint as included,
            o.quota ->> 'policy' as policy, (o.quota ->> 'cap_percent')::integer as cap_percent,
            (o.quota ->> 'spend_cap_micros')::bigint as spend_cap_micros, o.requests_per_minute
        from public.organizations o;
        comment on view public.quota_policy is
            'driftlock: what organizations changed of their plans'' quotas; null is the plan''s';
    end if;
    if to_regclass('public.dunning_states') is null then
        create view public.dunning_states with (security_invoker = true) as
        select o.id as organization_id, s ->> 'id' as subscription_id, s ->> 'status' as status,
            (s ->> 'unpaid_since')::timestamptz as unpaid_since
        from public.organizations o,
            jsonb_array_elements(coalesce(o.purchases -> 'subscriptions', '[]')) s
        where s ->> 'unpaid_since' is not null or s ->> 'status' in ('past_due', 'unpaid');
        comment on view public.dunning_states is
            'driftlock: subscriptions with an unpaid invoice, and since when the grace time runs';
    end if;
end $$;

-- Protects tables of the project with names that belong to billing: only `service_role` writes
-- them. Members read the rows of their organizations if the table has an `organization_id`;
-- everybody reads the price lists.
create or replace function driftlock.protect_neighbours() returns void language plpgsql as $$
declare
    found record;
    is_owned boolean;
begin
    for found in
        select c.oid::regclass as place, c.relkind, t.is_list,
            coalesce(obj_description(c.oid, 'pg_class') like 'driftlock: %', false) as is_ours
        from (values ('subscriptions', false), ('quota_policy', false), ('dunning_states', false),
                     ('plans', true), ('plan_price_map', true)) t(table_name, is_list)
        join pg_class c on c.oid = to_regclass('public.' || t.table_name)
    loop
        if found.relkind not in ('r', 'p') then
            -- A view of the project may read with its owner's rights: only `service_role` gets it.
            execute format('revoke all on %s from public, anon, authenticated, service_role',
                           found.place);
            execute format('grant select on %s to service_role%s', found.place,
                           case when found.is_ours then ', authenticated' else '' end);
            continue;
        end if;
        perform driftlock.protect_table(found.place);
        execute format('grant all on %s to service_role', found.place);
        execute format('create policy driftlock_service on %s to service_role '
            'using (true) with check (true)', found.place);
        is_owned := exists (select from pg_attribute a where a.attrelid = found.place
            and a.attname = 'organization_id' and a.atttypid = 'uuid'::regtype);
        if found.is_list then
            execute format('grant select on %s to anon, authenticated', found.place);
            execute format('create policy driftlock_everybody_reads on %s for select to '
                'anon, authenticated using (true)', found.place);
        elsif is_owned then
            execute format('grant select on %s to authenticated', found.place);
            execute format('create policy driftlock_members_read on %s for select to authenticated '
                'using (organization_id in (select driftlock.memberships()))', found.place);
        end if;
    end loop;
end $$;

create or replace function driftlock.protect() returns void language plpgsql as $$
declare found record;
begin
    -- The tables, the column with the organization's id, and the columns that members may read.
    for found in select * from (values
        ('organizations', 'id', '*'),
        ('organization_members', 'organization_id', '*'),
        ('api_keys', 'organization_id', 'id, organization_id, name, key_prefix, scopes, '
            'requests_per_minute, ip_allow, expires_at, revoked_at, last_used_at, created_at'),
        ('usage_counters', 'organization_id', '*'),
        ('audit_logs', 'organization_id', '*'),
        ('invoices_mirror', 'organization_id', '*'),
        ('stripe_events', null, null),
        ('billing_customers', null, null)) t(table_name, owner, readable)
    loop
        perform driftlock.protect_table(format('public.%I', found.table_name)::regclass);
        execute format('grant all on public.%I to service_role', found.table_name);
        execute format('create policy driftlock_service on public.%I to service_role '
            'using (true) with check (true)', found.table_name);
        if found.owner is not null then
            execute format('grant select %s on public.%I to authenticated',
                nullif('(' || found.readable || ')', '(*)'), found.table_name);
            execute format('create policy driftlock_members_read on public.%I for select to '
                'authenticated using (%I in (select driftlock.memberships()))',
                found.table_name, found.owner);
        end if;
    end loop;

    perform driftlock.protect_neighbours();

    -- Tables that only the gateway uses, through its functions; `service_role` may read them.
    for found in select c.oid::regclass as place from pg_class c
                 where c.relnamespace = 'driftlock'::regnamespace and c.relkind in ('r', 'p') loop
        perform driftlock.protect_table(found.place);
        execute format('grant select on %s to service_role', found.place);
        execute format('create policy driftlock_service on %s for select to service_role using (true)',
                       found.place);
    end loop;

    for found in select p.oid::regprocedure as signature, n.nspname
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where (n.nspname = 'public' and p.proname like 'driftlock\_%') or n.nspname = 'driftlock' loop
        execute format('revoke all on function %s from public, anon, authenticated', found.signature);
        if found.nspname = 'public' then
            execute format('grant execute on function %s to service_role', found.signature);
        end if;
    end loop;
    -- The policies call it with the rights of the reading role.
    grant execute on function driftlock.memberships() to authenticated;

    -- Otherwise a user could create a function in this schema that shadows one that we call.
    if pg_has_role((select nspowner from pg_namespace where nspname = 'public'), 'usage') then
        revoke create on schema public from public, anon, authenticated;
    end if;
end $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (2) on conflict (version) do nothing;
