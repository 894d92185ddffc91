// The host services under their names: `this.kv` and the older `this.hostServices.kv`, and in a module
// handler `env.kv`, which answers with promises.
import { expose } from "./primordials.js";
import { makeMessaging } from "./messaging.js";
import { makeKv } from "./kv.js";
import { makeObjectStore } from "./objects.js";
import { makeHttp } from "./http.js";

const make = (kind) => ({
  messaging: makeMessaging(kind), kv: makeKv(kind), objectStore: makeObjectStore(kind), http: makeHttp(kind),
});

const services = make("sync");
expose(services);
expose({ hostServices: Object.freeze({ ...services }) });

export const asyncServices = Object.freeze({ __proto__: null, ...make("async") });
