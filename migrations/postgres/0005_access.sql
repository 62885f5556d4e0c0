-- Who may what. A member reads its organizations' rows and no key's hash; nobody but the service
-- writes; the functions are the service's alone. Policies that a project had on these tables are
-- dropped, since any one of them that is wider would count: each is told as a notice.

create or replace function driftlock.is_member(organization uuid) returns boolean
    language sql stable security definer set search_path = public, pg_temp as $$
    select exists (select from organization_members m
        where m.organization_id = organization and m.user_id = nullif(
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid) $$;

do $$
declare
    found record;
    name text;
    columns text;
begin
    for found in select * from pg_policies where schemaname = 'public' and tablename in (
        'organizations', 'organization_members', 'api_keys', 'usage_counters', 'audit_logs',
        'stripe_events', 'billing_customers', 'invoices_mirror') loop
        if found.policyname not like 'driftlock\_%' then
            raise notice 'policy % on public.% is dropped', found.policyname, found.tablename;
        end if;
        execute format('drop policy %I on public.%I', found.policyname, found.tablename);
    end loop;
    foreach name in array array['organizations', 'organization_members', 'api_keys',
        'usage_counters', 'audit_logs', 'stripe_events', 'billing_customers', 'invoices_mirror'] loop
        execute format('alter table public.%I enable row level security', name);
        execute format('revoke all on public.%I from public, anon, authenticated', name);
        for columns in select attname from pg_attribute
            where attrelid = to_regclass('public.' || quote_ident(name)) and attnum > 0
              and not attisdropped loop
            execute format('revoke all (%I) on public.%I from public, anon, authenticated',
                           columns, name);
        end loop;
        execute format('grant all on public.%I to service_role', name);
        execute format('create policy driftlock_service on public.%I to service_role '
            'using (true) with check (true)', name);
    end loop;
    foreach name in array array['organization_members', 'usage_counters', 'audit_logs',
        'invoices_mirror'] loop
        execute format('grant select on public.%I to authenticated', name);
        execute format('create policy driftlock_members_read on public.%I for select '
            'to authenticated using (driftlock.is_member(organization_id))', name);
    end loop;
    grant select on public.organizations to authenticated;
    create policy driftlock_members_read on public.organizations for select
        to authenticated using (driftlock.is_member(id));
    grant select (id, organization_id, name, key_prefix, scopes, requests_per_minute, ip_allow,
        expires_at, revoked_at, last_used_at, created_at) on public.api_keys to authenticated;
    create policy driftlock_members_read on public.api_keys for select
        to authenticated using (driftlock.is_member(organization_id));

    for found in select tablename from pg_tables where schemaname = 'driftlock' loop
        execute format('alter table driftlock.%I enable row level security', found.tablename);
        execute format('revoke all on driftlock.%I from public, anon, authenticated', found.tablename);
        execute format('grant select on driftlock.%I to service_role', found.tablename);
        execute format('drop policy if exists driftlock_service on driftlock.%I', found.tablename);
        execute format('create policy driftlock_service on driftlock.%I for select '
            'to service_role using (true)', found.tablename);
    end loop;

    for found in select p.oid::regprocedure as signature, n.nspname
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where (n.nspname = 'public' and p.proname like 'driftlock\_%') or n.nspname = 'driftlock' loop
        execute format('revoke all on function %s from public, anon, authenticated', found.signature);
        if found.nspname = 'public' then
            execute format('grant execute on function %s to service_role', found.signature);
        end if;
    end loop;
end $$;

-- The policies ask it, on behalf of whoever reads.
grant usage on schema driftlock to authenticated;
grant execute on function driftlock.is_member(uuid) to authenticated;

insert into driftlock.migrations (version) values (5) on conflict do nothing;
