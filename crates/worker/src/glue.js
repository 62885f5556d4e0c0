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
