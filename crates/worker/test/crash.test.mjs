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

/** Detects until the gateway is gone; the receipts of all successes. */
async function detect(url, key, receipts, enough) {
  for (;;) {
    try {
      const answer = await fetch(`${url}/api/v1/anomalies/detect`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "text/plain" },
        body: "a line\nanother line\n",
      });
      if (answer.status === 200) receipts.push(answer.headers.get("x-usage-receipt"));
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
    let load;
    await new Promise((enough) => {
      load = Array.from({ length: CLIENTS }, () => detect(first.url, key, receipts, enough));
    });
    await killWorkerd(first);
    await Promise.all(load);

    const second = await startWorker({ folder, backend: detector.url });
    try {
      const path = `/organizations/${organization.id}`;
      const usage = await admin(second.url, `${path}/usage`);
      const surplus = usage.units - receipts.length;
      assert.ok(surplus >= 0 && surplus <= CLIENTS, `${usage.units} units, ${receipts.length} told`);
      assert.equal(new Set(receipts).size, receipts.length, "receipts are distinct");
      for (const receipt of receipts) {
        const found = await admin(second.url, `/receipts/${receipt}`);
        assert.equal(found.organization_id, organization.id);
      }
      const verdict = await admin(second.url, `${path}/audit/verify`);
      assert.ok(verdict.ok, JSON.stringify(verdict));
      console.log(`${receipts.length} acknowledged, ${usage.units} units in the ledger`);
    } finally {
      await second.stop();
    }
  } finally {
    await detector.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
