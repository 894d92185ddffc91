// Headers, Request, Response.
import { ops, expose, toBytes, isView, isArrayBuffer } from "./primordials.js";

const validName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
function checkedName(name) {
  const text = `${name}`;
  if (!validName.test(text)) throw new TypeError(`"${text}" is not a header name`);
  return text;
}
function checkedValue(value) {
  const text = `${value}`.trim();
  if (/[\0\r\n]/.test(text)) throw new TypeError("a header value may not hold NUL, CR or LF");
  return text;
}

export class Headers {
  #entries = new Map();  // lower-case name -> { name as first written, values }
  constructor(init) {
    if (init === undefined || init === null) return;
    if (typeof init === "object" && #entries in init) {
      for (const [key, { name, values }] of init.#entries) this.#entries.set(key, { name, values: [...values] });
      return;
    }
    const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
    for (const [name, value] of pairs) this.append(name, value);
  }
  append(name, value) {
    const text = checkedName(name);
    const entry = this.#entries.get(text.toLowerCase());
    if (entry === undefined) this.#entries.set(text.toLowerCase(), { name: text, values: [checkedValue(value)] });
    else entry.values.push(checkedValue(value));
  }
  set(name, value) {
    const text = checkedName(name);
    this.#entries.set(text.toLowerCase(), { name: text, values: [checkedValue(value)] });
  }
  get(name) { return this.#entries.get(checkedName(name).toLowerCase())?.values.join(", ") ?? null; }
  getSetCookie() { return [...(this.#entries.get("set-cookie")?.values ?? [])]; }
  has(name) { return this.#entries.has(checkedName(name).toLowerCase()); }
  delete(name) { this.#entries.delete(checkedName(name).toLowerCase()); }
  forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
  *entries() {
    for (const name of [...this.#entries.keys()].sort()) yield [name, this.#entries.get(name).values.join(", ")];
  }
  *keys() { for (const [name] of this.entries()) yield name; }
  *values() { for (const [, value] of this.entries()) yield value; }
  [Symbol.iterator]() { return this.entries(); }
  static written(headers) { return headers.#entries.values(); }
}
export const headerEntries = Headers.written;
delete Headers.written;

class Body {
  #bytes = null;
  #stream = null;
  #used = false;
  #type = null;
  constructor(body) {
    if (body === null || body === undefined) return;
    if (body instanceof ReadableStream) {
      this.#stream = body;
    } else if (body instanceof URLSearchParams) {
      this.#bytes = toBytes(`${body}`);
      this.#type = "application/x-www-form-urlencoded;charset=UTF-8";
    } else if (isView(body) || isArrayBuffer(body)) {
      this.#bytes = toBytes(body).slice();
    } else {
      this.#bytes = toBytes(`${body}`);
      this.#type = "text/plain;charset=UTF-8";
    }
  }
  get bodyUsed() { return this.#used; }
  get body() {
    if (this.#stream === null && this.#bytes !== null) {
      const bytes = this.#bytes;
      this.#stream = new ReadableStream({
        start(controller) {
          controller.enqueue(bytes);
          controller.close();
        },
      });
    }
    return this.#stream;
  }
  async bytes() {
    if (this.#used) throw new TypeError("the body was read already");
    this.#used = true;
    if (this.#bytes !== null) return this.#bytes.slice();
    if (this.#stream === null) return new Uint8Array(0);
    const parts = [];
    let size = 0;
    const reader = this.#stream.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const part = toBytes(value);
      parts.push(part);
      size += part.length;
    }
    const all = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
  async arrayBuffer() { return (await this.bytes()).buffer; }
  async text() { return ops.decode(await this.bytes(), 0, false); }
  async json() { return JSON.parse(await this.text()); }
  static now(body) { return body.#stream === null ? body.#bytes ?? new Uint8Array(0) : undefined; }
  static type(body) { return body.#type; }
}
const bytesNow = Body.now;
const bodyType = Body.type;
delete Body.now;
delete Body.type;

function withType(body, headers) {
  const type = bodyType(body);
  if (type !== null && !headers.has("content-type")) headers.set("content-type", type);
  return headers;
}

export class Request extends Body {
  constructor(input, init = {}) {
    const from = input instanceof Request ? input : undefined;
    super(init.body ?? (from === undefined ? undefined : bytesNow(from)));
    this.url = from?.url ?? new URL(`${input}`).href;
    this.method = `${init.method ?? from?.method ?? "GET"}`.toUpperCase();
    this.headers = withType(this, new Headers(init.headers ?? from?.headers));
    this.signal = init.signal ?? from?.signal ?? new AbortController().signal;
  }
  clone() { return new Request(this); }
}

let isResponse;
export class Response extends Body {
  #brand = true;
  constructor(body, init = {}) {
    super(body);
    this.status = init.status ?? 200;
    if (!Number.isInteger(this.status) || this.status < 200 || this.status > 599) {
      throw new RangeError(`status ${this.status} is not between 200 and 599`);
    }
    this.statusText = `${init.statusText ?? ""}`;
    this.headers = withType(this, new Headers(init.headers));
    this.type = "default";
    this.url = "";
    this.redirected = false;
  }
  static { isResponse = (value) => #brand in value; }
  get ok() { return this.status >= 200 && this.status < 300; }
  clone() {
    const bytes = bytesNow(this);
    if (bytes === undefined) throw new TypeError("a streamed body cannot be cloned");
    return new Response(bytes, this);
  }
  static json(data, init = {}) {
    const headers = new Headers(init.headers);
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    return new Response(JSON.stringify(data), { ...init, headers });
  }
  static redirect(url, status = 302) { return new Response(null, { status, headers: { Location: `${url}` } }); }
  static error() { return new Response(null, { status: 500 }); }
}
for (const type of [Headers, Request, Response]) {
  Object.defineProperty(type.prototype, Symbol.toStringTag, { value: type.name, configurable: true });
}
export { isResponse };

// The NATS header block of a Response: its headers, and for a status of 400 and above the two
// headers by which NATS services report errors; any other status but 200 is told in Status-Code.
function headerBlock(response) {
  let block = "";
  for (const { name, values } of headerEntries(response.headers)) {
    for (const value of values) block += `${name}: ${value}\r\n`;
  }
  if (response.status >= 400) {
    const text = response.statusText.replace(/[\r\n]/g, " ") || `status ${response.status}`;
    if (!response.headers.has("nats-service-error")) block += `Nats-Service-Error: ${text}\r\n`;
    if (!response.headers.has("nats-service-error-code")) block += `Nats-Service-Error-Code: ${response.status}\r\n`;
  } else if (response.status !== 200) {
    block += `Status-Code: ${response.status}\r\n`;
  }
  return block === "" ? "" : `NATS/1.0\r\n${block}\r\n`;
}

// [bytes, header block], or a promise of it when the body is a stream.
export function encodeResponse(response) {
  const bytes = bytesNow(response);
  const block = headerBlock(response);
  if (bytes !== undefined) return [bytes, block];
  return response.bytes().then((all) => [all, block]);
}

expose({ Headers, Request, Response });
