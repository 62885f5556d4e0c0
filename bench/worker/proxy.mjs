// A Worker that only forwards every request.
export default {
  fetch(request, env) {
    const url = new URL(request.url);
    return fetch(new Request(`${env.ENV_GO_BACKEND_URL}${url.pathname}${url.search}`, request));
  },
};
