// The Worker's entry: passes the runtime's events to the gateway in Rust.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import configuration from "./gateway.toml";
import * as gateway from "./index.js";

gateway.configure(configuration);

/** It extends the runtime's class for RPC, which costs half as much as a request to the object. */
export class OrganizationObject extends DurableObject {
  #object;

  constructor(state, env) {
    super(state, env);
    this.#object = new gateway.OrganizationObject(state, env);
  }

  ask(organization, question) {
    return this.#object.ask(organization, question);
  }

  alarm() {
    return this.#object.alarm();
  }
}

export default class extends WorkerEntrypoint {
  fetch(request) {
    const response = gateway.fetch(request, this.env, this.ctx);
    // The request is completed and settled even if the client disconnects.
    this.ctx.waitUntil(response);
    return response;
  }

  scheduled(event) {
    return gateway.scheduled(event, this.env, this.ctx);
  }
}
