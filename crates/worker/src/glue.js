// What would cost many steps between Rust and the runtime, in one: headers as lines, a name and its value
// in turn. Neither ever holds a line break (RFC 9110, section 5.5).

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

/** Reads a body that nobody wants, up to so many bytes and for so long. */
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

// A WebSocket between a client and a backend that can be ended from here: what the runtime passes on by
// itself is out of reach. Codes that no side may send (RFC 6455, section 7.4.1) are left out.
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

  /** Closes both sides: the caller may call no more. */
  end() {
    for (const side of this.sides) close(side, POLICY_VIOLATION, "the caller may call no more");
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
