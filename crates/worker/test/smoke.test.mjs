// The few cases that show that the Worker is wired up: one free request, one metered one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { runSuite, startAll } from "./workerd.mjs";

test("the black-box suite's smoke cases pass on workerd", async () => {
  const all = await startAll();
  try {
    const { code, printed } = await runSuite(all.url, ["--smoke"]);
    assert.equal(code, 0, printed);
    console.log(printed.trim());
  } finally {
    await all.stop();
  }
});
