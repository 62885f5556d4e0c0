// Stripe's own SDK on both sides of a signature: `sign` makes headers that the gateway verifies,
// `verify` verifies headers that the gateway's tools made. Reads JSON from stdin, writes JSON to
// stdout.

import Stripe from "stripe";
import { readFileSync } from "node:fs";

const { webhooks } = new Stripe("sk_test_never_used");
const input = JSON.parse(readFileSync(0, "utf8"));

function sign({ secret, old_secret, other_secret, now, payload }) {
  const header = (more) =>
    webhooks.generateTestHeaderString({ payload, secret, timestamp: now, ...more });
  const signature = (text) => text.split("v1=")[1];
  const old = header({ secret: old_secret });
  const other = header({ secret: other_secret });
  return [
    { name: "as it should be", header: header({}), accepted: true },
    { name: "by the secret before the rotation", header: old, accepted: true },
    {
      name: "rotation: two v1, the second ours",
      header: `${other},v1=${signature(header({}))}`,
      accepted: true,
    },
    {
      name: "rotation: two v1, the first ours",
      header: `${header({})},v1=${signature(other)}`,
      accepted: true,
    },
    { name: "at the edge of the tolerance", header: header({ timestamp: now - 270 }), accepted: true },
    { name: "by another secret", header: other, accepted: false },
    { name: "too old", header: header({ timestamp: now - 400 }), accepted: false },
    { name: "of the future", header: header({ timestamp: now + 400 }), accepted: false },
    { name: "of another payload", header: header({ payload: `${payload} ` }), accepted: false },
    { name: "of a scheme for tests", header: header({ scheme: "v0" }), accepted: false },
  ];
}

function verify({ secret, deliveries }) {
  const judged = (body, header) => {
    try {
      return webhooks.constructEvent(body, header, secret).id;
    } catch (error) {
      if (error instanceof Stripe.errors.StripeSignatureVerificationError) return null;
      throw error;
    }
  };
  return deliveries.map(({ signature, body }) => ({
    id: judged(body, signature),
    tampered: judged(`${body} `, signature),
  }));
}

const answer = { sign, verify }[process.argv[2]](input);
process.stdout.write(JSON.stringify(answer));
