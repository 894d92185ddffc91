// How a message becomes a call and a result becomes a reply. To the engine a result is: text or
// bytes; undefined when nothing is sent; [bytes, header block]; true when it comes later through
// ops.settle(slot, failed, value).
import {
  ops, global, JSONStringify, JSONParse, ArrayIsArray, ObjectPrototype, ObjectGetPrototypeOf,
  ObjectDefineProperty, callFunction, bindFunction, promiseThen, promiseResolve, typedArrayTag, isArrayBuffer,
} from "./primordials.js";
import { isResponse, encodeResponse } from "./fetch.js";
import { MessageHeaders } from "./host.js";
import { asyncServices } from "./services.js";
import { reportUncaught } from "./console.js";

let handler = null;
let env = null;
let functionName = "";

function json(value) {
  const text = JSONStringify(value);
  if (text === undefined) throw new TypeError(`the handler's result is a ${typeof value}, which has no JSON form`);
  return text;
}

function encode(value, isModule) {
  if (typeof value === "string") return isModule ? value : JSONStringify(value);
  if (value === undefined) return isModule ? undefined : "";
  if (typeof value !== "object" || value === null || ObjectGetPrototypeOf(value) === ObjectPrototype) {
    return json(value);
  }
  if (typedArrayTag(value) === "Uint8Array" || isArrayBuffer(value)) return value;
  if (isResponse(value)) return encodeResponse(value);
  return json(value);
}

function settle(slot, value, isModule) {
  try {
    const result = encode(value, isModule);
    if (typeof result === "object" && !ArrayIsArray(result) && typeof result.then === "function") {
      promiseThen(result, (late) => ops.settle(slot, false, late), (error) => ops.settle(slot, true, error));
      return;
    }
    ops.settle(slot, false, result);
  } catch (error) {
    ops.settle(slot, true, error);
  }
}

function finish(slot, value, isModule) {
  if (typeof value === "object" && value !== null && (typeof value.then === "function" || ops.isPromise(value))) {
    promiseThen(promiseResolve(value), (result) => settle(slot, result, isModule),
      (error) => ops.settle(slot, true, error));
    return true;
  }
  const result = encode(value, isModule);
  if (typeof result === "object" && !ArrayIsArray(result) && typeof result.then === "function") {
    promiseThen(result, (late) => ops.settle(slot, false, late), (error) => ops.settle(slot, true, error));
    return true;
  }
  return result;
}

class Message {
  #block;
  #headers;
  #tokens;
  constructor(subject, data, reply, block) {
    this.subject = subject;
    this.reply = reply;
    this.data = data;
    this.#block = block;
  }
  get tokens() { return (this.#tokens ??= this.subject.split(".")); }
  get headers() { return (this.#headers ??= new MessageHeaders(this.#block)); }
  get payload() { return this.data; }
  text() { return ops.decode(this.data, 0, false); }
  json() { return JSONParse(this.text()); }
}

class Context {
  get name() { return functionName; }
  // Keeps errors of work that outlives the reply in the log.
  waitUntil(promise) {
    promiseThen(promiseResolve(promise), undefined, (error) => reportUncaught("waitUntil:", error));
  }
}

export function callExpression(slot, subject, payload) {
  return finish(slot, handler(global, subject, payload), false);
}

export function callModule(slot, subject, payload, reply, block) {
  const message = new Message(subject, payload, reply === "" ? undefined : reply, block);
  return finish(slot, handler(undefined, message, env, new Context()), true);
}

function setup(name, variables) {
  functionName = name;
  env = { __proto__: asyncServices };
  for (let i = 0; i + 1 < variables.length; i += 2) {
    ObjectDefineProperty(env, variables[i], { value: variables[i + 1], writable: true, configurable: true, enumerable: true });
  }
}

export function useExpression(value, name, variables) {
  setup(name, variables);
  if (typeof value !== "function") return false;
  handler = bindFunction(callFunction, value);
  return true;
}

// Accepts { message() {} } or a function as the default export; says what is wrong otherwise.
export function useModule(value, name, variables) {
  setup(name, variables);
  if (typeof value === "function") {
    handler = bindFunction(callFunction, value);
    return "";
  }
  if (value === undefined) return "the module has no default export";
  if (typeof value !== "object" || value === null) return `the default export is a ${value === null ? "null" : typeof value}, not an object or a function`;
  if (typeof value.message !== "function") return "the default export has no message(msg, env, ctx) method";
  const call = bindFunction(callFunction, value.message);
  handler = (_self, message, environment, context) => call(value, message, environment, context);
  return "";
}
