// objectStore(bucket): objects of any size. What is larger than one request moves in pieces, whichever
// method is used; the streams keep only a piece of it in memory.
import { ops, toBytes, isView, isArrayBuffer, JSONParse } from "./primordials.js";
import { Bytes, bytesOver, headerBlock, hostError, methods, ok, records, request, run, valueOf } from "./host.js";
import { bucketName } from "./kv.js";

const pieceBytes = 1 << 20;
const wholeBytesMax = 4 << 20;

// An object is its bytes, with its description.
class ObjectBytes extends Bytes {
  #info;
  static make(bytes, info) {
    const object = bytesOver(ObjectBytes, bytes);
    object.#info = info;
    return object;
  }
  get info() { return this.#info; }
}
const makeObject = ObjectBytes.make;
delete ObjectBytes.make;

const infoOf = (bytes) => JSONParse(ops.decode(bytes, 0, false));

function nameOf(all, least, message) {
  if (all.length < least || all[0] === undefined || all[0] === null || all[0] === "") throw new TypeError(message);
  return `${all[0]}`;
}

function optionsBlock(options) {
  if (options === undefined || options === null) return "";
  const block = headerBlock(options.headers);
  if (options.description === undefined) return block;
  const line = headerBlock({ Description: options.description });
  return block === "" ? line : `${block.slice(0, -2)}${line.slice("NATS/1.0\r\n".length)}`;
}

function* openRead(bucket, name) {
  const [, , block, payload] = ok(yield request("objectStore", "openRead", bucket, name));
  return { handle: valueOf(block, "Handle"), info: infoOf(payload) };
}
function* openWrite(bucket, name, options) {
  const [, , block] = ok(yield request("objectStore", "openWrite", bucket, name, optionsBlock(options)));
  return valueOf(block, "Handle");
}
function* readPiece(handle) { return ok(yield request("objectStore", "read", handle))[3]; }
function* writeBytes(handle, value) {
  const bytes = toBytes(value);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    ok(yield request("objectStore", "write", handle, "", "", bytes.subarray(at, at + pieceBytes)));
  }
}
function* commit(handle) { return infoOf(ok(yield request("objectStore", "commit", handle))[3]); }
function* close(handle) { yield request("objectStore", "close", handle); }

function* readAll(bucket, name) {
  const { handle, info } = yield* openRead(bucket, name);
  try {
    const all = new Uint8Array(info.size);
    let at = 0;
    for (;;) {
      const piece = yield* readPiece(handle);
      if (piece.length === 0) return makeObject(all, info);
      all.set(piece, at);
      at += piece.length;
    }
  } finally {
    yield* close(handle);
  }
}

// Stores what a source gives, piece by piece; what is not finished is taken back.
function* writeAll(bucket, name, pieces, options) {
  const handle = yield* openWrite(bucket, name, options);
  let info;
  try {
    for (const piece of pieces) yield* writeBytes(handle, piece);
    info = yield* commit(handle);
  } finally {
    if (info === undefined) yield* close(handle);
  }
  return info;
}

async function* readerOf(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}
function* writeAllAsync(bucket, name, source, options) {
  const pieces = typeof source.getReader === "function" ? readerOf(source)
    : source[Symbol.asyncIterator]?.() ?? source[Symbol.iterator]();
  const handle = yield* openWrite(bucket, name, options);
  let info;
  try {
    for (;;) {
      const { done, value } = yield Promise.resolve(pieces.next());
      if (done) break;
      yield* writeBytes(handle, value);
    }
    info = yield* commit(handle);
  } finally {
    if (info === undefined) {
      yield* close(handle);
      yield Promise.resolve(pieces.return?.()).catch(() => {});
    }
  }
  return info;
}

const isWhole = (source) => typeof source === "string" || isView(source) || isArrayBuffer(source);
const writerSteps = {
  *write(handle, value) { yield* writeBytes(handle, value); },
  *close(handle) { return yield* commit(handle); },
  *abort(handle) { yield* close(handle); },
};

const common = {
  *get(bucket, ...all) {
    const name = nameOf(all, 1, "name is required");
    const answer = yield request("objectStore", "get", bucket, name);
    if (answer[0] === 413) return yield* readAll(bucket, name);
    const [, , , payload, more] = ok(answer);
    return makeObject(payload, infoOf(more));
  },
  *put(bucket, ...all) {
    const name = nameOf(all, 2, "name and value are required");
    const bytes = toBytes(all[1]);
    if (bytes.length > wholeBytesMax) return yield* writeAll(bucket, name, [bytes], all[2]);
    return infoOf(ok(yield request("objectStore", "put", bucket, name, optionsBlock(all[2]), bytes))[3]);
  },
  *delete(bucket, ...all) {
    ok(yield request("objectStore", "delete", bucket, nameOf(all, 1, "name is required")));
  },
  *info(bucket, ...all) {
    return infoOf(ok(yield request("objectStore", "info", bucket, nameOf(all, 1, "name is required")))[3]);
  },
  *list(bucket) {
    const list = [];
    for (const one of records(ok(yield request("objectStore", "list", bucket))[4])) list.push(infoOf(one));
    return list;
  },
};

const generators = {
  sync: {
    ...common,
    // An iterator of pieces, with `info`.
    *getStream(bucket, ...all) {
      const { handle, info } = yield* openRead(bucket, nameOf(all, 1, "name is required"));
      let isOpen = true;
      const end = () => {
        if (isOpen) run.sync(close(handle));
        isOpen = false;
        return { done: true, value: undefined };
      };
      return {
        info,
        next() {
          if (!isOpen) return { done: true, value: undefined };
          const value = run.sync(readPiece(handle));
          return value.length === 0 ? end() : { done: false, value };
        },
        return: end,
        [Symbol.iterator]() { return this; },
      };
    },
    // From an iterable of pieces; without one a writer.
    *putStream(bucket, ...all) {
      const name = nameOf(all, 1, "name is required");
      const [, source, options] = all;
      if (source === undefined || source === null) {
        return methods("sync", writerSteps, yield* openWrite(bucket, name, options));
      }
      if (!isWhole(source) && typeof source[Symbol.iterator] !== "function") {
        throw new TypeError("a synchronous putStream takes an iterable of pieces");
      }
      return yield* writeAll(bucket, name, isWhole(source) ? [source] : source, options);
    },
  },
  async: {
    ...common,
    // A ReadableStream of pieces, with `info`.
    *getStream(bucket, ...all) {
      const { handle, info } = yield* openRead(bucket, nameOf(all, 1, "name is required"));
      const stream = new ReadableStream({
        async pull(controller) {
          const piece = await run.async(readPiece(handle));
          if (piece.length > 0) return controller.enqueue(piece);
          controller.close();
          await run.async(close(handle));
        },
        cancel() { return run.async(close(handle)); },
      }, { highWaterMark: 1 });
      stream.info = info;
      return stream;
    },
    // From a ReadableStream, or an iterable or async iterable of pieces; without one a writer.
    *putStream(bucket, ...all) {
      const name = nameOf(all, 1, "name is required");
      const [, source, options] = all;
      if (source === undefined || source === null) {
        return methods("async", writerSteps, yield* openWrite(bucket, name, options));
      }
      if (isWhole(source)) return yield* writeAll(bucket, name, [source], options);
      return yield* writeAllAsync(bucket, name, source, options);
    },
  },
};

export const makeObjectStore = (kind) => Object.freeze(Object.assign(
  (bucket) => methods(kind, generators[kind], bucketName(bucket)),
  methods(kind, generators[kind], "HostServices_ObjectStore")));
