// What supabase-js sees of the gateway's tables, as the caller in the input:
// {"url", "key", "token"?, "organization", "writes": {table: row}}
// -> {"rows": {...}, "writes": {table: [inserted, updated, deleted]}, "calls": {...}}.
import { createClient } from "@supabase/supabase-js";

// Its client of event streams wants one at once, which Node 20 does not have; none is opened here.
globalThis.WebSocket ??= class {};

const input = JSON.parse(await new Response(process.stdin).text());
const headers = input.token ? { Authorization: `Bearer ${input.token}` } : {};
const client = createClient(input.url, input.key, {
  auth: { persistSession: false, autoRefreshToken: false },
  global: { headers },
});

const READ = {
  organizations: "id",
  organization_members: "organization_id",
  api_keys: "id,name,key_prefix,revoked_at",
  "api_keys.key_hash": "key_hash",
  usage_counters: "organization_id,hour,units",
  audit_logs: "organization_id,seq,action",
  invoices_mirror: "id",
  subscriptions: "id,status",
  quota_policy: "organization_id,policy",
  dunning_states: "organization_id,unpaid_since",
  billing_customers: "customer",
  stripe_events: "id",
};
/** How many rows it sees, or the code of the error. */
function seen({ data, error }) {
  return error ? error.code : data.length;
}

const rows = {};
for (const [name, columns] of Object.entries(READ)) {
  rows[name] = seen(await client.from(name.split(".")[0]).select(columns));
}
// Inserts, changes and deletes a row; returns the result of each step.
const writes = {};
for (const [name, row] of Object.entries(input.writes)) {
  const [key, value] = Object.entries(row)[0];
  const table = () => client.from(name);
  writes[name] = [
    seen(await table().insert(row).select(key)),
    seen(await table().update({ [key]: value }).eq(key, value).select(key)),
    seen(await table().delete().eq(key, value).select(key)),
  ];
}
const calls = {};
for (const name of ["driftlock_key_by_hash", "driftlock_organizations", "driftlock_settle"]) {
  const args = { hash: "", after: input.organization, limit: 1, settlements: [] };
  const { error } = await client.rpc(name, { args });
  calls[name] = error ? error.code : "answered";
}
process.stdout.write(JSON.stringify({ rows, writes, calls }));
