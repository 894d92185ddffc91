// What all host services share: asking the host, and what its answers become. Each call is a request to
// the instance's host: the plain form waits for the answer, `env.*` in a module handler gives promises.
import { ops, JSONParse, callFunction, bindFunction } from "./primordials.js";

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

// What the host gives as bytes: a Uint8Array with two conveniences.
export class Bytes extends Uint8Array {
  static get [Symbol.species]() { return Uint8Array; }
  static over(type, bytes) { return new type(bytes.buffer, bytes.byteOffset, bytes.byteLength); }
  get data() { return new Uint8Array(this.buffer, this.byteOffset, this.byteLength); }
  text() { return ops.decode(this, 0, false); }
  json() { return JSONParse(this.text()); }
}
export const bytesOver = Bytes.over;
delete Bytes.over;

export function headerBlock(headers) {
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

export function valueOf(block, name) { return new MessageHeaders(block).get(name); }

const names = {
  400: "BadRequest", 403: "Forbidden", 404: "NotFound", 408: "TimedOut", 409: "Conflict", 413: "TooLarge",
  429: "TooMany", 501: "NotImplemented", 502: "BadGateway", 503: "Unavailable", 507: "NoSpace",
};
// Fails a host call: an Error with a `code` as in HTTP and a name for it.
export function hostError(code, text) {
  const error = new Error(text === "" ? `host call failed with ${code}` : text);
  Object.defineProperty(error, "name", { value: names[code] ?? "HostError", configurable: true, writable: true });
  error.code = code;
  return error;
}

// What the parts of a request may have together, as the host has it.
const requestBytesMax = 8 << 20;

// One request, as a service's generator yields it; what comes back is the host's answer:
// [code, error, header block, payload, more].
export function request(service, method, target, key = "", block = "", payload = empty, timeout = 0, max = 0) {
  if (payload.length + block.length + key.length + target.length > requestBytesMax) {
    throw hostError(413, `a request of more than ${requestBytesMax >> 20} MiB`);
  }
  return [service, method, target, key, block, payload, timeout, max];
}
export const empty = new Uint8Array(0);

// The payload of an answer that must be a success.
export function ok(answer) {
  if (answer[0] !== 200) throw hostError(answer[0], answer[1]);
  return answer;
}

export function* records(more) {
  const view = new DataView(more.buffer, more.byteOffset, more.byteLength);
  for (let at = 0; at + 4 <= more.length;) {
    const size = view.getUint32(at, true);
    yield more.slice(at + 4, at + 4 + size);
    at += 4 + size;
  }
}

const waiting = new Map();
export function completeCall(id, ...answer) {
  const resolve = waiting.get(id);
  if (resolve === undefined) return;
  waiting.delete(id);
  resolve(answer);
}

const ask = (call) => new Promise((resolve) => { waiting.set(ops.startCall(...call), resolve); });

// Runs a service's generator: it yields requests and gets answers. The asynchronous one may also yield
// promises of its own.
function runSync(steps) {
  let step = steps.next();
  while (!step.done) {
    let answer;
    try {
      answer = ops.call(...step.value);
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next(answer);
  }
  return step.value;
}
async function runAsync(steps) {
  let step = steps.next();
  while (!step.done) {
    let answer;
    try {
      answer = await (Array.isArray(step.value) ? ask(step.value) : step.value);
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next(answer);
  }
  return step.value;
}
export const run = { sync: runSync, async: runAsync };

// An object whose methods run the generators of the same names. `bound` are their first arguments.
export function methods(kind, generators, ...bound) {
  const object = {};
  for (const name of Object.keys(generators)) {
    const steps = generators[name];
    object[name] = (...rest) => run[kind](start(steps, bound, rest));
  }
  return object;
}
const apply = bindFunction(callFunction, Function.prototype.apply);
function start(steps, bound, rest) { return apply(steps, undefined, [...bound, ...rest]); }
