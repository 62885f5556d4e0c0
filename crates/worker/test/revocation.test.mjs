// A key that one isolate revoked is refused in another one at once, although that one caches the
// key: the organization's object refuses it. With D1 and with a Supabase project, on metered and on
// free routes.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startSupabase } from "./support/supabase.mjs";
import { DETECT, admin, customer, detect, startDetector, startPair } from "./support/workerd.mjs";

const FREE = "/api/v1/anomalies";

async function check(bindings) {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-revocation-"));
  const detector = await startDetector(join(folder, "detector"));
  const pair = await startPair({ folder, backend: detector.url, bindings });
  const elsewhere = (path, init) => pair.second.fetch(`${pair.url}${path}`, init);
  try {
    const { id, key, keyId } = await customer(pair.url);
    const free = { headers: { authorization: `Bearer ${key}` } };
    assert.equal((await elsewhere(DETECT, detect(key))).status, 200);
    assert.equal((await elsewhere(FREE, free)).status, 200);

    const began = performance.now();
    const revoked = await admin(pair.url, `/keys/${keyId}/revoke`, {});
    assert.equal(revoked.status, 200, JSON.stringify(revoked.body));
    const metered = await elsewhere(DETECT, detect(key));
    const problem = await metered.json();
    assert.equal(metered.status, 401, JSON.stringify(problem));
    assert.match(problem.type, /key-revoked$/);
    assert.equal((await elsewhere(FREE, free)).status, 401);
    const took = performance.now() - began;
    console.log(`revoked, and refused in another isolate, within ${took.toFixed(0)} ms`);

    const { body: usage } = await admin(pair.url, `/organizations/${id}/usage`);
    assert.equal(usage.units, 1);
    // The successor of a rotated key is accepted, and the rotated key refused after its grace time.
    const path = `/organizations/${id}/keys`;
    const { body: other } = await admin(pair.url, path, { name: "other" });
    assert.equal((await elsewhere(DETECT, detect(other.key))).status, 200);
    const rotated = await admin(pair.url, `/keys/${other.id}/rotate`, { grace_seconds: 0 });
    assert.equal(rotated.status, 201);
    assert.equal((await elsewhere(DETECT, detect(other.key))).status, 401);
    assert.equal((await elsewhere(DETECT, detect(rotated.body.key))).status, 200);
  } finally {
    await pair.stop();
    await detector.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

test("a revoked key is refused in every isolate at once, with D1", () => check({}));

test("and with a Supabase project", async () => {
  const project = await startSupabase();
  try {
    await check({ ENV_SUPABASE_URL: project.url, ENV_SUPABASE_SERVICE_ROLE_KEY: project.key });
  } finally {
    await project.stop();
  }
});
