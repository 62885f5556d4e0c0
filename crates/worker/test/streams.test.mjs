// Event streams and WebSockets end at the edge when their key is revoked. All foreign Workers share
// one client address; if one zone fails often, other zones and valid keys are not affected.
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFile, cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { ADMIN_TOKEN, BUILD, admin, customer, startWorker } from "./support/workerd.mjs";

const ROUTES = `
[[routes]]
method = "GET"
path = "/api/v1/live"
websocket = true

[[routes]]
method = "GET"
path = "/api/v1/ticks"
`;
const PATIENCE_MS = 20_000;

/** The build with more routes and frequent checks of open streams. */
async function build(folder) {
  const copy = join(folder, "build");
  await cp(BUILD, copy, { recursive: true });
  const path = join(copy, "gateway.toml");
  const text = await readFile(path, "utf8");
  const often = text.replace("stream_check_ms = 5000", "stream_check_ms = 200");
  assert.notEqual(often, text);
  await writeFile(path, often);
  await appendFile(path, ROUTES);
  return copy;
}

/** A backend that sends an event every 50 ms and echoes each message of a WebSocket. */
async function startBackend() {
  const open = { streams: 0, sockets: 0 };
  const server = createServer((_, response) => {
    open.streams += 1;
    response.writeHead(200, { "content-type": "text/event-stream" });
    const ticks = setInterval(() => response.write("data: tick\n\n"), 50);
    response.on("close", () => {
      open.streams -= 1;
      clearInterval(ticks);
    });
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    open.sockets += 1;
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on("close", () => (open.sockets -= 1));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = async () => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  };
  return { url: `http://127.0.0.1:${server.address().port}`, open, stop };
}

async function until(what, probe) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await probe())) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function withWorker(act) {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-streams-"));
  const backend = await startBackend();
  const worker = await startWorker({ folder, backend: backend.url, build: await build(folder) });
  try {
    await act(worker, backend);
  } finally {
    await worker.stop();
    await backend.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Reads until the stream ends or breaks. */
async function drained(response) {
  const reader = response.body.getReader();
  try {
    while (!(await reader.read()).done);
  } catch {
    // An aborted stream has ended, too.
  }
}

test("streams of a revoked key end, those of other keys continue", () =>
  withWorker(async ({ url }, { open }) => {
    const [revoked, kept] = [await customer(url), await customer(url)];
    const ticks = (key) =>
      fetch(`${url}/api/v1/ticks`, { headers: { authorization: `Bearer ${key}` } });
    const [first, other] = [await ticks(revoked.key), await ticks(kept.key)];
    const headers = { authorization: `Bearer ${revoked.key}` };
    const socket = new WebSocket(`${url.replace("http", "ws")}/api/v1/live`, { headers });
    await once(socket, "open");
    for (const data of ["text", Buffer.from([0, 1, 255])]) {
      const answered = once(socket, "message");
      socket.send(data);
      const [answer, isBinary] = await answered;
      assert.deepEqual(answer, Buffer.from(data));
      assert.equal(isBinary, typeof data !== "string");
    }
    const closed = once(socket, "close");
    const ended = drained(first);
    await until("both streams are open", () => open.streams === 2 && open.sockets === 1);
    const answer = await admin(url, `/keys/${revoked.keyId}/revoke`, {});
    assert.equal(answer.status, 200);
    await ended;
    assert.equal((await closed)[0], 1008);
    await until("the requests to the backend end", () => open.streams === 1 && open.sockets === 0);
    const reader = other.body.getReader();
    for (let piece = 0; piece < 5; piece += 1) assert.ok(!(await reader.read()).done);
    await reader.cancel();
    await until("the request of a client that leaves ends", () => open.streams === 0);
  }));

test("zones of foreign Workers are limited separately, and valid keys always pass", () =>
  withWorker(async ({ url }) => {
    const { key } = await customer(url);
    const shared = "2a06:98c0:3600::103";
    const from = (zone, path, token) =>
      fetch(`${url}${path}`, {
        headers: {
          "cf-connecting-ip": shared,
          "cf-worker": zone,
          ...(token && { authorization: `Bearer ${token}` }),
        },
      });
    const statuses = [];
    for (let n = 0; n < 130; n += 1) statuses.push((await from("junk.example", "/nothing")).status);
    assert.equal(statuses[0], 404);
    assert.equal(statuses.at(-1), 429);
    assert.equal((await from("other.example", "/nothing")).status, 404, "another zone");
    const wrong = "w".repeat(40);
    for (let n = 0; n < 12; n += 1) await from("junk.example", "/admin/v1/organizations", wrong);
    assert.equal((await from("junk.example", "/admin/v1/organizations", wrong)).status, 429);
    assert.equal((await from("junk.example", "/admin/v1/organizations", ADMIN_TOKEN)).status, 200);
    // A key that this isolate has not seen yet.
    const health = await from("junk.example", "/api/v1/ticks", key);
    assert.equal(health.status, 200);
    await health.body.cancel();
  }));
