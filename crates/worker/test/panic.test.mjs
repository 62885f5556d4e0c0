// A panic inside an organization's object: the caller gets 500 instead of waiting for the
// platform's timeout, the next request works, and no settled usage is lost.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ADMIN_TOKEN, WITH_PANIC_TRIGGER, startDetector, startWorker } from "./support/workerd.mjs";

// Without unwinding the caller waits for more than 100 s; a busy machine needs far less than this.
const HANGS_MS = 30_000;

test("a panic in the object is a 500 and loses nothing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-panic-"));
  const detector = await startDetector(join(folder, "detector"));
  const worker = await startWorker({ folder, backend: detector.url, build: WITH_PANIC_TRIGGER });
  const admin = (path, body) =>
    fetch(`${worker.url}/admin/v1${path}`, {
      method: body ? "POST" : "GET",
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
  const detect = (key, headers = {}) =>
    fetch(`${worker.url}/api/v1/anomalies/detect`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "text/plain", ...headers },
      body: "a line\nanother line\n",
    });
  try {
    const { id } = await (await admin("/organizations", { name: "Acme", plan: "developer" })).json();
    const { key } = await (await admin(`/organizations/${id}/keys`, { name: "test" })).json();
    assert.equal((await detect(key)).status, 200);

    const began = performance.now();
    const panicked = await admin(`/organizations/${id}/usage?at=1970-01-01T00:00:13Z`);
    const took = performance.now() - began;
    assert.equal(panicked.status, 500, await panicked.text());
    assert.equal(panicked.headers.get("content-type"), "application/problem+json");
    assert.ok(took < HANGS_MS, `it took ${took} ms`);

    // In the middle of a transaction it rolls back: nothing is charged, counted or entered.
    const settling = performance.now();
    const failed = await detect(key, { "x-request-id": "panic-in-settle" });
    // Any failure in a transaction is reported as a failure of the store.
    assert.equal(failed.status, 503, await failed.text());
    assert.ok(performance.now() - settling < HANGS_MS);
    assert.equal(failed.headers.get("x-usage-receipt"), null);

    assert.equal((await detect(key)).status, 200);
    const usage = await (await admin(`/organizations/${id}/usage`)).json();
    assert.equal(usage.units, 2);
    const verdict = await (await admin(`/organizations/${id}/audit/verify`)).json();
    assert.equal(verdict.ok, true);
  } finally {
    await worker.stop();
    await detector.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
