// The Worker's entry: hands the runtime's events to the gateway, which is Rust.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import configuration from "./gateway.toml";
import * as gateway from "./index.js";

gateway.configure(configuration);

/** Only what extends the runtime's class can be asked by a call, which costs half of what a request does. */
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
    // A client that goes away cancels nothing that has begun: settling runs to its end.
    this.ctx.waitUntil(response);
    return response;
  }

  scheduled(event) {
    return gateway.scheduled(event, this.env, this.ctx);
  }
}
