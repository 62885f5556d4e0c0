// Requests with an Idempotency-Key of every method through the Worker, the headers that pass, and
// the spellings of paths.
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFile, cp, mkdtemp, rm } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BUILD, admin, customer, startWorker } from "./support/workerd.mjs";

const METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"];
const ROUTES = METHODS.filter((method) => method !== "HEAD")
  .map((method) => `\n[[routes]]\nmethod = "${method}"\npath = "/api/things/{id}"\nunits = 1\n`)
  .concat('\n[[routes]]\nmethod = "POST"\npath = "/api/run:now"\nunits = 1\n')
  .concat('\n[[routes]]\nmethod = "POST"\npath = "/api/{x}"\n')
  .join("");
const LARGE = 300 << 10;

/** Requests that reached the backend. */
const seen = [];
let folder, backend, worker;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "driftlock-keyed-"));
  const build = join(folder, "build");
  await cp(BUILD, build, { recursive: true });
  await appendFile(join(build, "gateway.toml"), ROUTES);
  backend = createServer((request, response) => {
    seen.push({ method: request.method, url: request.url, headers: request.headers });
    request.resume();
    request.on("end", () => {
      response.setHeader("x_usage_receipt", "forged");
      response.setHeader("x_request_id", "forged");
      if (request.url.endsWith("events")) response.setHeader("content-type", "text/event-stream");
      response.end(request.url.endsWith("large") ? "x".repeat(LARGE) : `answer ${seen.length}`);
    });
  }).listen(0, "127.0.0.1");
  await once(backend, "listening");
  worker = await startWorker({ folder, backend: `http://127.0.0.1:${backend.address().port}`, build });
});

after(async () => {
  await worker.stop();
  await new Promise((done) => backend.close(done).closeAllConnections());
  await rm(folder, { recursive: true, force: true });
});

/** A request with headers as they are given; `fetch` would add some. */
async function send(key, method, path, headers = {}, body) {
  const all = { authorization: `Bearer ${key}`, ...headers };
  const { port } = new URL(worker.url);
  const call = httpRequest({ port, host: "127.0.0.1", method, path, headers: all, agent: false });
  call.end(body);
  const [answer] = await once(call, "response");
  const parts = [];
  for await (const part of answer) parts.push(part);
  return { status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts).toString() };
}

const keyed = (key, method, path, token, headers = {}) =>
  send(key, method, path, { "idempotency-key": token, ...headers });

const units = async (id) => (await admin(worker.url, `/organizations/${id}/usage`)).body.units;

test("every metered method is charged once and replayed", async () => {
  const { id, key } = await customer(worker.url, { quota: { included: METHODS.length } });
  for (const [place, method] of METHODS.entries()) {
    const before = seen.length;
    const first = await keyed(key, method, "/api/things/a", method);
    assert.equal(first.status, 200, first.body);
    assert.equal(first.headers["idempotency-replayed"], undefined);
    for (let repetition = 0; repetition < 2; repetition += 1) {
      const again = await keyed(key, method, "/api/things/a", method);
      assert.equal(again.status, 200, again.body);
      assert.equal(again.headers["idempotency-replayed"], "true", method);
      assert.equal(again.headers["x-usage-receipt"], first.headers["x-usage-receipt"]);
      assert.equal(again.body, first.body);
    }
    const other = await keyed(key, method, "/api/things/a", method, { "x-question": "2" });
    assert.equal(other.status, 422, method);
    assert.equal(seen.length, before + 1, `${method}: the backend was asked once`);
    assert.equal(await units(id), place + 1);
  }
  assert.equal((await keyed(key, "PUT", "/api/things/a", "new")).status, 429);
  assert.equal((await keyed(key, "PUT", "/api/things/a", "PUT")).status, 200, "it was paid for");
});

test("an answer that cannot be kept is passed on once and then named by its receipt", async () => {
  for (const kind of ["large", "events"]) {
    const { id, key } = await customer(worker.url, { quota: { included: 1 } });
    const before = seen.length;
    const first = await keyed(key, "POST", `/api/things/${kind}`, "a");
    assert.equal(first.status, 200, first.body);
    const receipt = first.headers["x-usage-receipt"];
    assert.match(receipt, /^use_/);
    for (let repetition = 0; repetition < 5; repetition += 1) {
      const again = await keyed(key, "POST", `/api/things/${kind}`, "a");
      assert.equal(again.status, 409, again.body);
      const problem = JSON.parse(again.body);
      assert.match(problem.type, /\/idempotency-answer-not-kept$/);
      assert.equal(problem.receipt, receipt);
      assert.equal(again.headers["x-usage-receipt"], undefined);
      assert.ok(again.headers.ratelimit, "the answer has the limits");
    }
    assert.equal(seen.length, before + 1, "the backend was asked once");
    assert.equal(await units(id), 1);
  }
});

test("headers of proxies and of the gateway cannot be forged, in any spelling", async () => {
  const { id, key } = await customer(worker.url);
  const forged = [
    "forwarded",
    "x-forwarded-port",
    "x-forwarded-user",
    "true-client-ip",
    "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email",
    "remote-user",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "proxy",
    "x.organization.id",
    "x_forwarded_user",
  ];
  const sent = Object.fromEntries(forged.map((name) => [name, "forged"]));
  const answer = await send(key, "POST", "/api/things/a", { ...sent, "x-own": "passes" });
  assert.equal(answer.status, 200, answer.body);
  assert.match(answer.headers["x-usage-receipt"], /^use_/);
  assert.equal(answer.headers["x_usage_receipt"], undefined);
  assert.equal(answer.headers["x_request_id"], undefined);
  const { headers } = seen.at(-1);
  for (const name of forged) assert.equal(headers[name], undefined, name);
  assert.equal(headers["x-organization-id"], id);
  assert.equal(headers["x-own"], "passes");
});

test("every spelling of a path leads to the same route", async () => {
  const { id, key } = await customer(worker.url);
  const spellings = ["/api/run:now", "/api/run%3Anow", "/api/run%3anow", "/api/%72un%3Anow"];
  for (const [place, path] of spellings.entries()) {
    const answer = await send(key, "POST", path);
    assert.equal(answer.status, 200, answer.body);
    assert.match(answer.headers["x-usage-receipt"], /^use_/, path);
    assert.equal(seen.at(-1).url, "/api/run:now");
    assert.equal(await units(id), place + 1, `${path} is metered`);
  }
});

test("a fragment is removed before routing and forwarding", async () => {
  const { key } = await customer(worker.url);
  const before = seen.length;
  const socket = connect(Number(new URL(worker.url).port), "127.0.0.1");
  const lines = ["POST /api/a#b HTTP/1.1", "Host: gateway", `Authorization: Bearer ${key}`];
  socket.end([...lines, "Content-Length: 0", "Connection: close", "", ""].join("\r\n"));
  const parts = [];
  for await (const part of socket) parts.push(part);
  const answer = Buffer.concat(parts).toString();
  // The platform removes the fragment before the gateway sees the target.
  assert.match(answer, /^HTTP\/1\.1 200 /, answer);
  assert.equal(seen.length, before + 1);
  assert.equal(seen.at(-1).url, "/api/a");
});
