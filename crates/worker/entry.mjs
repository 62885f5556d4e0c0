// The Worker's entry: hands the runtime's events to the gateway, which is Rust.
import { WorkerEntrypoint } from "cloudflare:workers";
import configuration from "./gateway.toml";
import * as gateway from "./index.js";

gateway.configure(configuration);

export const OrganizationObject = gateway.OrganizationObject;

export default class extends WorkerEntrypoint {
  fetch(request) {
    const response = gateway.fetch(request, this.env, this.ctx);
    // A client that goes away cancels nothing that has begun: settling runs to its end.
    this.ctx.waitUntil(response);
    return response;
  }

  scheduled(event) {
    return gateway.scheduled(event, this.env, this.ctx);
  }
}
