// The cron deletes Stripe's old events, and a repeated delivery of one changes nothing.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import {
  ADMIN_TOKEN,
  WEBHOOK_SECRET,
  admin,
  clockedBuild,
  customer,
  program,
  startWorker,
} from "./support/workerd.mjs";

const DAY_MS = 86_400_000;
/** When the events are old. */
const LEAP_MS = 100 * DAY_MS;
/** After these runs the clock counts as confirmed again: they are less than an hour apart. */
const STEPS_MS = [50, 100].map((minutes) => LEAP_MS + minutes * 60_000);
const LATER_MS = STEPS_MS[1];

test("old events without effect are deleted, and a repeated delivery changes nothing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-events-"));
  const build = await clockedBuild(folder);
  const worker = await startWorker({ folder, backend: "http://127.0.0.1:9", build });
  const { url } = worker;
  const cron = async (aheadMs) => {
    await fetch(`${url}/test/ahead`, { method: "POST", body: String(aheadMs) });
    const { outcome } = await (await worker.worker.getWorker()).scheduled({ cron: "* * * * *" });
    assert.equal(outcome, "ok");
  };
  try {
    const { id } = await customer(url, { plan: "standard" });
    const trigger = ["stripe", "trigger", "--scenario", "upgrade", "--organization", id];
    const env = { ENV_STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET, ENV_ADMIN_TOKEN: ADMIN_TOKEN };
    await promisify(execFile)(program("DRIFTLOCK_BIN"), [...trigger, "--url", url], { env });
    await cron(0);
    const directory = await worker.worker.getD1Database("DIRECTORY");
    const kept = async () =>
      (await directory.prepare("SELECT id, state, body FROM stripe_events").all()).results;
    const billingState = async () => {
      const { body: shown } = await admin(url, `/organizations/${id}`);
      const { body: log } = await admin(url, `/organizations/${id}/audit?limit=100`);
      assert.equal(shown.subscription.plan, "growth");
      return { shown, billing: log.data.filter((row) => row.action.startsWith("billing.")) };
    };
    const all = await kept();
    assert.ok(all.length > 5 && all.every((event) => event.state === "done"), JSON.stringify(all));

    await cron(80 * DAY_MS);
    assert.equal((await kept()).length, all.length, "they are not old enough");
    await cron(LEAP_MS);
    assert.equal((await kept()).length, all.length, "a clock that leapt removes nothing for an hour");
    // Read at the later time, because the answer names the billing period that is current then.
    const before = await billingState();
    for (const step of STEPS_MS) await cron(step);
    const left = (await kept()).map((event) => event.id);
    assert.ok(left.length > 0 && left.length < all.length, `${left.length} of ${all.length}`);

    for (const event of all) {
      const body = Buffer.from(event.body);
      const time = Math.floor((Date.now() + LATER_MS) / 1000);
      const signed = createHmac("sha256", WEBHOOK_SECRET).update(`${time}.`).update(body);
      const headers = {
        "content-type": "application/json",
        "stripe-signature": `t=${time},v1=${signed.digest("hex")}`,
      };
      const answer = await fetch(`${url}/webhooks/stripe`, { method: "POST", headers, body });
      assert.equal(answer.status, 200);
      assert.equal((await answer.json()).duplicate, left.includes(event.id), event.id);
    }
    await cron(LATER_MS);
    const again = await kept();
    assert.ok(again.length === all.length && again.every((event) => event.state === "done"));
    assert.deepEqual(await billingState(), before);
  } finally {
    await worker.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
