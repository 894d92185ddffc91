// messaging: publish, request, requestMany.
import { ops, toBytes } from "./primordials.js";
import { Bytes, MessageHeaders, bytesOver, headerBlock, hostError, methods, ok, records, request } from "./host.js";

// A reply is its bytes, with the headers.
class Reply extends Bytes {
  #block = "";
  #headers;
  static make(bytes, block) {
    const reply = bytesOver(Reply, bytes);
    reply.#block = block ?? "";
    return reply;
  }
  get headers() { return (this.#headers ??= new MessageHeaders(this.#block)); }
}
const makeReply = Reply.make;
delete Reply.make;

function checkedSubject(subject, count) {
  if (count < 1 || typeof subject !== "string" || subject === "") throw new TypeError("subject is required");
  if (/[\s\0]/.test(subject) || subject.split(".").includes("")) throw new TypeError(`"${subject}" is not a subject`);
  return subject;
}

export function milliseconds(options) {
  const value = typeof options === "number" ? options : options?.timeout;
  return value === undefined ? 0 : Math.max(1, Math.ceil(Number(value) || 0));
}

const generators = {
  *publish(...all) {
    const [subject, payload, options] = all;
    checkedSubject(subject, all.length);
    if (all.length < 2) throw new TypeError("subject and payload are required");
    ok(yield request("messaging", "publish", subject, `${options?.reply ?? ""}`, headerBlock(options?.headers),
      toBytes(payload)));
  },
  *request(...all) {
    const [subject, payload, options] = all;
    const [, , block, bytes] = ok(yield request("messaging", "request", checkedSubject(subject, all.length), "",
      headerBlock(options?.headers), toBytes(payload), milliseconds(options)));
    return makeReply(bytes, block);
  },
  *requestMany(...all) {
    const [subject, payload, options] = all;
    const [code, text, block, bytes, more] = yield request("messaging", "requestMany",
      checkedSubject(subject, all.length), "", headerBlock(options?.headers), toBytes(payload), milliseconds(options),
      Math.max(0, Math.floor(Number(options?.max ?? 0) || 0)));
    if (code !== 200 && code !== 408) throw hostError(code, text);
    const replies = [];
    if (code === 200 && (bytes.length > 0 || more.length > 0)) replies.push(makeReply(bytes, block));
    for (const payload of records(more)) replies.push(makeReply(payload, ""));
    return replies;
  },
};

export const makeMessaging = (kind) => Object.freeze(methods(kind, generators));
