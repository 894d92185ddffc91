// TextEncoder, TextDecoder, atob, btoa on native operations.
import { ops, expose, isView } from "./primordials.js";

class TextEncoder {
  get encoding() { return "utf-8"; }
  encode(text = "") { return ops.utf8Encode(`${text}`); }
  encodeInto(source, destination) {
    const text = `${source}`;
    if (!(destination instanceof Uint8Array)) throw new TypeError("destination must be a Uint8Array");
    let read = 0, written = 0;
    for (const character of text) {
      const bytes = ops.utf8Encode(character);
      if (written + bytes.length > destination.length) break;
      destination.set(bytes, written);
      written += bytes.length;
      read += character.length;
    }
    return { read, written };
  }
}

const labels = new Map();
for (const label of ["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"]) {
  labels.set(label, "utf-8");
}
for (const label of ["utf-16le", "utf-16", "ucs-2", "unicode", "csunicode", "iso-10646-ucs-2", "unicodefeff"]) {
  labels.set(label, "utf-16le");
}
for (const label of ["latin1", "iso-8859-1", "iso8859-1", "ascii", "us-ascii", "windows-1252", "cp1252", "l1"]) {
  labels.set(label, "windows-1252");
}
const encodingOps = { "utf-8": 0, "utf-16le": 1, "windows-1252": 2 };

// How many bytes at the end begin a character that is not complete yet.
function incompleteTail(bytes, encoding) {
  const size = bytes.length;
  if (encoding === "utf-16le") {
    const odd = size & 1;
    const high = size - odd - 1;
    return odd + (high > 0 && (bytes[high] & 0xfc) === 0xd8 ? 2 : 0);
  }
  if (encoding !== "utf-8") return 0;
  for (let back = 1; back <= 3 && back <= size; back++) {
    const byte = bytes[size - back];
    if ((byte & 0xc0) === 0x80) continue;
    const need = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return need > back ? back : 0;
  }
  return 0;
}

class TextDecoder {
  #encoding;
  #fatal;
  #ignoreBOM;
  #pending = null;
  #started = false;
  constructor(label = "utf-8", options = {}) {
    const encoding = labels.get(`${label}`.trim().toLowerCase());
    if (encoding === undefined) throw new RangeError(`the encoding "${label}" is not supported`);
    this.#encoding = encoding;
    this.#fatal = !!options?.fatal;
    this.#ignoreBOM = !!options?.ignoreBOM;
  }
  get encoding() { return this.#encoding; }
  get fatal() { return this.#fatal; }
  get ignoreBOM() { return this.#ignoreBOM; }
  decode(input, options) {
    const stream = !!options?.stream;
    let bytes = input === undefined ? new Uint8Array(0)
      : isView(input) ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
      : new Uint8Array(input);
    if (this.#pending !== null) {
      const joined = new Uint8Array(this.#pending.length + bytes.length);
      joined.set(this.#pending);
      joined.set(bytes, this.#pending.length);
      bytes = joined;
      this.#pending = null;
    }
    if (stream) {
      const tail = incompleteTail(bytes, this.#encoding);
      if (tail > 0) {
        this.#pending = bytes.slice(bytes.length - tail);
        bytes = bytes.subarray(0, bytes.length - tail);
      }
    }
    let text = ops.decode(bytes, encodingOps[this.#encoding], this.#fatal);
    if (text === undefined) {
      this.#started = false;
      throw new TypeError(`the data is not valid ${this.#encoding}`);
    }
    if (!this.#started && text.length > 0) {
      if (!this.#ignoreBOM && this.#encoding !== "windows-1252" && text.charCodeAt(0) === 0xfeff) {
        text = text.slice(1);
      }
      this.#started = true;
    }
    if (!stream) this.#started = false;
    return text;
  }
}

function btoa(text) {
  if (arguments.length === 0) throw new TypeError("btoa needs one argument");
  const out = ops.base64Encode(`${text}`);
  if (out === undefined) {
    throw new DOMException("the text has characters outside Latin1", "InvalidCharacterError");
  }
  return out;
}

function atob(text) {
  if (arguments.length === 0) throw new TypeError("atob needs one argument");
  const clean = `${text}`.replace(/[\t\n\f\r ]/g, "");
  const out = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/.test(clean)
    ? ops.base64Decode(clean) : undefined;
  if (out === undefined) {
    throw new DOMException("the text is not correctly encoded base64", "InvalidCharacterError");
  }
  return out;
}

expose({ TextEncoder, TextDecoder, atob, btoa });
