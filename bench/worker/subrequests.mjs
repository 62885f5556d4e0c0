// What a request asks of others, counted: calls of the backend, of organizations' objects, of D1. The
// Worker is the built one; around it stands an entry that counts what passes through its environment.
import { once } from "node:events";
import { cp, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import {
  BUILD,
  DETECT,
  customer,
  detect,
  startWorker,
} from "../../crates/worker/test/support/workerd.mjs";

const FREE = "/api/v1/anomalies";

const COUNTING = `import Real, { OrganizationObject } from "./real.mjs";
export { OrganizationObject };
const counts = { backend: 0, object: 0, d1: 0 };
const passed = globalThis.fetch;
globalThis.fetch = (...all) => { counts.backend++; return passed(...all); };

const plain = (value) =>
  Array.isArray(value) ? value.map(plain) : (value?.uncounted ?? value);

/** The same object, and what each call of these methods is counted as. */
const counted = (target, counting, wrapped = {}) =>
  new Proxy(target, {
    get(object, name) {
      const found = object[name];
      if (typeof found !== "function" || name === "constructor") return found;
      return (...all) => {
        if (counting[name]) counts[counting[name]]++;
        const made = found.apply(object, all.map(plain));
        return wrapped[name] ? wrapped[name](made) : made;
      };
    },
  });
const statement = (made) => {
  const run = { all: "d1", run: "d1", raw: "d1", first: "d1" };
  const proxy = counted(made, run, { bind: statement });
  return new Proxy(proxy, { get: (object, name) => (name === "uncounted" ? made : object[name]) });
};

export default class extends Real {
  constructor(context, env) {
    const objects = counted(env.ORGANIZATIONS, {}, {
      get: (stub) => counted(stub, { fetch: "object" }),
    });
    const batch = (directory) =>
      counted(directory, { batch: "d1", exec: "d1" }, { prepare: statement });
    super(context, { ...env, ORGANIZATIONS: objects, DIRECTORY: batch(env.DIRECTORY) });
  }
  async fetch(request) {
    if (new URL(request.url).pathname === "/test/counts") return Response.json(counts);
    const before = { ...counts };
    const response = await super.fetch(request);
    const own = Object.entries(counts).map(([kind, count]) => [kind, count - before[kind]]);
    const answer = new Response(response.body, response);
    answer.headers.set("x-test-subrequests", JSON.stringify(Object.fromEntries(own)));
    return answer;
  }
}
`;

/** By kind of request: what it asked before its answer left. */
export async function subrequests(folder) {
  const backend = createServer((request, response) => request.resume().on("end", () => response.end("{}")));
  await once(backend.listen(0, "127.0.0.1"), "listening");
  const build = join(folder, "counted");
  await cp(BUILD, build, { recursive: true });
  await rename(join(build, "entry.mjs"), join(build, "real.mjs"));
  await writeFile(join(build, "entry.mjs"), COUNTING);
  const start = () =>
    startWorker({ folder, backend: `http://127.0.0.1:${backend.address().port}`, build });
  let worker = await start();
  try {
    const { key } = await customer(worker.url);
    await worker.stop();
    worker = await start();
    const free = { headers: { authorization: `Bearer ${key}` } };
    const ask = async (path, init) => {
      const answer = await fetch(`${worker.url}${path}`, init);
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
      await answer.arrayBuffer();
      return JSON.parse(answer.headers.get("x-test-subrequests"));
    };
    return {
      "metered, first of an isolate": await ask(DETECT, detect(key)),
      metered: await ask(DETECT, detect(key)),
      "metered, keyed": await ask(DETECT, detect(key, { "idempotency-key": '"one"' })),
      "metered, replayed": await ask(DETECT, detect(key, { "idempotency-key": '"one"' })),
      free: await ask(FREE, free),
    };
  } finally {
    await worker.stop();
    backend.close().closeAllConnections();
  }
}

export const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);
