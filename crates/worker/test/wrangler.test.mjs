// The steps of a user: `wrangler deploy --dry-run`, and `wrangler dev` with the gateway's commands.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ADMIN_TOKEN, program, startDetector } from "./support/workerd.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const WRANGLER = join(ROOT, "node_modules/.bin/wrangler");
const OFFLINE = {
  ...process.env,
  CI: "1",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
};
const PATIENCE_MS = 120_000;

const run = promisify(execFile);

test("it can be deployed, to every environment", async () => {
  for (const environment of ["", "staging", "production"]) {
    const arguments_ = ["deploy", "--dry-run", `--env=${environment}`];
    const { stdout } = await run(WRANGLER, arguments_, { cwd: ROOT, env: OFFLINE });
    for (const binding of ["env.ORGANIZATIONS", "env.DIRECTORY", "env.ENV_GO_BACKEND_URL"]) {
      assert.ok(stdout.includes(binding), `${environment}: ${binding}\n${stdout}`);
    }
    const [, kib] = /gzip: ([0-9.]+) KiB/.exec(stdout);
    assert.ok(Number(kib) * 1_024 <= 1_000_000, `compressed it has ${kib} KiB`);
  }
});

test("wrangler dev serves organizations, keys, detections, receipts and audit", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-wrangler-"));
  const detector = await startDetector(join(folder, "detector"));
  const wrangler = await startWrangler(folder, detector.url);
  try {
    const driftlock = async (...arguments_) => {
      const all = [...arguments_, "--json", "--url", wrangler.url];
      const env = { ...process.env, ENV_ADMIN_TOKEN: ADMIN_TOKEN };
      const { stdout } = await run(program("DRIFTLOCK_BIN"), all, { env });
      return JSON.parse(stdout);
    };
    const organization = await driftlock("org", "create", "Acme", "--plan", "developer");
    const key = await driftlock("key", "create", organization.id, "--name", "test");
    const answer = await fetch(`${wrangler.url}/api/v1/anomalies/detect`, {
      method: "POST",
      headers: { authorization: `Bearer ${key.key}`, "content-type": "application/json" },
      body: JSON.stringify({ data: ["a", "b"] }),
    });
    assert.equal(answer.status, 200, await answer.text());
    const receipt = await driftlock("receipt", answer.headers.get("x-usage-receipt"));
    assert.equal(receipt.organization_id, organization.id);
    assert.equal((await driftlock("usage", organization.id)).units, 1);
    assert.equal((await driftlock("audit", "verify", organization.id)).ok, true);
  } finally {
    await wrangler.stop();
    await detector.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

/** `wrangler dev` on free ports, its storage in `folder`. */
async function startWrangler(folder, backend) {
  const [port, inspector] = [await freePort(), await freePort()];
  const options = {
    "--ip": "127.0.0.1",
    "--port": port,
    "--inspector-port": inspector,
    "--persist-to": join(folder, "state"),
  };
  const vars = [`ENV_GO_BACKEND_URL:${backend}`, `ENV_ADMIN_TOKEN:${ADMIN_TOKEN}`];
  const arguments_ = ["dev", "--env=", ...Object.entries(options).flat().map(String)];
  for (const pair of vars) arguments_.push("--var", pair);
  const child = spawn(WRANGLER, arguments_, {
    cwd: ROOT,
    env: OFFLINE,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (printed += part));
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    const exit = child.exitCode === null ? once(child, "exit") : null;
    process.kill(-child.pid, "SIGKILL");
    await exit;
  };
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline && child.exitCode === null) {
    const ready = await fetch(`${url}/healthz`).then((answer) => answer.ok, () => false);
    if (ready) return { url, stop };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  if (child.exitCode === null) await stop();
  throw new Error(`wrangler dev did not start:\n${printed}`);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
