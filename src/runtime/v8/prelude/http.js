// http.* and fetch: requests to web servers.
import { ops, expose, toBytes, isView, isArrayBuffer, JSONParse } from "./primordials.js";
import { Bytes, MessageHeaders, bytesOver, hostError, methods, ok, request, run } from "./host.js";
import { Headers, Request, Response, headerEntries } from "./fetch.js";
import { milliseconds } from "./messaging.js";

// A body is its bytes; where text is wanted it is its text.
class BodyBytes extends Bytes {
  toString() { return this.text(); }
  toJSON() { return this.text(); }
}

// "content-type" as "Content-Type".
const canonical = (name) => name.toLowerCase().replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());

class HttpResponse {
  #facts;
  constructor(facts, block, payload) {
    this.#facts = facts;
    this.status = facts.status;
    this.headers = {};
    for (const [name, value] of new MessageHeaders(block)) {
      const key = canonical(name);
      this.headers[key] = key in this.headers ? `${this.headers[key]}, ${value}` : value;
    }
    Object.defineProperty(this.headers, "get", { value(name) { return this[canonical(`${name}`)] ?? null; } });
    this.response = bytesOver(BodyBytes, payload);
  }
  get statusText() { return this.#facts.statusText; }
  get url() { return this.#facts.url; }
  get redirected() { return this.#facts.redirected; }
  get ok() { return this.status >= 200 && this.status < 300; }
  get body() { return this.response; }
  bytes() { return this.response.data; }
  text() { return this.response.text(); }
  json() { return JSONParse(this.text()); }
}

const isBody = (value) => typeof value === "string" || isView(value) || isArrayBuffer(value) ||
  value instanceof URLSearchParams;

function bodyType(body) {
  if (typeof body === "string") return "text/plain;charset=UTF-8";
  if (body instanceof URLSearchParams) return "application/x-www-form-urlencoded;charset=UTF-8";
  return isView(body) || isArrayBuffer(body) ? "application/octet-stream" : "application/json";
}

function withQuery(url, query) {
  if (query === undefined || query === null) return url;
  let params = query;
  if (typeof query === "object" && !(query instanceof URLSearchParams)) {
    params = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) params.append(name, `${one}`);
    }
  }
  const text = `${params}`.replace(/^\?/, "");
  if (text === "") return url;
  const [before, ...fragment] = url.split("#");
  return [`${before}${before.includes("?") ? "&" : "?"}${text}`, ...fragment].join("#");
}

function blockOf(headers) {
  let block = "";
  for (const { name, values } of headerEntries(headers)) {
    for (const value of values) block += `${name}: ${value}\r\n`;
  }
  return block === "" ? "" : `NATS/1.0\r\n${block}\r\n`;
}

function* send(method, url, body, options) {
  if (url === undefined || url === null || url === "") throw new TypeError("url is required");
  const headers = new Headers(options?.headers);
  const hasBody = body !== undefined && body !== null;
  if (hasBody && !headers.has("content-type")) headers.set("content-type", bodyType(body));
  const bytes = toBytes(body instanceof URLSearchParams ? `${body}` : body);
  const [, , block, payload, more] = ok(yield request("http", `${method}`.toLowerCase(),
    withQuery(`${url}`, options?.query), `${options?.redirect ?? ""}`, blockOf(headers), bytes, milliseconds(options)));
  return new HttpResponse(JSONParse(ops.decode(more, 0, false)), block, payload);
}

const generators = {
  // request(url, {method, body, …}) or request({url, method, …})
  *request(url, options) {
    const all = typeof url === "object" && url !== null && !(url instanceof URL) ? url : { ...options, url };
    return yield* send(all.method ?? "GET", all.url, all.body, all);
  },
};
// A second argument that is no body is the options.
for (const method of ["get", "head", "delete"]) {
  generators[method] = function* (url, second, third) {
    const isOptions = typeof second === "object" && second !== null && !isBody(second) && third === undefined;
    return yield* isOptions ? send(method, url, second.body, second) : send(method, url, second, third);
  };
}
for (const method of ["post", "put", "patch"]) {
  generators[method] = function* (url, body, options) { return yield* send(method, url, body, options); };
}

export const makeHttp = (kind) => Object.freeze(methods(kind, generators));

async function fetch(input, init = {}) {
  const wanted = new Request(input, init);
  wanted.signal.throwIfAborted();
  const body = await wanted.bytes();
  const steps = request("http", wanted.method.toLowerCase(), wanted.url, `${init.redirect ?? ""}`, blockOf(wanted.headers),
    body, milliseconds(init));
  const answered = run.async((function* () { return yield steps; })());
  const aborted = new Promise((_, reject) => {
    wanted.signal.addEventListener("abort", () => reject(wanted.signal.reason), { once: true });
  });
  const [code, text, block, payload, more] = await Promise.race([answered, aborted]);
  if (code !== 200) {
    const error = new TypeError(`fetch failed: ${text}`);
    error.code = code;
    throw error;
  }
  const facts = JSONParse(ops.decode(more, 0, false));
  const headers = new Headers();
  for (const [name, value] of new MessageHeaders(block)) headers.append(name, value);
  const response = new Response(payload.length === 0 ? null : payload,
    { status: facts.status, statusText: facts.statusText, headers });
  response.url = facts.url;
  response.redirected = facts.redirected;
  response.type = "basic";
  return response;
}
expose({ fetch });
