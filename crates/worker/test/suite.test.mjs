// The black-box suite against workerd: the same cases that pass on the native server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { runSuite, startAll } from "./support/workerd.mjs";

test("the black-box suite passes on workerd", async () => {
  const all = await startAll();
  try {
    const { code, printed } = await runSuite(all.url, []);
    assert.equal(code, 0, printed);
    console.log(printed.trim().split("\n").at(-1));
  } finally {
    await all.stop();
  }
});
