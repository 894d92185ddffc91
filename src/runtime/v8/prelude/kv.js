// kv(bucket): key-value buckets. Values are bytes; text is stored as UTF-8, an object as its JSON.
import { ops, toBytes } from "./primordials.js";
import { Bytes, MessageHeaders, bytesOver, hostError, methods, ok, records, request, run } from "./host.js";

// A value is its bytes, with what the bucket knows of it.
class Value extends Bytes {
  #facts;
  static make(bytes, block) {
    const value = bytesOver(Value, bytes);
    value.#facts = new MessageHeaders(block);
    return value;
  }
  get revision() { return Number(this.#facts.get("Revision") ?? 0); }
  get operation() { return this.#facts.get("Operation") ?? "PUT"; }
  get created() { return new Date(Number(this.#facts.get("Created") ?? 0)); }
}
const makeValue = Value.make;
delete Value.make;

function keyOf(all, least, message) {
  if (all.length < least || all[0] === undefined || all[0] === null || all[0] === "") throw new TypeError(message);
  return `${all[0]}`;
}

const withRevision = (revision) => {
  if (revision === undefined || revision === null) return "";
  if (!Number.isSafeInteger(revision) || revision < 0) throw new TypeError("a revision is a whole number");
  return `NATS/1.0\r\nRevision: ${revision}\r\n\r\n`;
};
const revisionOf = ([, , block]) => Number(new MessageHeaders(block).get("Revision") ?? 0);

const entryOf = (key, value) => ({
  key, value, revision: value.revision, created: value.created, operation: value.operation,
});

function* write(method, bucket, all, block = "") {
  const key = keyOf(all, 2, "key and value are required");
  return revisionOf(ok(yield request("kv", method, bucket, key, block, toBytes(all[1]))));
}

// Asks for the next entries of a watch; false when none came in time. What has been seen is asked for no more.
function* watchMore(bucket, state) {
  const block = `NATS/1.0\r\nRevision: ${state.revision}\r\nWatch: ${state.words}\r\n\r\n`;
  const answer = yield request("kv", "watch", bucket, state.filter, block, undefined, state.timeout);
  if (answer[0] === 408 && state.timeout > 0) return false;
  const revision = revisionOf(ok(answer));
  let parts = [];
  for (const part of records(answer[4])) {
    parts.push(part);
    if (parts.length < 3) continue;
    const entry = entryOf(ops.decode(parts[0], 0, false), makeValue(parts[2], ops.decode(parts[1], 0, false)));
    parts = [];
    state.entries.push(entry);
  }
  state.revision = revision;
  return true;
}

function watchState(filter, options) {
  const chosen = typeof filter === "object" && filter !== null ? filter : options ?? {};
  const words = [];
  if (chosen.history) words.push("history");
  if (chosen.updatesOnly) words.push("updates");
  if (chosen.ignoreDeletes) words.push("no-deletes");
  if (chosen.metaOnly) words.push("no-values");
  withRevision(chosen.resumeFromRevision);
  return {
    filter: `${typeof filter === "string" ? filter : chosen.filter ?? ""}`,
    words: words.join(" "),
    revision: chosen.resumeFromRevision ?? 0,
    timeout: Math.max(0, Math.floor(Number(chosen.timeout ?? 0) || 0)),
    entries: [],
    isDone: false,
  };
}

function* watchNext(bucket, state) {
  while (!state.isDone && state.entries.length === 0) {
    if (!(yield* watchMore(bucket, state))) state.isDone = true;
  }
  return state.isDone ? { done: true, value: undefined } : { done: false, value: state.entries.shift() };
}

function watch(kind, bucket, filter, options) {
  const state = watchState(filter, options);
  const end = (value) => {
    state.isDone = true;
    return { done: true, value };
  };
  if (kind === "sync") {
    return {
      next: () => run.sync(watchNext(bucket, state)),
      return: end,
      [Symbol.iterator]() { return this; },
    };
  }
  // One question at a time: calls of next that overlap get their entries in order.
  let last = Promise.resolve();
  return {
    next() {
      const next = last.then(() => run.async(watchNext(bucket, state)));
      last = next.catch(() => {});
      return next;
    },
    async return(value) { return end(value); },
    [Symbol.asyncIterator]() { return this; },
  };
}

const generators = {
  *get(bucket, ...all) {
    const key = keyOf(all, 1, "key is required");
    const options = all[1];
    const answer = yield request("kv", "get", bucket, key, withRevision(options?.revision));
    if (answer[0] === 404 && options !== undefined && options !== null && "default" in options) return options.default;
    return makeValue(ok(answer)[3], answer[2]);
  },
  *entry(bucket, ...all) {
    const key = keyOf(all, 1, "key is required");
    const answer = yield request("kv", "get", bucket, key, withRevision(all[1]?.revision));
    return answer[0] === 404 ? null : entryOf(key, makeValue(ok(answer)[3], answer[2]));
  },
  *set(bucket, ...all) { yield* write("set", bucket, all); },
  *put(bucket, ...all) { return yield* write("put", bucket, all); },
  *create(bucket, ...all) { return yield* write("create", bucket, all); },
  *update(bucket, ...all) {
    if (all.length < 3) throw new TypeError("key, value and revision are required");
    return yield* write("update", bucket, all, withRevision(all[2]));
  },
  *delete(bucket, ...all) {
    ok(yield request("kv", "delete", bucket, keyOf(all, 1, "key is required"), withRevision(all[1]?.revision)));
  },
  *purge(bucket, ...all) {
    ok(yield request("kv", "purge", bucket, keyOf(all, 1, "key is required"), withRevision(all[1]?.revision)));
  },
  *keys(bucket, filter, options = typeof filter === "object" && filter !== null ? filter : {}) {
    const pattern = typeof filter === "string" ? filter : options.filter ?? "";
    const limit = Math.max(0, Math.floor(Number(options.limit ?? 0) || 0));
    const [, , , , more] = ok(yield request("kv", "keys", bucket, `${pattern}`, "", undefined, 0, limit));
    const keys = [];
    for (const key of records(more)) keys.push(ops.decode(key, 0, false));
    return keys;
  },
  *history(bucket, ...all) {
    const key = keyOf(all, 1, "key is required");
    const [, , , , more] = ok(yield request("kv", "history", bucket, key));
    const entries = [];
    let block;
    for (const part of records(more)) {
      if (block === undefined) {
        block = ops.decode(part, 0, false);
        continue;
      }
      entries.push(entryOf(key, makeValue(part, block)));
      block = undefined;
    }
    return entries;
  },
};
generators.del = generators.delete;

export function bucketName(name) {
  if (name === undefined || name === null || name === "") throw new TypeError("bucket name is required");
  return `${name}`;
}

// A function from a bucket's name, and at once the default bucket's methods.
const bucketOf = (kind, bucket) => Object.assign(methods(kind, generators, bucket), {
  watch: (filter, options) => watch(kind, bucket, filter, options),
});
export const makeKv = (kind) => Object.freeze(Object.assign(
  (bucket) => bucketOf(kind, bucketName(bucket)), bucketOf(kind, "HostServices_KeyValue")));
