// A double of Stripe's API with what the cron needs: one meter, and empty lists of everything else.
import { once } from "node:events";
import { createServer } from "node:http";

/** Its URL, the meter events that it received, and the function that stops it. */
export async function startStripe(eventName) {
  const reported = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const path = new URL(request.url, "http://stripe").pathname;
    response.setHeader("content-type", "application/json");
    if (request.method === "POST" && path === "/v1/billing/meter_events") {
      reported.push(Object.fromEntries(new URLSearchParams(body)));
      response.end(JSON.stringify({ object: "billing.meter_event" }));
      return;
    }
    const meter = { id: "mtr_1", object: "billing.meter", event_name: eventName };
    const data = path === "/v1/billing/meters" ? [meter] : [];
    response.end(JSON.stringify({ object: "list", data, has_more: false }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = () => new Promise((done) => server.close(done).closeAllConnections());
  return { url: `http://127.0.0.1:${server.address().port}`, reported, stop };
}
