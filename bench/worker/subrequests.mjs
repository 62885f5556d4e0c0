// Records the subrequests of a request by name: the backend, its organization's object, the
// directory. The Worker is the built one; a wrapper around its entry records the calls through its
// environment.
import { once } from "node:events";
import { cp, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  BUILD,
  DETECT,
  customer,
  detect,
  startWorker,
} from "../../crates/worker/test/support/workerd.mjs";

const FREE = "/api/v1/anomalies";
/** Calls that an isolate makes for many requests at once, after their answers: the last use of keys
 * and audit rows; and once, the check of a project's schema. */
const UPKEEP = [
  "directory: batch",
  "directory: driftlock_checksums",
  "directory: driftlock_touch_keys",
  "directory: driftlock_version",
  "object: Append",
];
/** After this time the work that a request leaves behind is done. */
const AFTERWARDS_MS = 400;

const NOTING = `import Real, { OrganizationObject } from "./real.mjs";
export { OrganizationObject };
let calls = [];
const passed = globalThis.fetch;
globalThis.fetch = (...all) => {
  const called = /rest\\/v1\\/rpc\\/(\\w+)/.exec(all[0]?.url ?? all[0])?.[1];
  calls.push(called ? "directory: " + called : "backend");
  return passed(...all);
};

const plain = (value) => (Array.isArray(value) ? value.map(plain) : (value?.unnoted ?? value));

/** A proxy of the object: \`note\` gets the calls of its methods, \`wrapped\` their results. */
const noted = (target, note, wrapped = {}) =>
  new Proxy(target, {
    get(object, name) {
      const found = object[name];
      if (typeof found !== "function" || name === "constructor") return found;
      return (...all) => {
        note(name, all);
        // Not \`apply\`: on an object's stub that would be a call, too.
        const made = object[name](...all.map(plain));
        return wrapped[name] ? wrapped[name](made) : made;
      };
    },
  });
const directory = (...names) => (name) => names.includes(name) && calls.push("directory: " + name);
const statement = (made) => {
  const proxy = noted(made, directory("all", "run", "raw", "first"), { bind: statement });
  return new Proxy(proxy, { get: (object, name) => (name === "unnoted" ? made : object[name]) });
};
const asked = (name, [, question]) => {
  if (name !== "ask") return;
  const ask = JSON.parse(question);
  calls.push("object: " + (typeof ask === "string" ? ask : Object.keys(ask)[0]));
};

export default class extends Real {
  constructor(context, env) {
    const objects = noted(env.ORGANIZATIONS, () => {}, { get: (stub) => noted(stub, asked) });
    const database = noted(env.DIRECTORY, directory("batch", "exec"), { prepare: statement });
    super(context, { ...env, ORGANIZATIONS: objects, DIRECTORY: database });
  }
  fetch(request) {
    if (new URL(request.url).pathname !== "/test/calls") return super.fetch(request);
    const answer = Response.json(calls);
    calls = [];
    return answer;
  }
}
`;

/** For each kind of request: its subrequests, and those of its isolate's periodic work. */
export async function subrequests(folder, bindings = {}) {
  const backend = createServer((request, response) => request.resume().on("end", () => response.end("{}")));
  await once(backend.listen(0, "127.0.0.1"), "listening");
  const build = join(folder, "noting");
  await cp(BUILD, build, { recursive: true });
  await rename(join(build, "entry.mjs"), join(build, "real.mjs"));
  await writeFile(join(build, "entry.mjs"), NOTING);
  const url = `http://127.0.0.1:${backend.address().port}`;
  const start = () => startWorker({ folder, backend: url, build, bindings });
  let worker = await start();
  try {
    const { key } = await customer(worker.url);
    const anew = async () => {
      await worker.stop();
      worker = await start();
    };
    await anew();
    const free = { headers: { authorization: `Bearer ${key}` } };
    const keyed = (token) => detect(key, { "idempotency-key": `"${token}"` });
    const ask = async (path, init) => {
      const answer = await fetch(`${worker.url}${path}`, init);
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
      await answer.arrayBuffer();
      await sleep(AFTERWARDS_MS);
      const calls = await (await fetch(`${worker.url}/test/calls`)).json();
      const isUpkeep = (call) => UPKEEP.includes(call);
      return { own: calls.filter((call) => !isUpkeep(call)), upkeep: calls.filter(isUpkeep) };
    };
    const counted = {
      "metered, first of an isolate": await ask(DETECT, detect(key)),
      metered: await ask(DETECT, detect(key)),
      "metered, keyed": await ask(DETECT, keyed("one")),
      "metered, replayed": await ask(DETECT, keyed("one")),
      free: await ask(FREE, free),
    };
    await anew();
    counted["metered, keyed, first of an isolate"] = await ask(DETECT, keyed("two"));
    return counted;
  } finally {
    await worker.stop();
    backend.close().closeAllConnections();
  }
}
