// Subrequests of a request whose key is remembered: four at most, six with an Idempotency-Key.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { subrequests, total } from "../../../bench/worker/subrequests.mjs";

test("a request asks others a few times", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-subrequests-"));
  try {
    const found = await subrequests(folder);
    for (const [kind, counts] of Object.entries(found)) {
      console.log(`${kind}: ${total(counts)} (${JSON.stringify(counts)})`);
    }
    assert.deepEqual(found.metered, { backend: 1, object: 2, d1: 0 });
    assert.deepEqual(found.free, { backend: 1, object: 1, d1: 0 });
    // Beyond those: what is kept of the key, keeping the answer, the end of the claim.
    const { d1, ...keyed } = found["metered, keyed"];
    assert.deepEqual(keyed, { backend: 1, object: 5 });
    // When keys were used is written once a second at most, after an answer.
    assert.ok(d1 <= 1, `${d1}`);
    assert.ok(total(found["metered, replayed"]) <= 4);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
