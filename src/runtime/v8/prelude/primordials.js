// Natives the prelude relies on, taken before a function's code can replace them.
const uncurry = Function.prototype.bind.bind(Function.prototype.call);

export const ops = __ops;
export const global = globalThis;

const typedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype);
const getter = (object, name) => uncurry(Object.getOwnPropertyDescriptor(object, name).get);

export const JSONStringify = JSON.stringify;
export const JSONParse = JSON.parse;
export const ArrayIsArray = Array.isArray;
export const ObjectPrototype = Object.prototype;
export const ObjectGetPrototypeOf = Object.getPrototypeOf;
export const ObjectDefineProperty = Object.defineProperty;
export const ObjectFreeze = Object.freeze;
export const ObjectKeys = Object.keys;
export const callFunction = Function.prototype.call;
export const bindFunction = uncurry(Function.prototype.bind);
export const promiseThen = uncurry(Promise.prototype.then);
export const PromiseConstructor = Promise;
export const promiseResolve = Promise.resolve.bind(Promise);
export const promiseReject = Promise.reject.bind(Promise);
export const typedArrayTag = getter(typedArrayPrototype, Symbol.toStringTag);
export const isView = ArrayBuffer.isView;
const arrayBufferByteLength = getter(ArrayBuffer.prototype, "byteLength");

export function isArrayBuffer(value) {
  try {
    arrayBufferByteLength(value);
    return true;
  } catch {
    return false;
  }
}

// Adds names to the global object the way the web does: writable, configurable, not enumerable.
export function expose(names) {
  for (const name of ObjectKeys(names)) {
    ObjectDefineProperty(global, name, {
      value: names[name], writable: true, configurable: true, enumerable: false,
    });
  }
}

// The bytes of what a program may pass as a payload: text is UTF-8, an object is its JSON.
export function toBytes(value) {
  if (typeof value === "string") return ops.utf8Encode(value);
  if (value === undefined || value === null) return new Uint8Array(0);
  if (isView(value)) {
    return typedArrayTag(value) === "Uint8Array"
      ? value
      : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  if (isArrayBuffer(value)) return new Uint8Array(value);
  const text = JSONStringify(value);
  if (text === undefined) throw new TypeError(`a ${typeof value} cannot be sent as bytes`);
  return ops.utf8Encode(text);
}
