// A fair hand-written Worker for the same job: supabase-js with three sequential look-ups (key,
// subscription, usage), a check of the quota, the forwarded request, and one inserted unit. It has
// no rate limit, audit, receipt or idempotency, and two concurrent requests can exceed the quota.
import { createClient } from "@supabase/supabase-js";

async function sha256(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One client per isolate, because creating it costs more than using it. */
let client;
function clientOf({ ENV_SUPABASE_URL: url, ENV_SUPABASE_SERVICE_ROLE_KEY: key }) {
  client ??= createClient(url, key, { auth: { persistSession: false, autoRefreshToken: false } });
  return client;
}

const refused = (status, title) =>
  Response.json({ title, status }, { status, headers: { "content-type": "application/problem+json" } });

export default {
  async fetch(request, env, context) {
    const header = request.headers.get("authorization") ?? "";
    if (!header.startsWith("Bearer ")) return refused(401, "The API key is missing");
    const supabase = clientOf(env);
    const hash = await sha256(header.slice("Bearer ".length));
    const { data: key } = await supabase
      .from("customer_keys")
      .select("id, organization_id, revoked_at")
      .eq("key_hash", hash)
      .maybeSingle();
    if (!key || key.revoked_at) return refused(401, "The API key is not valid");
    const { data: subscription } = await supabase
      .from("customer_plans")
      .select("status, included")
      .eq("organization_id", key.organization_id)
      .maybeSingle();
    if (subscription?.status !== "active") return refused(402, "The subscription is not active");
    const { data: usage } = await supabase
      .from("customer_usage")
      .select("units")
      .eq("organization_id", key.organization_id)
      .maybeSingle();
    if ((usage?.units ?? 0) >= subscription.included) return refused(429, "The quota is used up");

    const url = new URL(request.url);
    const forwarded = new Request(`${env.ENV_GO_BACKEND_URL}${url.pathname}${url.search}`, request);
    forwarded.headers.set("x-organization-id", key.organization_id);
    const response = await fetch(forwarded);
    if (response.ok && request.method === "POST") {
      context.waitUntil(
        supabase.from("usage_log").insert({ organization_id: key.organization_id, units: 1 }),
      );
    }
    return response;
  },
};
