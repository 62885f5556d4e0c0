// Unusual heads: bytes beyond ASCII pass unchanged, a target that is too long is a 414, and an
// isolate that cannot reach its directory answers with a problem document.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ADMIN_TOKEN, DETECT, customer, detect, startWorker } from "./support/workerd.mjs";

const NAME = "Zażółć 日本";

/** A backend that answers with such a header, and returns the bytes of the one that it received. */
async function startBackend() {
  const server = createServer((request, response) => {
    request.resume();
    const got = Buffer.from(request.headers["x-name"] ?? "", "latin1").toString("hex");
    response.setHeader("x-name", Buffer.from(NAME).toString("latin1"));
    response.setHeader("x-latin", "caf\xe9");
    response.setHeader("x-got", got);
    // Bytes: Node would write the head in the encoding of a text.
    response.end(Buffer.from("{}"));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = () => new Promise((done) => server.close(done).closeAllConnections());
  return { url: `http://127.0.0.1:${server.address().port}`, stop };
}

/** Sends bytes unchanged; returns the answer. */
async function exchange(url, head) {
  const { port } = new URL(url);
  const socket = connect(Number(port), "127.0.0.1");
  socket.end(head);
  const parts = [];
  for await (const part of socket) parts.push(part);
  return Buffer.concat(parts);
}

test("headers beyond ASCII pass both ways, and long targets are refused", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-heads-"));
  const backend = await startBackend();
  const worker = await startWorker({ folder, backend: backend.url });
  try {
    const { key } = await customer(worker.url);
    const lines = [
      `POST ${DETECT} HTTP/1.1`,
      "Host: gateway",
      `Authorization: Bearer ${key}`,
      `X-Name: ${NAME}`,
      "Content-Length: 0",
      "Connection: close",
      "",
      "",
    ];
    const answer = await exchange(worker.url, Buffer.from(lines.join("\r\n")));
    const text = answer.toString("utf8");
    assert.match(text, /^HTTP\/1\.1 200 /, text);
    assert.ok(text.includes(`x-got: ${Buffer.from(NAME).toString("hex")}`), text);
    assert.ok(text.includes(`x-name: ${NAME}`), text);

    const long = await fetch(`${worker.url}/api/${"a".repeat(70_000)}`);
    assert.equal(long.status, 414);
    assert.equal(long.headers.get("content-type"), "application/problem+json");
    assert.ok(long.headers.get("x-request-id"));
  } finally {
    await worker.stop();
    await backend.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

test("an isolate whose directory does not answer is alive, and says when to try again", async () => {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-away-"));
  const bindings = {
    ENV_SUPABASE_URL: "http://127.0.0.1:1",
    ENV_SUPABASE_SERVICE_ROLE_KEY: "sb_secret_of_nothing",
  };
  const worker = await startWorker({ folder, backend: "http://127.0.0.1:1", bindings });
  try {
    assert.equal((await fetch(`${worker.url}/healthz`)).status, 200);
    const asked = { "x-request-id": "mine" };
    const calls = [
      fetch(`${worker.url}${DETECT}`, detect("a-key-to-be-looked-up", asked)),
      fetch(`${worker.url}/admin/v1/organizations`, {
        headers: { ...asked, authorization: `Bearer ${ADMIN_TOKEN}` },
      }),
    ];
    for (const refused of await Promise.all(calls)) {
      assert.equal(refused.status, 503);
      assert.equal(refused.headers.get("content-type"), "application/problem+json");
      assert.equal(refused.headers.get("x-request-id"), "mine");
      assert.ok(Number(refused.headers.get("retry-after")) >= 1);
      assert.equal((await refused.json()).instance, "mine");
    }
  } finally {
    await worker.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
