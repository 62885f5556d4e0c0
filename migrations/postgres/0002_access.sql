-- Who may what. A member reads its organizations' rows and no key's hash; nobody but the service
-- writes; the functions are the service's alone. Policies that a project had on these tables are
-- dropped, since any one of them that is wider would count: each is told as a notice.
--
-- Every migration calls `driftlock.protect()` at its end, so that nothing it made is ever open to
-- those whom a project's default privileges let in.

-- The organizations of whoever asks, as a policy needs them: once a query.
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

create or replace function driftlock.protect() returns void language plpgsql as $$
declare found record;
begin
    -- Members read these, by the column that says whose a row is.
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

    -- What only the gateway reads: through its functions, or to be looked at.
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
    -- The policies ask it, on behalf of whoever reads.
    grant execute on function driftlock.memberships() to authenticated;

    -- Nobody shadows what functions call by a name of their own in this schema.
    if pg_has_role((select nspowner from pg_namespace where nspname = 'public'), 'usage') then
        revoke create on schema public from public, anon, authenticated;
    end if;
end $$;

do $$ begin perform driftlock.protect(); end $$;

insert into driftlock.migrations (version) values (2) on conflict do nothing;
