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
