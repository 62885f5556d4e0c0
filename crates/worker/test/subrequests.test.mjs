// Subrequests of a request: four at most, including an isolate's first request.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { subrequests } from "../../../bench/worker/subrequests.mjs";
import { startSupabase } from "./support/supabase.mjs";

async function check(bindings, keyRead) {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-subrequests-"));
  try {
    const found = await subrequests(folder, bindings);
    const own = Object.fromEntries(Object.entries(found).map(([kind, calls]) => [kind, calls.own]));
    const metered = ["object: Admit", "backend", "object: Settle"];
    assert.deepEqual(own, {
      "metered, first of an isolate": [keyRead, ...metered],
      metered,
      "metered, keyed": metered,
      "metered, replayed": ["object: Admit", "object: Release"],
      free: ["object: Admit", "backend"],
      "metered, keyed, first of an isolate": [keyRead, ...metered],
    });
    // Subrequests that serve many requests are made once.
    for (const [kind, { upkeep }] of Object.entries(found)) {
      assert.equal(new Set(upkeep).size, upkeep.length, `${kind}: ${upkeep}`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("a request makes at most four subrequests, with D1", () => check({}, "directory: raw"));

test("and with a Supabase project", async () => {
  const project = await startSupabase();
  try {
    const bindings = { ENV_SUPABASE_URL: project.url, ENV_SUPABASE_SERVICE_ROLE_KEY: project.key };
    await check(bindings, "directory: driftlock_caller");
  } finally {
    await project.stop();
  }
});
