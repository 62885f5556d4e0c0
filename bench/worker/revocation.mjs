// Measures how soon an isolate refuses a key that it has cached and another isolate revoked (I5),
// and how soon it refuses a key that was revoked in the database, without the admin API.
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { DETECT, admin, customer, detect, startPair } from "../../crates/worker/test/support/workerd.mjs";

const GIVEN_UP_AFTER_MS = 20_000;

/** For both cases: requests that passed after revocation, and milliseconds until one was refused. */
export async function revocation(folder) {
  const backend = createServer((request, response) => request.resume().on("end", () => response.end("{}")));
  await once(backend.listen(0, "127.0.0.1"), "listening");
  const pair = await startPair({ folder, backend: `http://127.0.0.1:${backend.address().port}` });
  const elsewhere = async (key) => (await pair.second.fetch(`${pair.url}${DETECT}`, detect(key))).status;
  const refusedAfter = async (key, pauseMs) => {
    const began = performance.now();
    for (let passed = 0; performance.now() - began < GIVEN_UP_AFTER_MS; passed++) {
      if ((await elsewhere(key)) === 401) return { passed, millis: performance.now() - began };
      await sleep(pauseMs);
    }
    throw new Error("the key is still not refused");
  };
  try {
    const [one, other] = [await customer(pair.url), await customer(pair.url)];
    for (const { key } of [one, other]) {
      const status = await elsewhere(key);
      if (status !== 200) throw new Error(`a key that is not revoked: ${status}`);
    }
    const revoked = await admin(pair.url, `/keys/${one.keyId}/revoke`, {});
    if (revoked.status !== 200) throw new Error(`revoking: ${revoked.status}`);
    const api = await refusedAfter(one.key, 0);

    const database = await pair.worker.getD1Database("DIRECTORY", "first");
    const id = Buffer.from(other.keyId.replace(/^key_/, "").replaceAll("-", ""), "hex");
    const change = database.prepare("UPDATE api_keys SET revoked_at = ?1 WHERE hex(id) = upper(?2)");
    const { meta } = await change.bind((Date.now() - 1_000) * 1_000, id.toString("hex")).run();
    if (meta.changes !== 1) throw new Error("the key was not changed in the database");
    return { api, database: await refusedAfter(other.key, 100) };
  } finally {
    await pair.stop();
    backend.close().closeAllConnections();
  }
}
