// Kill workerd -9 under load and start it again on the same storage: every acknowledged unit is in
// the ledger, once.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ADMIN_TOKEN, killWorkerd, startDetector, startWorker } from "./support/workerd.mjs";

const CLIENTS = 8;
const ACKNOWLEDGED_BEFORE_KILL = 60;

async function admin(url, path, body) {
  const answer = await fetch(`${url}/admin/v1${path}`, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

/** One detection, with an idempotency key if one is given. */
function send(url, key, idempotencyKey) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "text/plain" };
  if (idempotencyKey) headers["idempotency-key"] = `"${idempotencyKey}"`;
  const body = "a line\nanother line\n";
  return fetch(`${url}/api/v1/anomalies/detect`, { method: "POST", headers, body });
}

/** Detects until the gateway is gone, every other time with a key; collects the receipts of successes. */
async function detect(url, key, receipts, keyed, enough) {
  for (let count = 0; ; count += 1) {
    const idempotencyKey = count % 2 ? `load-${keyed.next++}` : null;
    try {
      const answer = await send(url, key, idempotencyKey);
      const receipt = answer.headers.get("x-usage-receipt");
      if (answer.status === 200) {
        receipts.push(receipt);
        if (idempotencyKey) keyed.receipts.set(idempotencyKey, receipt);
      }
      if (receipts.length >= ACKNOWLEDGED_BEFORE_KILL) enough();
      await answer.arrayBuffer();
    } catch {
      return;
    }
  }
}

test("acknowledged units survive kill -9, once each", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-crash-"));
  const detector = await startDetector(join(folder, "detector"));
  try {
    const first = await startWorker({ folder, backend: detector.url });
    const organization = await admin(first.url, "/organizations", { name: "Crash" });
    const made = { name: "load", scopes: ["anomalies:detect"], requests_per_minute: 100_000 };
    const { key } = await admin(first.url, `/organizations/${organization.id}/keys`, made);

    const receipts = [];
    const keyed = { next: 0, receipts: new Map() };
    let load;
    await new Promise((enough) => {
      load = Array.from({ length: CLIENTS }, () => detect(first.url, key, receipts, keyed, enough));
    });
    await killWorkerd(first);
    await Promise.all(load);

    const second = await startWorker({ folder, backend: detector.url });
    try {
      const path = `/organizations/${organization.id}`;
      const usage = await admin(second.url, `${path}/usage`);
      const surplus = usage.units - receipts.length;
      assert.ok(surplus >= 0 && surplus <= CLIENTS, `${usage.units} units, ${receipts.length} acknowledged`);
      assert.equal(new Set(receipts).size, receipts.length, "receipts are distinct");
      for (const receipt of receipts) {
        const found = await admin(second.url, `/receipts/${receipt}`);
        assert.equal(found.organization_id, organization.id);
      }
      // An acknowledged keyed request is not charged again, whether its answer was stored or not.
      assert.ok(keyed.receipts.size > 0);
      for (const [idempotencyKey, receipt] of keyed.receipts) {
        const again = await send(second.url, key, idempotencyKey);
        assert.equal(again.status, 200, await again.text());
        assert.equal(again.headers.get("x-usage-receipt"), receipt);
      }
      assert.equal((await admin(second.url, `${path}/usage`)).units, usage.units);
      const verdict = await admin(second.url, `${path}/audit/verify`);
      assert.ok(verdict.ok, JSON.stringify(verdict));
      console.log(`${receipts.length} acknowledged, ${keyed.receipts.size} of them keyed, ${usage.units} units in the ledger`);
    } finally {
      await second.stop();
    }
  } finally {
    await detector.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
