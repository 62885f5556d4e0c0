// Functions that replace many calls between Rust and the runtime by one. Headers are passed as
// lines, name and value alternately; neither contains a line break (RFC 9110, section 5.5).

/** @param {Headers} headers */
export function lines(headers) {
  let text = "";
  for (const [name, value] of headers) text += `${name}\n${value}\n`;
  return text;
}

/** Method, URL, then the headers. @param {Request} request */
export function described(request) {
  return `${request.method}\n${request.url}\n${lines(request.headers)}`;
}

/** @param {string} text */
export function headers(text) {
  const made = new Headers();
  const all = text.split("\n");
  for (let at = 0; at + 1 < all.length; at += 2) made.append(all[at], all[at + 1]);
  return made;
}

/** Reads and drops an unwanted body, up to `bytes` and for `millis`. */
export async function dropBody(body, bytes, millis) {
  const reader = body.getReader();
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ done: true }), millis);
  });
  try {
    for (let left = bytes; left > 0; ) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) return;
      left -= value.byteLength;
    }
  } finally {
    clearTimeout(timer);
  }
}

// A WebSocket between a client and a backend that the gateway can close. If the runtime passed the
// WebSocket on, the gateway could not close it. Close codes that no endpoint may send (RFC 6455,
// section 7.4.1) are not passed on.
const POLICY_VIOLATION = 1008;
const UNSENDABLE = new Set([1005, 1006, 1015]);

export class Tether {
  /** @param {WebSocket} backend */
  constructor(backend) {
    const [client, server] = Object.values(new WebSocketPair());
    this.client = client;
    this.sides = [server, backend];
    this.closed = new Promise((resolve) => {
      pass(server, backend, resolve);
      pass(backend, server, resolve);
    });
    for (const side of this.sides) side.accept();
  }

  /** Closes both sides, because the caller is no longer authorized. */
  end() {
    for (const side of this.sides) close(side, POLICY_VIOLATION, "the caller is no longer authorized");
  }
}

/** @param {WebSocket} from @param {WebSocket} to @param {() => void} ended */
function pass(from, to, ended) {
  from.binaryType = "arraybuffer";
  from.addEventListener("message", ({ data }) => {
    try {
      to.send(data);
    } catch {
      close(from, 1011, "");
    }
  });
  from.addEventListener("close", ({ code, reason }) => {
    close(to, code, reason);
    close(from, code, reason);
    ended();
  });
  from.addEventListener("error", () => {
    close(to, 1011, "");
    ended();
  });
}

function close(side, code, reason) {
  try {
    if (UNSENDABLE.has(code)) side.close();
    else side.close(code, reason);
  } catch {
    // It is closed already.
  }
}
