// A Worker that only sends a constant answer.
export default {
  fetch: () => Response.json({ status: "ok" }),
};
