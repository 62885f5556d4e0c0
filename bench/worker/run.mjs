// Measures throughput, latency and CPU on workerd of a constant answer, a plain proxy, the gateway,
// and a hand-written TypeScript Worker for the same job. Rounds of all alternate; the medians
// count.
//
// The gateway and the TypeScript Worker use one real PostgREST and PostgreSQL, as in production. In
// addition, the gateway is measured with D1, and the TypeScript Worker with fixed answers instead
// of its database, which then costs it nothing. nginx serves the backend and the fixed answers. Run
// by `cargo xtask worker bench`.
import { spawn, execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { startSupabase } from "../../crates/worker/test/support/supabase.mjs";
import { ADMIN_TOKEN, startWorker } from "../../crates/worker/test/support/workerd.mjs";

const ROUNDS = Number(process.env.DRIFTLOCK_BENCH_ROUNDS ?? 3);
const SECONDS = Number(process.env.DRIFTLOCK_BENCH_SECONDS ?? 4);
const CONNECTIONS = 32;
const CLOCK_TICKS = 100;
/** Bound of the CPU time of a request: half of the 10 ms of the smallest plan. */
const CPU_MAX_MICROS = 5_000;
/** Least ratio of the gateway's throughput to the TypeScript Worker's, with the same store. */
const RATIO_MIN = 2;
const FREE = "/api/v1/anomalies";
const METERED = "/api/v1/anomalies/detect";

/** The TypeScript Worker's key. */
const KEY = "k";

const execute = promisify(execFile);
/** Runs a program with this input. */
function run(program, arguments_, input) {
  const running = execute(program, arguments_);
  if (input) running.child.stdin.end(input);
  return running;
}
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const folder = await mkdtemp(join(tmpdir(), "driftlock-bench-"));
const stops = [() => rm(folder, { recursive: true, force: true })];
try {
  const backend = await nginx("backend", 'return 200 \'{"a":"' + "x".repeat(292) + "\"}';");
  const supabase = await project();
  const fixed = { url: await nginx("fixed", "", standIn()), key: "a-key-of-the-stand-in" };
  const subjects = [
    await plain("hello", here("hello.mjs"), {}),
    await plain("plain proxy", here("proxy.mjs"), { ENV_GO_BACKEND_URL: backend }),
    ...(await gateway("gateway over D1", backend, {})),
    ...(await gateway("gateway over Supabase", backend, bindings(supabase))),
    ...(await typescript("TypeScript over Supabase", backend, supabase)),
    ...(await typescript("TypeScript over fixed answers", backend, fixed)),
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

async function gateway(name, backend, bindings) {
  const storage = await mkdtemp(join(folder, "gateway-"));
  const start = () => startWorker({ folder: storage, backend, bindings });
  const { value: worker, pid } = await withPid(start);
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
  return both(name, worker.url, pid, key);
}

/** A free and a metered request. */
async function both(name, base, pid, key) {
  const file = name.replaceAll(" ", "-");
  const free = await script(`${file}-free.lua`, key);
  const post = await script(`${file}-metered.lua`, key, true);
  return [
    { name: `${name}, GET`, url: `${base}${FREE}`, pid, script: free },
    { name: `${name}, metered POST`, url: `${base}${METERED}`, pid, script: post },
  ];
}

async function typescript(name, backend, supabase) {
  const bundled = await build({
    entryPoints: [here("../peers/typescript/worker.mjs")],
    bundle: true,
    format: "esm",
    write: false,
    conditions: ["workerd", "worker", "browser"],
    logLevel: "error",
  });
  const text = bundled.outputFiles[0].text;
  const all = { ENV_GO_BACKEND_URL: backend, ...bindings(supabase) };
  const { url, pid } = await plain(name, undefined, all, text);
  return both(name, url.slice(0, -FREE.length), pid, KEY);
}

function bindings({ url, key }) {
  return { ENV_SUPABASE_URL: url, ENV_SUPABASE_SERVICE_ROLE_KEY: key };
}

/** A project with the gateway's schema and the TypeScript Worker's tables, behind nginx. */
async function project() {
  const { postgrest, service_key: key, database_url: database, stop } = await startSupabase();
  stops.push(stop);
  const tables = await readFile(here("../peers/typescript/tables.sql"), "utf8");
  const hash = createHash("sha256").update(KEY).digest("hex");
  await run("psql", ["-qX", "-v", "ON_ERROR_STOP=1", "-v", `hash=${hash}`, "-f", "-", database], tables);
  const pass = `upstream rest { server ${postgrest.slice("http://".length)}; keepalive 64; }`;
  const location = `proxy_pass http://rest/; proxy_http_version 1.1; proxy_set_header Connection "";`;
  const url = await nginx("supabase", "return 404;", `location /rest/v1/ { ${location} }`, pass);
  // PostgREST reloads its schema after the tables were created.
  for (let tries = 0; tries < 100; tries++) {
    const found = await fetch(`${url}/rest/v1/customer_keys`, { headers: { authorization: `Bearer ${key}` } });
    if (found.ok) return { url, key };
    await sleep(50);
  }
  throw new Error("PostgREST does not find the TypeScript Worker's tables");
}

/** Fixed answers of PostgREST, by table. */
function standIn() {
  const row = (table, value) =>
    `location /rest/v1/${table} { return 200 '[${JSON.stringify(value)}]'; }`;
  return [
    row("customer_keys", { id: "k", organization_id: "o", revoked_at: null }),
    row("customer_plans", { status: "active", included: 2_000_000_000 }),
    row("customer_usage", { units: 1 }),
    "location /rest/v1/usage_log { return 201; }",
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
      `${name.padEnd(44)} ${rate.toFixed(0).padStart(7)} requests/s  ${ratio} × plain proxy  ` +
        `p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms  ${cpu.toFixed(0)} µs CPU/request`,
    );
    // This is workerd's CPU time. It includes HTTP and storage, which the platform does not count.
    if (name.startsWith("gateway") && cpu > CPU_MAX_MICROS) process.exitCode = 1;
  }
  console.log(`at most ${CPU_MAX_MICROS} µs CPU for a request of the gateway's`);
  const over = (what) => rows.find(({ name }) => name === `${what} over Supabase, metered POST`).rate;
  const ratio = over("gateway") / over("TypeScript");
  console.log(`metered over Supabase: ${ratio.toFixed(2)} × the TypeScript Worker, at least ${RATIO_MIN}`);
  if (ratio < RATIO_MIN) process.exitCode = 1;
}

async function nginx(name, location, server = "", http = "") {
  const port = await freePort();
  const text = `daemon off; master_process off; error_log ${folder}/${name}.log; pid ${folder}/${name}.pid;
    events { worker_connections 4096; }
    http { access_log off; default_type application/json; keepalive_requests 1000000000; ${http}
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
    await sleep(50);
  }
  throw new Error(`nginx does not answer at ${url}`);
}

/** The result of `start`, and the id of the workerd process that it started. */
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
