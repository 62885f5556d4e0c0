-- The tables of the TypeScript Worker: keys, plans, usage, and the sum that a trigger maintains.

create table customer_keys (
    id uuid primary key default gen_random_uuid(),
    key_hash text not null unique,
    organization_id uuid not null,
    revoked_at timestamptz
);
create table customer_plans (
    organization_id uuid primary key,
    status text not null,
    included bigint not null
);
create table customer_usage (
    organization_id uuid primary key,
    units bigint not null
);
create table usage_log (
    id bigint generated always as identity primary key,
    organization_id uuid not null,
    units integer not null,
    at timestamptz not null default now()
);

create function count_usage() returns trigger language plpgsql as $$
begin
    update customer_usage set units = units + new.units where organization_id = new.organization_id;
    return null;
end $$;
create trigger count_usage after insert on usage_log for each row execute function count_usage();

grant select on customer_keys, customer_plans, customer_usage to service_role;
grant insert on usage_log to service_role;
grant update on customer_usage to service_role;

with one as (
    insert into customer_keys (key_hash, organization_id) values (:'hash', gen_random_uuid())
    returning organization_id
), plan as (
    insert into customer_plans select organization_id, 'active', 2000000000 from one
)
insert into customer_usage select organization_id, 0 from one;

notify pgrst, 'reload schema';
