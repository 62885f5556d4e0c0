// Malformed answers of backends: only complete answers are charged, and an answer that cannot be
// passed on becomes a problem document.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DETECT, admin, customer, detect, startWorker } from "./support/workerd.mjs";

const OK = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
const CHUNKS = "7\r\nchunked\r\n0\r\n\r\n";

const ANSWERS = {
  whole: `${OK}Content-Length: 5\r\n\r\nwhole`,
  "both, the length too small": `${OK}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`,
  "both, the length too great": `${OK}Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n${CHUNKS}`,
  "a length twice": `${OK}Content-Length: 2, 2\r\n\r\nok`,
  "two equal lengths": `${OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok`,
  "two lengths": `${OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc`,
  "another coding": `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n${CHUNKS}`,
  "status 700": "HTTP/1.1 700 Odd\r\nContent-Length: 2\r\n\r\nok",
  "status 199": "HTTP/1.1 199 Odd\r\nContent-Length: 2\r\n\r\nok",
  "half a body": `${OK}Content-Length: 20\r\n\r\nha`,
  "half a chunk": `${OK}Transfer-Encoding: chunked\r\n\r\n14\r\nha`,
};

/** A backend that answers with the case that the header `x-kind` names. */
async function startBackend() {
  const server = createServer((socket) => {
    let got = "";
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      got += bytes;
      const end = got.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = Number(/content-length: *(\d+)/i.exec(got.slice(0, end))?.[1] ?? 0);
      const isWhole = /transfer-encoding/i.test(got.slice(0, end))
        ? got.endsWith("0\r\n\r\n")
        : got.length >= end + 4 + length;
      if (!isWhole) return;
      const kind = /^x-kind: *(.*?)\r?$/im.exec(got)?.[1];
      got = "";
      if (kind.startsWith("half")) socket.end(ANSWERS[kind]);
      else socket.write(ANSWERS[kind]);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

async function withWorker(act) {
  const folder = await mkdtemp(join(tmpdir(), "driftlock-answers-"));
  const backend = await startBackend();
  const worker = await startWorker({ folder, backend: backend.url });
  try {
    await act(worker.url, await customer(worker.url));
  } finally {
    await worker.stop();
    backend.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a client sees: the body, or the error that prevented it. */
async function ask(url, key, kind, headers = {}) {
  const answer = await fetch(url + DETECT, detect(key, { "x-kind": kind, ...headers }));
  const body = await answer.text().catch((error) => error);
  return { answer, body, receipt: answer.headers.get("x-usage-receipt") };
}

async function units(url, id) {
  const { body } = await admin(url, `/organizations/${id}/usage`);
  return body.units;
}

function isProblem({ answer, receipt }, kind) {
  assert.equal(answer.status, 502, kind);
  assert.equal(answer.headers.get("content-type"), "application/problem+json", kind);
  assert.equal(receipt, null, kind);
}

/** The correct outcomes; the runtime refuses the other cases before the gateway sees their heads. */
const BODIES = {
  whole: "whole",
  "both, the length too small": "chunked",
  "both, the length too great": "chunked",
};

test("an answer with two framings is complete or refused, and only a complete one is charged", () =>
  withWorker(async (url, { id, key }) => {
    let charged = 0;
    const kinds = Object.keys(ANSWERS).filter((kind) => !/^(half|status)/.test(kind));
    for (const kind of kinds) {
      const right = BODIES[kind];
      for (const idempotency of [undefined, `"key of ${kind}"`]) {
        for (const repeated of [false, true]) {
          const headers = idempotency ? { "idempotency-key": idempotency } : {};
          const seen = await ask(url, key, kind, headers);
          if (right === undefined) {
            isProblem(seen, kind);
            continue;
          }
          const isReplay = Boolean(idempotency) && repeated;
          assert.deepEqual([seen.answer.status, seen.body], [200, right], kind);
          assert.equal(seen.answer.headers.get("idempotency-replayed"), isReplay ? "true" : null);
          charged += isReplay ? 0 : 1;
        }
      }
    }
    assert.equal(await units(url, id), charged);
  }));

test("an answer that ends early under an idempotency key is refused and not charged", () =>
  withWorker(async (url, { id, key }) => {
    for (const kind of ["half a body", "half a chunk"]) {
      isProblem(await ask(url, key, kind, { "idempotency-key": `"${kind}"` }), kind);
    }
    assert.equal(await units(url, id), 0);
    const whole = await ask(url, key, "whole", { "idempotency-key": '"whole"' });
    assert.equal(whole.body, "whole");
    assert.equal(await units(url, id), 1);
  }));

test("a status outside 200 to 599 is a problem document", () =>
  withWorker(async (url, { id, key }) => {
    for (const kind of ["status 700", "status 199"]) {
      isProblem(await ask(url, key, kind), kind);
      isProblem(await ask(url, key, kind, { "idempotency-key": `"${kind}"` }), kind);
    }
    assert.equal(await units(url, id), 0);
  }));
