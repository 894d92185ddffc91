// DOM events and AbortController.
import { expose, ops } from "./primordials.js";
import { reportUncaught } from "./console.js";

class Event {
  #type;
  #cancelable;
  #prevented = false;
  #stopped = false;
  #target = null;
  constructor(type, options = {}) {
    this.#type = `${type}`;
    this.#cancelable = !!options?.cancelable;
    this.bubbles = !!options?.bubbles;
    this.composed = !!options?.composed;
    this.timeStamp = performance.now();
  }
  get type() { return this.#type; }
  get target() { return this.#target; }
  get currentTarget() { return this.#target; }
  get srcElement() { return this.#target; }
  get cancelable() { return this.#cancelable; }
  get defaultPrevented() { return this.#prevented; }
  get isTrusted() { return false; }
  get eventPhase() { return this.#target === null ? 0 : 2; }
  preventDefault() { if (this.#cancelable) this.#prevented = true; }
  stopPropagation() {}
  stopImmediatePropagation() { this.#stopped = true; }
  composedPath() { return this.#target === null ? [] : [this.#target]; }
  static stopped(event) { return event.#stopped; }
  static aim(event, target) { event.#target = target; }
}
const isStopped = Event.stopped;
const aim = Event.aim;
delete Event.stopped;
delete Event.aim;

class CustomEvent extends Event {
  constructor(type, options = {}) {
    super(type, options);
    this.detail = options?.detail ?? null;
  }
}

class EventTarget {
  #listeners = new Map();
  addEventListener(type, callback, options) {
    if (callback === null || callback === undefined) return;
    const once = typeof options === "object" && !!options?.once;
    const capture = typeof options === "object" ? !!options?.capture : !!options;
    const signal = typeof options === "object" ? options?.signal : undefined;
    if (signal?.aborted) return;
    const list = this.#listeners.get(`${type}`) ?? [];
    if (list.some((entry) => entry.callback === callback && entry.capture === capture)) return;
    this.#listeners.set(`${type}`, [...list, { callback, once, capture }]);
    signal?.addEventListener("abort", () => this.removeEventListener(type, callback, options));
  }
  removeEventListener(type, callback, options) {
    const capture = typeof options === "object" ? !!options?.capture : !!options;
    const list = this.#listeners.get(`${type}`);
    if (list === undefined) return;
    this.#listeners.set(`${type}`,
      list.filter((entry) => entry.callback !== callback || entry.capture !== capture));
  }
  dispatchEvent(event) {
    if (!(event instanceof Event)) throw new TypeError("dispatchEvent needs an Event");
    aim(event, this);
    const attribute = this[`on${event.type}`];
    const entries = [...(this.#listeners.get(event.type) ?? [])];
    if (typeof attribute === "function") entries.unshift({ callback: attribute, capture: false });
    for (const entry of entries) {
      if (entry.once) this.removeEventListener(event.type, entry.callback, { capture: entry.capture });
      try {
        if (typeof entry.callback === "function") entry.callback.call(this, event);
        else entry.callback.handleEvent(event);
      } catch (error) {
        reportUncaught("Uncaught", error);
      }
      if (isStopped(event)) break;
    }
    return !event.defaultPrevented;
  }
}

const key = {};
let fire;
class AbortSignal extends EventTarget {
  #aborted = false;
  #reason = undefined;
  onabort = null;
  constructor(secret) {
    if (secret !== key) throw new TypeError("Illegal constructor");
    super();
  }
  get aborted() { return this.#aborted; }
  get reason() { return this.#reason; }
  throwIfAborted() { if (this.#aborted) throw this.#reason; }
  static {
    fire = (signal, reason) => {
      if (signal.#aborted) return;
      signal.#aborted = true;
      signal.#reason = reason === undefined
        ? new DOMException("This operation was aborted", "AbortError") : reason;
      signal.dispatchEvent(new Event("abort"));
    };
  }
  static abort(reason) {
    const signal = new AbortSignal(key);
    fire(signal, reason);
    return signal;
  }
  static timeout(ms) {
    const signal = new AbortSignal(key);
    setTimeout(() => fire(signal, new DOMException("The operation timed out", "TimeoutError")), ms);
    return signal;
  }
  static any(signals) {
    const result = new AbortSignal(key);
    const all = [...signals];
    const aborted = all.find((signal) => signal.aborted);
    if (aborted !== undefined) {
      fire(result, aborted.reason);
      return result;
    }
    for (const signal of all) {
      signal.addEventListener("abort", () => fire(result, signal.reason), { once: true });
    }
    return result;
  }
}

class AbortController {
  #signal = new AbortSignal(key);
  get signal() { return this.#signal; }
  abort(reason) { fire(this.#signal, reason); }
}

for (const type of [Event, CustomEvent, EventTarget, AbortSignal, AbortController]) {
  Object.defineProperty(type.prototype, Symbol.toStringTag, { value: type.name, configurable: true });
}
expose({ Event, CustomEvent, EventTarget, AbortSignal, AbortController });
