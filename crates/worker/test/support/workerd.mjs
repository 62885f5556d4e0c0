// The Worker in workerd, run by Miniflare, in front of the reference backend: everything on free
// ports and in a temporary folder.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Miniflare } from "miniflare";

/** The build that panics when it is asked for the usage of 1970-01-01T00:00:13Z. */
export const WITH_PANIC_TRIGGER = fileURLToPath(
  new URL("../../build/with-panic-trigger", import.meta.url),
);
export const BUILD = fileURLToPath(new URL("../../build", import.meta.url));
export const ADMIN_TOKEN = "an-admin-token-for-tests-0123456789abcdef";
export const WEBHOOK_SECRET = "whsec_of_the_tests_0123456789abcdef";

/** The path of a program that the task runner built, from the environment. */
export function program(variable) {
  const path = process.env[variable];
  if (!path) throw new Error(`${variable} is not set: run these tests by \`cargo xtask worker\``);
  return path;
}

/** The reference backend on a free port. */
export async function startDetector(folder) {
  const arguments_ = ["detector", "--listen", "127.0.0.1:0", "--data", folder];
  const child = spawn(program("DRIFTLOCK_BIN"), arguments_, {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /http:\/\/[0-9.:]+/.exec(line)?.[0];
    if (url) return { url, stop: () => stopped(child) };
  }
  throw new Error("the reference backend did not start");
}

async function stopped(child) {
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  await exit;
}

/** The Worker; `folder` keeps its storage. */
export async function startWorker({ folder, ...options }) {
  const worker = new Miniflare({ ...server(folder), ...script(options) });
  return started(worker);
}

/** Two isolates, as in two locations of the network: they share objects and directory, but no memory. */
export async function startPair({ folder, ...options }) {
  const first = script({ ...options, name: "first" });
  const second = script({ ...options, name: "second", objectsOf: "first" });
  const worker = new Miniflare({ ...server(folder), workers: [first, second] });
  const pair = await started(worker);
  return { ...pair, second: await worker.getWorker("second") };
}

/** The build with a clock that tests can set ahead: `POST /test/ahead` with milliseconds. */
export async function clockedBuild(folder) {
  const build = join(folder, "clocked");
  await cp(BUILD, build, { recursive: true });
  await rename(join(build, "entry.mjs"), join(build, "real.mjs"));
  await writeFile(
    join(build, "entry.mjs"),
    `import Real, { OrganizationObject } from "./real.mjs";
    const now = Date.now;
    let ahead = 0;
    Date.now = () => now() + ahead;
    export { OrganizationObject };
    export default class extends Real {
      async fetch(request) {
        if (new URL(request.url).pathname !== "/test/ahead") return super.fetch(request);
        ahead = Number(await request.text());
        return new Response();
      }
    }`,
  );
  return build;
}

const server = (folder) => ({
  host: "127.0.0.1",
  port: 0,
  cf: false,
  d1Persist: join(folder, "d1"),
  durableObjectsPersist: join(folder, "objects"),
});

async function started(worker) {
  const url = (await worker.ready).href.replace(/\/$/, "");
  return { url, worker, stop: () => worker.dispose() };
}

function script({ backend, bindings = {}, build = BUILD, name = "gateway", objectsOf }) {
  return {
    name,
    modules: true,
    modulesRoot: build,
    modulesRules: [
      { type: "Text", include: ["**/*.toml"] },
      { type: "CompiledWasm", include: ["**/*.wasm"] },
      { type: "ESModule", include: ["**/*.js", "**/*.mjs"] },
    ],
    scriptPath: join(build, "entry.mjs"),
    compatibilityDate: "2026-04-01",
    bindings: {
      ENV_GO_BACKEND_URL: backend,
      ENV_ADMIN_TOKEN: ADMIN_TOKEN,
      ENV_STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
      ...bindings,
    },
    d1Databases: { DIRECTORY: "directory" },
    durableObjects: {
      ORGANIZATIONS: { className: "OrganizationObject", useSQLite: true, scriptName: objectsOf },
    },
  };
}

/** Calls the admin API; returns status and body. */
export async function admin(url, path, body, method = body ? "POST" : "GET") {
  const answer = await fetch(`${url}/admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

/** Creates an organization with a key. */
export async function customer(url, settings = {}) {
  const made = await admin(url, "/organizations", { name: "Acme", ...settings });
  const { body: key } = await admin(url, `/organizations/${made.body.id}/keys`, { name: "test" });
  return { id: made.body.id, key: key.key, keyId: key.id };
}

/** A metered request. */
export function detect(key, headers = {}) {
  return {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "text/plain", ...headers },
    body: "a line\nanother line\n",
  };
}

export const DETECT = "/api/v1/anomalies/detect";

/** Kills the Worker's process with SIGKILL, like a machine that fails. */
export async function killWorkerd({ worker }) {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, "utf8");
  for (const child of children.trim().split(" ")) {
    const name = await readFile(`/proc/${child}/comm`, "utf8");
    if (name.trim() === "workerd") process.kill(Number(child), "SIGKILL");
  }
  await worker.dispose();
}

/** Starts backend and Worker; returns the URL and the function that stops both. */
export async function startAll() {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-worker-"));
  const detector = await startDetector(join(folder, "detector"));
  const worker = await startWorker({ folder, backend: detector.url });
  const stop = async () => {
    await worker.stop();
    await detector.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return { url: worker.url, stop };
}

/** Runs the black-box suite; returns its exit code and output. */
export async function runSuite(url, arguments_) {
  const child = spawn(
    program("DRIFTLOCK_E2E_BIN"),
    ["--url", url, ...arguments_],
    {
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        ...process.env,
        ENV_ADMIN_TOKEN: ADMIN_TOKEN,
        ENV_STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
      },
    },
  );
  let printed = "";
  child.stdout.on("data", (part) => (printed += part));
  const [code] = await once(child, "exit");
  return { code, printed };
}
