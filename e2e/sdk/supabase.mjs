// What supabase-js sees of the gateway's tables, as whoever the input says:
// {"url", "key", "token"?, "organization"} -> {"rows": {...}, "writes": {...}, "calls": {...}}.
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
  billing_customers: "customer",
  stripe_events: "id",
};
const OWNER = { organizations: "id", billing_customers: null, stripe_events: null };

/** How many rows it sees, or the code of the error. */
function seen({ data, error }) {
  return error ? error.code : data.length;
}

const rows = {};
for (const [name, columns] of Object.entries(READ)) {
  rows[name] = seen(await client.from(name.split(".")[0]).select(columns));
}
const writes = {};
for (const name of new Set(Object.keys(READ).map((name) => name.split(".")[0]))) {
  const owner = OWNER[name] === undefined ? "organization_id" : OWNER[name];
  if (owner) {
    const change = client.from(name).delete().eq(owner, input.organization).select(owner);
    // The service may; what it would remove is needed by whoever comes after.
    writes[name] = input.deletes ? seen(await change) : null;
  }
}
const calls = {};
for (const name of ["driftlock_key_by_hash", "driftlock_organizations", "driftlock_settle"]) {
  const args = { hash: "", after: input.organization, limit: 1, settlements: [] };
  const { error } = await client.rpc(name, { args });
  calls[name] = error ? error.code : "answered";
}
process.stdout.write(JSON.stringify({ rows, writes, calls }));
