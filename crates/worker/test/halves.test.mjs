// Half-sent requests: an isolate's memory grows by its budget at most, requests are denied by their
// heads, and a denial reaches its client while the client still sends.
import assert from "node:assert/strict";
import { once } from "node:events";
import { cp, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { BUILD, DETECT, admin, customer, detect, startWorker } from "./support/workerd.mjs";

const BUDGET = 32 << 20;
/** Growth of an isolate beyond its budget: chunks that the runtime holds, and its own heap. */
const GROWTH = 24 << 20;

/** The build with a route that returns the size of its memory: `GET /test/memory`. */
async function measuredBuild(folder) {
  const build = join(folder, "measured");
  await cp(BUILD, build, { recursive: true });
  await rename(join(build, "entry.mjs"), join(build, "real.mjs"));
  await writeFile(
    join(build, "watch.mjs"),
    `const Instance = WebAssembly.Instance;
    WebAssembly.Instance = function (...given) {
      const instance = new Instance(...given);
      globalThis.gatewayMemory = instance.exports.memory ?? globalThis.gatewayMemory;
      return instance;
    };
    WebAssembly.Instance.prototype = Instance.prototype;`,
  );
  await writeFile(
    join(build, "entry.mjs"),
    `import "./watch.mjs";
    import Real, { OrganizationObject } from "./real.mjs";
    export { OrganizationObject };
    export default class extends Real {
      async fetch(request) {
        if (new URL(request.url).pathname !== "/test/memory") return super.fetch(request);
        return new Response(String(globalThis.gatewayMemory.buffer.byteLength));
      }
    }`,
  );
  return build;
}

async function startBackend() {
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => response.end("{}"));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = () => new Promise((done) => server.close(done).closeAllConnections());
  return { url: `http://127.0.0.1:${server.address().port}`, stop };
}

/** Sends chunks over a new connection; collects the answer and the connection's error. */
async function half(url, head, body) {
  const { port } = new URL(url);
  const socket = connect(Number(port), "127.0.0.1");
  const state = { socket, text: "", error: undefined };
  socket.on("error", (error) => (state.error = error));
  socket.on("data", (data) => (state.text += data.toString("latin1")));
  await once(socket, "connect");
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  if (body) socket.write(body);
  return state;
}

const status = ({ text }) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);

async function eventually(what, holds) {
  for (let tries = 0; tries < 200; tries++) {
    const found = await holds();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`never: ${what}`);
}

async function withWorker(act) {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-halves-"));
  const backend = await startBackend();
  const build = await measuredBuild(folder);
  const worker = await startWorker({ folder, backend: backend.url, build });
  try {
    await act(worker.url);
  } finally {
    await worker.stop();
    await backend.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const memory = async (url) => Number(await (await fetch(`${url}/test/memory`)).text());

test("half-sent deliveries take the isolate's budget at most", () =>
  withWorker(async (url) => {
    const { key } = await customer(url);
    assert.equal((await fetch(url + DETECT, detect(key))).status, 200);
    const before = await memory(url);
    const seconds = Math.floor(Date.now() / 1_000);
    const all = [];
    for (let number = 0; number < 300; number++) {
      const head = [
        "POST /webhooks/stripe HTTP/1.1",
        "Host: gateway",
        `CF-Connecting-IP: 10.1.${number >> 8}.${number & 255}`,
        "Content-Type: application/json",
        `Stripe-Signature: t=${seconds},v1=${"0".repeat(64)}`,
        `Content-Length: ${512 << 10}`,
      ];
      all.push(await half(url, head, Buffer.alloc(256 << 10, "x")));
    }
    const refused = () => all.filter((one) => status(one) === 503);
    await eventually("some exceed the budget", () => refused().length > 0);
    const during = await memory(url);
    assert.ok(refused().every(({ text }) => /\r\nretry-after: /i.test(text)));
    assert.equal((await fetch(url + DETECT, detect(key))).status, 200, "other requests pass meanwhile");
    for (const { socket } of all) socket.destroy();
    const keyed = await eventually("there is room again", async () => {
      const answer = await fetch(url + DETECT, detect(key, { "idempotency-key": "again" }));
      return answer.status === 200;
    });
    assert.ok(keyed);
    const mib = (bytes) => bytes >> 20;
    console.log(`figure MiB of an isolate before and with 300 half-sent deliveries = ${mib(before)}, ${mib(during)}`);
    assert.ok(during <= before + BUDGET + GROWTH, `${before} before, ${during} during`);
  }));

test("requests are denied by their heads", () =>
  withWorker(async (url) => {
    const made = await admin(url, "/organizations", { name: "Acme" });
    const wanted = { name: "slow", requests_per_minute: 1 };
    const { body } = await admin(url, `/organizations/${made.body.id}/keys`, wanted);
    assert.equal((await fetch(url + DETECT, detect(body.key))).status, 200);
    const before = await memory(url);
    const all = [];
    for (let number = 0; number < 100; number++) {
      const head = [
        `POST ${DETECT} HTTP/1.1`,
        "Host: gateway",
        `Authorization: Bearer ${body.key}`,
        "Content-Type: text/plain",
        `Idempotency-Key: half-${number}`,
        `Content-Length: ${1 << 20}`,
      ];
      all.push(await half(url, head, Buffer.alloc(512 << 10, "x")));
    }
    await eventually("all are denied", () => all.every((one) => status(one) === 429));
    const during = await memory(url);
    for (const { socket } of all) socket.destroy();
    assert.ok(during <= before + GROWTH, `${before} before, ${during} during`);
  }));

test("a denial reaches a client that still sends", () =>
  withWorker(async (url) => {
    const length = 2_000_000;
    const lost = [];
    for (let number = 0; number < 20; number++) {
      const head = [
        `POST ${DETECT} HTTP/1.1`,
        "Host: gateway",
        "Authorization: Bearer dlk_unknown",
        "Content-Type: text/plain",
        `Content-Length: ${length}`,
      ];
      const one = await half(url, head, Buffer.alloc(length, "x"));
      await eventually("it is answered", () => status(one) || one.error);
      if (status(one) !== 401) lost.push(one.error ?? one.text);
      one.socket.destroy();
    }
    console.log(`figure denials of 2 MB uploads lost at the edge = ${lost.length} of 20`);
    assert.deepEqual(lost, []);
  }));

test("Upgrade to another protocol than a WebSocket is ignored", () =>
  withWorker(async (url) => {
    const { key } = await customer(url);
    const body = "a line\n";
    const head = [
      `POST ${DETECT} HTTP/1.1`,
      "Host: gateway",
      `Authorization: Bearer ${key}`,
      "Connection: Upgrade, HTTP2-Settings",
      "Upgrade: h2c",
      "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
      "Content-Type: text/plain",
      `Content-Length: ${body.length}`,
    ];
    const one = await half(url, head, body);
    await eventually("it is answered", () => status(one) || one.error);
    assert.equal(status(one), 200, one.text);
    one.socket.destroy();
  }));
