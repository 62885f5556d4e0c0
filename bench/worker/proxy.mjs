// A Worker that passes every request on, and does nothing else.
export default {
  fetch(request, env) {
    const url = new URL(request.url);
    return fetch(new Request(`${env.ENV_GO_BACKEND_URL}${url.pathname}${url.search}`, request));
  },
};
