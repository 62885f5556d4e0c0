// Throughput, latency and CPU on bare workerd: nothing but an answer, a plain proxy, the gateway, and
// the TypeScript Worker that one would write instead; rounds of all alternate, medians count.
//
// The backend, and what stands in for PostgREST and its database (fixed answers, which favours the
// TypeScript Worker: a real one waits for PostgreSQL three times), are nginx. Run by
// `cargo xtask worker bench`.
import { spawn, execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { ADMIN_TOKEN, startWorker } from "../../crates/worker/test/support/workerd.mjs";

const ROUNDS = Number(process.env.DRIFTLOCK_BENCH_ROUNDS ?? 3);
const SECONDS = Number(process.env.DRIFTLOCK_BENCH_SECONDS ?? 4);
const CONNECTIONS = 32;
const CLOCK_TICKS = 100;
/** Of the 10 ms that the smallest plan gives a request. */
const CPU_MAX_MICROS = 5_000;
const FREE = "/api/v1/anomalies";
const METERED = "/api/v1/anomalies/detect";

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const folder = await mkdtemp(join(tmpdir(), "driftlock-bench-"));
const stops = [() => rm(folder, { recursive: true, force: true })];
try {
  const backend = await nginx("backend", 'return 200 \'{"a":"' + "x".repeat(292) + "\"}';");
  const supabase = await nginx("supabase", "", standIn());
  const subjects = [
    await plain("hello", here("hello.mjs"), {}),
    await plain("plain proxy", here("proxy.mjs"), { ENV_GO_BACKEND_URL: backend }),
    ...(await gateway(backend)),
    ...(await typescript(backend, supabase)),
  ];
  const samples = subjects.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [at, subject] of subjects.entries()) samples[at].push(await load(subject));
  }
  const rows = subjects.map((subject, at) => ({ name: subject.name, ...median(samples[at]) }));
  print(rows);
} finally {
  for (const stop of stops.reverse()) await stop();
}

/** A Worker of one module, on workerd. */
async function plain(name, scriptPath, bindings, script) {
  const worker = new Miniflare({
    host: "127.0.0.1",
    port: 0,
    cf: false,
    modules: true,
    ...(script ? { script } : { scriptPath }),
    compatibilityDate: "2026-04-01",
    bindings,
  });
  const { value: url, pid } = await withPid(async () => (await worker.ready).href.replace(/\/$/, ""));
  stops.push(() => worker.dispose());
  return { name, url: `${url}${FREE}`, pid };
}

async function gateway(backend) {
  const { value: worker, pid } = await withPid(() => startWorker({ folder, backend }));
  stops.push(() => worker.stop());
  const admin = async (path, body) => {
    const answer = await fetch(`${worker.url}/admin/v1${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const quota = { included: 2_000_000_000 };
  const { id } = await admin("/organizations", { name: "bench", plan: "developer", quota });
  const rate = { name: "bench", requests_per_minute: 1_000_000_000 };
  const { key } = await admin(`/organizations/${id}/keys`, rate);
  const free = await script("free.lua", key);
  const post = await script("metered.lua", key, true);
  return [
    { name: "gateway, free GET", url: `${worker.url}${FREE}`, pid, script: free },
    { name: "gateway, metered POST", url: `${worker.url}${METERED}`, pid, script: post },
  ];
}

async function typescript(backend, supabase) {
  const bundled = await build({
    entryPoints: [here("../peers/typescript/worker.mjs")],
    bundle: true,
    format: "esm",
    write: false,
    conditions: ["workerd", "worker", "browser"],
    logLevel: "error",
  });
  const bindings = {
    ENV_GO_BACKEND_URL: backend,
    ENV_SUPABASE_URL: supabase,
    ENV_SUPABASE_SERVICE_ROLE_KEY: "a-key-of-the-stand-in",
  };
  const text = bundled.outputFiles[0].text;
  const worker = await plain("TypeScript", undefined, bindings, text);
  const base = worker.url.slice(0, -FREE.length);
  return [
    { ...worker, name: "TypeScript, GET", script: await script("peer-free.lua", "k") },
    {
      ...worker,
      name: "TypeScript, POST",
      url: `${base}${METERED}`,
      script: await script("peer.lua", "k", true),
    },
  ];
}

/** Fixed answers of PostgREST, by table. */
function standIn() {
  const row = (table, value) =>
    `location /rest/v1/${table} { return 200 '[${JSON.stringify(value)}]'; }`;
  return [
    row("api_keys", { id: "k", organization_id: "o", revoked_at: null }),
    row("subscriptions", { status: "active", included: 2_000_000_000 }),
    row("usage_counters", { units: 1 }),
    "location /rest/v1/usage_events { return 201; }",
  ].join("\n");
}

async function script(file, key, isPost) {
  const lines = [`wrk.headers["Authorization"] = "Bearer ${key}"`];
  if (isPost) {
    lines.push('wrk.method = "POST"', 'wrk.headers["Content-Type"] = "application/json"');
    lines.push(`wrk.body = '{"data":["a","b"]}'`);
  }
  const path = join(folder, file);
  await writeFile(path, lines.join("\n"));
  return path;
}

async function load({ url, pid, script }) {
  const before = await cpuTicks(pid);
  const arguments_ = ["-t1", `-c${CONNECTIONS}`, `-d${SECONDS}s`, "--latency"];
  if (script) arguments_.push("-s", script);
  const { stdout } = await run("wrk", [...arguments_, url]);
  const ticks = (await cpuTicks(pid)) - before;
  if (/Non-2xx/.test(stdout)) throw new Error(`${url} refuses:\n${stdout}`);
  const number = (pattern) => Number(pattern.exec(stdout)[1]);
  const requests = number(/(\d+) requests in/);
  return {
    rate: number(/Requests\/sec:\s+([0-9.]+)/),
    p50: millis(/^\s+50%\s+(\S+)/m.exec(stdout)[1]),
    p99: millis(/^\s+99%\s+(\S+)/m.exec(stdout)[1]),
    cpu: (ticks / CLOCK_TICKS / requests) * 1e6,
  };
}

function millis(text) {
  const [, number, unit] = /([0-9.]+)(us|ms|s)/.exec(text);
  return Number(number) * { us: 0.001, ms: 1, s: 1_000 }[unit];
}

function median(samples) {
  return samples.sort((one, other) => one.rate - other.rate)[samples.length >> 1];
}

function print(rows) {
  const proxy = rows.find((row) => row.name === "plain proxy");
  for (const { name, rate, p50, p99, cpu } of rows) {
    const ratio = (rate / proxy.rate).toFixed(2);
    console.log(
      `${name.padEnd(24)} ${rate.toFixed(0).padStart(7)} requests/s  ${ratio} × plain proxy  ` +
        `p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms  ${cpu.toFixed(0)} µs CPU/request`,
    );
    // workerd's CPU time, its HTTP and storage included, which the platform does not count.
    if (name.startsWith("gateway") && cpu > CPU_MAX_MICROS) process.exitCode = 1;
  }
  console.log(`at most ${CPU_MAX_MICROS} µs CPU for a request of the gateway's`);
}

async function nginx(name, location, server = "") {
  const port = await freePort();
  const text = `daemon off; master_process off; error_log ${folder}/${name}.log; pid ${folder}/${name}.pid;
    events { worker_connections 4096; }
    http { access_log off; default_type application/json; keepalive_requests 1000000000;
    server { listen 127.0.0.1:${port} backlog=4096; ${server} location / { ${location} } } }`;
  const file = join(folder, `${name}.conf`);
  await writeFile(file, text);
  const child = spawn("nginx", ["-e", `${folder}/${name}.log`, "-c", file, "-p", folder], {
    stdio: "ignore",
  });
  stops.push(async () => {
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 100; tries++) {
    if (await fetch(url).then(() => true, () => false)) return url;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nginx does not answer at ${url}`);
}

/** What `start` gives, and the workerd process that it started. */
async function withPid(start) {
  const before = await children();
  const value = await start();
  const pid = (await children()).find((child) => !before.includes(child));
  return { value, pid };
}

async function children() {
  const text = await readFile(`/proc/self/task/${process.pid}/children`, "utf8");
  const found = [];
  for (const pid of text.trim().split(" ").filter(Boolean)) {
    const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
    if (name.trim() === "workerd") found.push(pid);
  }
  return found;
}

async function cpuTicks(pid) {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
