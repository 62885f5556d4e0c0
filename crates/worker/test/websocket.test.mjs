// A WebSocket through the Worker: the handshake is a request like any other, then messages pass
// through.
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFile, cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { ADMIN_TOKEN, BUILD, startWorker } from "./support/workerd.mjs";

const ROUTE = `
[[routes]]
method = "GET"
path = "/api/v1/live"
units = 1
websocket = true
`;

/** A backend that echoes each message, and the heads that reached it. */
async function startEcho() {
  const heads = [];
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    verifyClient: ({ req }, decide) => {
      heads.push(req.headers);
      decide(!req.url.endsWith("?no"), 403, "no");
    },
    handleProtocols: () => "v1.live",
  });
  await once(server, "listening");
  server.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  const stop = async () => {
    for (const client of server.clients) client.terminate();
    server.close();
    await once(server, "close");
  };
  return { url: `http://127.0.0.1:${server.address().port}`, heads, stop };
}

/** Opens a WebSocket; returns it and the head of the answer, or the status of the refusal. */
async function open(url, path, key) {
  const headers = { authorization: `Bearer ${key}` };
  const socket = new WebSocket(`${url.replace("http", "ws")}${path}`, "v1.live", { headers });
  const upgraded = once(socket, "upgrade");
  const refused = once(socket, "unexpected-response");
  const opened = once(socket, "open");
  // Only one of these events happens.
  for (const other of [upgraded, refused, opened]) other.catch(() => {});
  const [first, second] = await Promise.race([upgraded, refused]);
  if (second) {
    second.resume();
    return { status: second.statusCode };
  }
  await opened;
  return { socket, headers: first.headers, status: first.statusCode };
}

test("a WebSocket passes, and is charged once", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-websocket-"));
  const build = join(folder, "build");
  await cp(BUILD, build, { recursive: true });
  await appendFile(join(build, "gateway.toml"), ROUTE);
  const echo = await startEcho();
  const worker = await startWorker({ folder, backend: echo.url, build });
  try {
    const admin = async (method, path, body) => {
      const answer = await fetch(`${worker.url}/admin/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
        body: body && JSON.stringify(body),
      });
      assert.ok(answer.ok, await answer.clone().text());
      return answer.json();
    };
    const organization = await admin("POST", "/organizations", { name: "Acme" });
    const wanted = { name: "live", scopes: ["*"] };
    const { key } = await admin("POST", `/organizations/${organization.id}/keys`, wanted);
    const units = async () => (await admin("GET", `/organizations/${organization.id}/usage`)).units;

    assert.equal((await open(worker.url, "/api/v1/live", "dlk_unknown")).status, 401);
    // A route without WebSockets gets an ordinary request, and this backend answers handshakes
    // only.
    assert.equal((await open(worker.url, "/api/v1/anomalies", key)).status, 426);
    assert.equal(echo.heads.length, 0, "no handshake reached the backend");
    assert.equal((await open(worker.url, "/api/v1/live?no", key)).status, 403);
    assert.equal(await units(), 0);

    const { socket, headers } = await open(worker.url, "/api/v1/live", key);
    assert.match(headers["x-usage-receipt"], /^use_/);
    assert.equal(socket.protocol, "v1.live");
    const head = echo.heads.at(-1);
    assert.equal(head["x-organization-id"], organization.id);
    assert.equal(head.authorization, undefined);
    for (const text of ["a", "b", "long ".repeat(100_000)]) {
      const answered = once(socket, "message");
      socket.send(text);
      const [data] = await answered;
      assert.equal(data.toString(), text);
    }
    const closed = once(socket, "close");
    socket.close(1000);
    assert.equal((await closed)[0], 1000);
    assert.equal(await units(), 1);
  } finally {
    await worker.stop();
    await echo.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
