// Checks the bounds of the deployed Worker, except for CPU (`run.mjs`): the compressed size, as
// wrangler uploads it; the time of workerd's start-up phase on this machine (the median of several
// runs, and the least); the subrequests of a request; how soon a revoked key is refused. Exits with
// 1 if a bound is exceeded. Run by `cargo xtask worker size`.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { revocation } from "./revocation.mjs";
import { subrequests } from "./subrequests.mjs";

const SIZE_MAX = 1_000_000;
const STARTUP_MAX_MS = 50;
const SUBREQUESTS_MAX = 4;
/** A change in the database, without the admin API, has an effect within this time. */
const REVOCATION_MAX_MS = 10_000;
const TRIES = 5;
const OFFLINE = {
  ...process.env,
  CI: "1",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
};

const run = promisify(execFile);
const wrangler = (...arguments_) => run("node_modules/.bin/wrangler", arguments_, { env: OFFLINE });

/** Prints a line; `isWithin` says whether the bound holds. */
function report(what, value, bound, isWithin) {
  console.log(`${what.padEnd(20)}${value.padEnd(14)}${bound}${isWithin ? "" : "   EXCEEDED"}`);
  if (!isWithin) process.exitCode = 1;
}

const { stdout } = await wrangler("deploy", "--dry-run", "--env=");
const [, raw, compressed] = /Total Upload: ([0-9.]+) KiB \/ gzip: ([0-9.]+) KiB/.exec(stdout);
const size = Math.round(Number(compressed) * 1_024);
console.log(`${"upload".padEnd(20)}${Math.round(Number(raw) * 1.024)} kB`);
report("compressed", `${Math.round(size / 1_000)} kB`, `at most ${SIZE_MAX / 1_000} kB`, size <= SIZE_MAX);

await within("startup", async (folder) => {
  const times = [];
  for (let tries = 0; tries < TRIES; tries++) {
    const file = join(folder, `${tries}.cpuprofile`);
    await wrangler("check", "startup", "--outfile", file);
    times.push(busyMillis(JSON.parse(await readFile(file, "utf8"))));
  }
  times.sort((one, other) => one - other);
  const [least, median] = [times[0], times[times.length >> 1]];
  const bound = `at most ${STARTUP_MAX_MS} ms; median of ${TRIES}, the least ${least.toFixed(1)} ms`;
  report("start-up", `${median.toFixed(1)} ms`, bound, median <= STARTUP_MAX_MS);
});

await within("subrequests", async (folder) => {
  for (const [kind, { own, upkeep }] of Object.entries(await subrequests(folder))) {
    const others = upkeep.length > 0 ? `; for many requests at once: ${upkeep.join(", ")}` : "";
    const bound = `at most ${SUBREQUESTS_MAX}; ${kind}: ${own.join(", ")}${others}`;
    report("subrequests", `${own.length}`, bound, own.length <= SUBREQUESTS_MAX);
  }
});

await within("revocation", async (folder) => {
  const { api, database } = await revocation(folder);
  const passed = `${api.passed} passed`;
  report("revoked by the API", passed, `at most 0; refused elsewhere in ${api.millis.toFixed(0)} ms`, api.passed === 0);
  const bound = `at most ${REVOCATION_MAX_MS} ms`;
  report("revoked in D1", `${database.millis.toFixed(0)} ms`, bound, database.millis <= REVOCATION_MAX_MS);
});

console.log("CPU of a request is measured by `cargo xtask worker bench`");

async function within(name, work) {
  const folder = await mkdtemp(join(tmpdir(), `driftlock-${name}-`));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The time of all samples in which something ran. */
function busyMillis({ nodes, samples, timeDeltas }) {
  const idle = new Set(
    nodes.filter((node) => ["(idle)", "(program)"].includes(node.callFrame.functionName)).map((node) => node.id),
  );
  return samples.reduce((sum, id, at) => sum + (idle.has(id) ? 0 : timeDeltas[at]), 0) / 1_000;
}
