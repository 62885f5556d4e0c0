// What a cold start costs: compressed size, as wrangler uploads it, and the time that workerd takes for
// the start-up phase here (the least of several, since it is what nothing else disturbed, and the
// median, since a bound that only the best try keeps is none). Then what a request asks of others.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { subrequests, total } from "./subrequests.mjs";

const SIZE_MAX = 1_000_000;
const STARTUP_MAX_MS = 50;
const SUBREQUESTS_MAX = 4;
/** Of an isolate's first request, and of one with an Idempotency-Key. */
const SUBREQUESTS_OF_FEW_MAX = 6;
const TRIES = 5;
const OFFLINE = {
  ...process.env,
  CI: "1",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
};

const run = promisify(execFile);
const wrangler = (...arguments_) => run("node_modules/.bin/wrangler", arguments_, { env: OFFLINE });

const { stdout } = await wrangler("deploy", "--dry-run", "--env=");
const [, raw, compressed] = /Total Upload: ([0-9.]+) KiB \/ gzip: ([0-9.]+) KiB/.exec(stdout);
const size = Math.round(Number(compressed) * 1_024);

const folder = await mkdtemp(join(tmpdir(), "driftlock-startup-"));
const times = [];
try {
  for (let tries = 0; tries < TRIES; tries++) {
    const file = join(folder, `${tries}.cpuprofile`);
    await wrangler("check", "startup", "--outfile", file);
    times.push(busyMillis(JSON.parse(await readFile(file, "utf8"))));
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
times.sort((one, other) => one - other);
const [startup, median] = [times[0], times[times.length >> 1]];

console.log(`upload            ${Math.round(Number(raw) * 1.024)} kB`);
console.log(`compressed        ${Math.round(size / 1_000)} kB   (at most ${SIZE_MAX / 1_000} kB)`);
console.log(
  `start-up          ${median.toFixed(1)} ms  (at most ${STARTUP_MAX_MS} ms; median of ${times.length}, ` +
    `the least ${startup.toFixed(1)} ms)`,
);
if (size > SIZE_MAX || median > STARTUP_MAX_MS) process.exitCode = 1;

const counting = await mkdtemp(join(tmpdir(), "driftlock-subrequests-"));
try {
  for (const [kind, counts] of Object.entries(await subrequests(counting))) {
    const parts = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
    const max = /first|keyed/.test(kind) ? SUBREQUESTS_OF_FEW_MAX : SUBREQUESTS_MAX;
    console.log(`subrequests       ${total(counts)}   (at most ${max}) ${kind}: ${parts.join(", ")}`);
    if (total(counts) > max) process.exitCode = 1;
  }
} finally {
  await rm(counting, { recursive: true, force: true });
}

/** The time of all samples in which something ran. */
function busyMillis({ nodes, samples, timeDeltas }) {
  const idle = new Set(
    nodes.filter((node) => ["(idle)", "(program)"].includes(node.callFrame.functionName)).map((node) => node.id),
  );
  return samples.reduce((sum, id, at) => sum + (idle.has(id) ? 0 : timeDeltas[at]), 0) / 1_000;
}
