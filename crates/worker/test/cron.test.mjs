// The cron, fired as the platform fires it: it reports every customer's usage to Stripe and
// finishes what requests left unfinished. Only the cron does either.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startStripe } from "./support/stripe.mjs";
import {
  DETECT,
  admin,
  clockedBuild,
  customer,
  detect,
  startDetector,
  startWorker,
} from "./support/workerd.mjs";

/** More customers than one run of the cron seals. */
const CUSTOMERS = 70;
const HOUR_MS = 3_600_000;

test("the cron reports every customer, and finishes what requests left unfinished", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-cron-"));
  const detector = await startDetector(join(folder, "detector"));
  const stripe = await startStripe("driftlock_units");
  const bindings = {
    ENV_STRIPE_SECRET_KEY: "sk_test_of_the_tests",
    ENV_STRIPE_API_BASE: stripe.url,
  };
  const build = await clockedBuild(folder);
  const worker = await startWorker({ folder, backend: detector.url, bindings, build });
  const cron = async () => {
    const { outcome } = await (await worker.worker.getWorker()).scheduled({ cron: "* * * * *" });
    assert.equal(outcome, "ok");
  };
  try {
    // Only usage under a subscription is reported.
    const at = (hours) => new Date(Date.now() + hours * HOUR_MS).toISOString();
    const period = { start: at(-24), end: at(600) };
    const subscription = { id: "sub_1", status: "active", plan: "standard", period };
    const all = [];
    for (let number = 0; number < CUSTOMERS; number += 1) {
      const settings = { stripe_customer_id: `cus_${number}`, plan: "standard", subscription };
      all.push(await customer(worker.url, settings));
    }
    const last = all.reduce((a, b) => (a.id > b.id ? a : b));
    const answers = [];
    for (let count = 0; count < 3; count += 1) {
      const answer = await fetch(`${worker.url}${DETECT}`, detect(last.key));
      assert.equal(answer.status, 200, await answer.text());
      answers.push(answer.headers.get("x-usage-receipt"));
    }

    // A settlement of unknown outcome, and an audit row that is not in its chain yet.
    const directory = await worker.worker.getD1Database("DIRECTORY");
    const organization = last.id.replace("org_", "");
    const [, usage] = answers[0].split("_");
    await directory
      .prepare(`INSERT INTO pending_voids VALUES (x'${usage}', x'${organization}', 0)`)
      .run();
    const record = {
      at: new Date().toISOString(),
      actor: "admin",
      action: "test.row",
      resource: "r",
      outcome: "ok",
      request_id: "r",
      ip: "",
      details: {},
    };
    await directory
      .prepare(`INSERT INTO audit_outbox (organization, record) VALUES (x'${organization}', ?)`)
      .bind(JSON.stringify(record))
      .run();

    await fetch(`${worker.url}/test/ahead`, { method: "POST", body: String(3 * HOUR_MS) });
    assert.deepEqual(stripe.reported, [], "requests report nothing to Stripe");
    await cron();
    assert.deepEqual(stripe.reported, [], "the first run does not reach the last customer");
    await cron();
    assert.equal(stripe.reported.length, 1);
    const [event] = stripe.reported;
    assert.equal(event.event_name, "driftlock_units");
    assert.equal(event["payload[stripe_customer_id]"], `cus_${all.indexOf(last)}`);
    assert.equal(event["payload[value]"], "2", "three, of which one was voided");
    await cron();
    assert.equal(stripe.reported.length, 1, "once");

    const path = `/organizations/${last.id}`;
    const { body: shown } = await admin(worker.url, `${path}/usage`);
    assert.equal(shown.units, 2);
    const left = await directory.prepare("SELECT count(*) AS n FROM pending_voids").first("n");
    assert.equal(left, 0);
    const { body: log } = await admin(worker.url, `${path}/audit?limit=100`);
    const actions = log.data.map((entry) => entry.action);
    assert.ok(actions.includes("test.row") && actions.includes("usage.void"), actions.join());
    const { body: verdict } = await admin(worker.url, `${path}/audit/verify`);
    assert.equal(verdict.ok, true);
  } finally {
    await worker.stop();
    await stripe.stop();
    await detector.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
