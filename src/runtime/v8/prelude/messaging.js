// Host services. Each call is a request to the instance's host: the plain form waits for the
// answer, `env.*` in a module handler gives promises.
import { ops, global, expose, toBytes, isView, JSONParse } from "./primordials.js";
import { unavailable, http } from "./fetch.js";

// The headers of a message: names as sent, several values a name.
export class MessageHeaders {
  #list = [];
  constructor(block) {
    if (block === undefined || block === "") return;
    for (const line of block.split("\r\n").slice(1)) {
      const colon = line.indexOf(":");
      if (colon > 0) this.#list.push([line.slice(0, colon), line.slice(colon + 1).trim()]);
    }
  }
  getAll(name) {
    const exact = this.#list.filter((entry) => entry[0] === name);
    const lower = `${name}`.toLowerCase();
    const found = exact.length > 0 ? exact : this.#list.filter((entry) => entry[0].toLowerCase() === lower);
    return found.map((entry) => entry[1]);
  }
  get(name) { return this.getAll(name)[0]; }
  has(name) { return this.getAll(name).length > 0; }
  get size() { return this.#list.length; }
  *entries() { for (const [name, value] of this.#list) yield [name, value]; }
  *keys() { for (const name of new Set(this.#list.map((entry) => entry[0]))) yield name; }
  *values() { for (const entry of this.#list) yield entry[1]; }
  forEach(callback) { for (const [name, value] of this.#list) callback(value, name, this); }
  [Symbol.iterator]() { return this.entries(); }
  toJSON() {
    const out = {};
    for (const name of this.keys()) out[name] = this.getAll(name);
    return out;
  }
}

// A reply is its bytes, with the headers and two conveniences.
class Reply extends Uint8Array {
  static get [Symbol.species]() { return Uint8Array; }
  #block = "";
  #headers;
  static make(bytes, block) {
    const reply = new Reply(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    reply.#block = block ?? "";
    return reply;
  }
  get headers() { return (this.#headers ??= new MessageHeaders(this.#block)); }
  get data() { return new Uint8Array(this.buffer, this.byteOffset, this.byteLength); }
  text() { return ops.decode(this, 0, false); }
  json() { return JSONParse(this.text()); }
}
const makeReply = Reply.make;
delete Reply.make;

function headerBlock(headers) {
  if (headers === undefined || headers === null) return "";
  const pairs = typeof headers[Symbol.iterator] === "function" ? headers : Object.entries(headers);
  let block = "";
  for (const [name, value] of pairs) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (!/^[!-9;-~]+$/.test(`${name}`)) throw new TypeError(`"${name}" is not a header name`);
      if (/[\0\r\n]/.test(`${one}`)) throw new TypeError("a header value may not hold NUL, CR or LF");
      block += `${name}: ${one}\r\n`;
    }
  }
  return block === "" ? "" : `NATS/1.0\r\n${block}\r\n`;
}

function checkedSubject(subject, count) {
  if (count < 1 || typeof subject !== "string" || subject === "") throw new TypeError("subject is required");
  if (/[\s\0]/.test(subject) || subject.split(".").includes("")) throw new TypeError(`"${subject}" is not a subject`);
  return subject;
}

function milliseconds(options) {
  const value = typeof options === "number" ? options : options?.timeout;
  return value === undefined ? 0 : Math.max(1, Math.ceil(Number(value) || 0));
}

function hostError(code, text) {
  const error = new Error(text === "" ? `host call failed with ${code}` : text);
  error.code = code;
  return error;
}

// code, error, header block, payload, more -> what the caller gets.
function finish(method, answer) {
  const [code, text, block, payload, more] = answer;
  if (method === "requestMany") {
    if (code !== 200 && code !== 408) throw hostError(code, text);
    const replies = [];
    if (code === 200 && (payload.length > 0 || more.length > 0)) replies.push(makeReply(payload, block));
    const view = new DataView(more.buffer, more.byteOffset, more.byteLength);
    for (let at = 0; at + 4 <= more.length;) {
      const size = view.getUint32(at, true);
      replies.push(makeReply(more.slice(at + 4, at + 4 + size), ""));
      at += 4 + size;
    }
    return replies;
  }
  if (code !== 200) throw hostError(code, text);
  return method === "request" ? makeReply(payload, block) : undefined;
}

const waiting = new Map();
export function completeCall(id, ...answer) {
  const entry = waiting.get(id);
  if (entry === undefined) return;
  waiting.delete(id);
  try {
    entry.resolve(finish(entry.method, answer));
  } catch (error) {
    entry.reject(error);
  }
}

const invokers = {
  sync: (method, ...rest) => finish(method, ops.call("messaging", method, ...rest)),
  async: (method, ...rest) => new Promise((resolve, reject) => {
    const id = ops.startCall("messaging", method, ...rest);
    waiting.set(id, { method, resolve, reject });
  }),
};

function makeMessaging(kind) {
  const invoke = invokers[kind];
  const guard = kind === "sync" ? (body) => body() : async (body) => body();
  return Object.freeze({
    publish(subject, payload, options) {
      const count = arguments.length;
      return guard(() => {
        checkedSubject(subject, count);
        if (count < 2) throw new TypeError("subject and payload are required");
        return invoke("publish", subject, `${options?.reply ?? ""}`, headerBlock(options?.headers), toBytes(payload), 0, 0);
      });
    },
    request(subject, payload, options) {
      const count = arguments.length;
      return guard(() => invoke("request", checkedSubject(subject, count), "", headerBlock(options?.headers),
        toBytes(payload), milliseconds(options), 0));
    },
    requestMany(subject, payload, options) {
      const count = arguments.length;
      return guard(() => invoke("requestMany", checkedSubject(subject, count), "", headerBlock(options?.headers),
        toBytes(payload), milliseconds(options), Math.max(0, Math.floor(Number(options?.max ?? 0) || 0))));
    },
  });
}

function refuse(name, release, methods) {
  const object = {};
  for (const method of methods) object[method] = () => { throw unavailable(name, release); };
  return object;
}

const messaging = makeMessaging("sync");
const kv = Object.assign((bucket) => {
  if (typeof bucket !== "string" || bucket === "") throw new TypeError("bucket name is required");
  throw unavailable("kv", "0.2");
}, refuse("kv", "0.2", ["get", "set", "delete", "keys"]));
const objectStore = Object.assign((bucket) => {
  if (typeof bucket !== "string" || bucket === "") throw new TypeError("bucket name is required");
  throw unavailable("objectStore", "0.2");
}, refuse("objectStore", "0.2", ["get", "put", "delete", "list"]));

expose({ messaging, kv, objectStore, http });
expose({ hostServices: Object.freeze({ messaging, kv, objectStore, http }) });

// What `env` of a module handler inherits: the same services, answering with promises.
export const asyncServices = Object.freeze({ __proto__: null, messaging: makeMessaging("async"), kv, objectStore, http });
