// setTimeout and its kin. The engine asks for the next due time and runs one timer at a time, so
// that promise jobs run between two of them.
import { ops, expose } from "./primordials.js";

const timers = [];  // ordered by due time, then by age
const byId = new Map();
let lastId = 0;
let age = 0;

function announce() { ops.setNextDue(timers.length === 0 ? -1 : timers[0].due); }

function insert(timer) {
  timer.age = ++age;
  let low = 0, high = timers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (timers[middle].due <= timer.due) low = middle + 1;
    else high = middle;
  }
  timers.splice(low, 0, timer);
  if (low === 0) announce();
}

function start(callback, delay, args, repeats) {
  if (typeof callback !== "function") throw new TypeError("the callback must be a function");
  const ms = Math.min(Math.max(Number(delay) || 0, 0), 2147483647);
  const timer = { id: ++lastId, callback, args, every: repeats ? Math.max(ms, 1) : -1, due: ops.now() + ms, age: 0 };
  byId.set(timer.id, timer);
  insert(timer);
  return timer.id;
}

function clear(id) {
  const timer = byId.get(Number(id));
  if (timer === undefined) return;
  byId.delete(timer.id);
  const index = timers.indexOf(timer);
  if (index < 0) return;
  timers.splice(index, 1);
  if (index === 0) announce();
}

// Runs the first timer if it is due; says whether one ran.
export function runTimer(now) {
  if (timers.length === 0 || timers[0].due > now) return false;
  const timer = timers.shift();
  if (timer.every >= 0) {
    timer.due = now + timer.every;
    insert(timer);
  } else {
    byId.delete(timer.id);
  }
  announce();
  timer.callback(...timer.args);
  return true;
}

const setTimeout = (callback, delay, ...args) => start(callback, delay, args, false);
const setInterval = (callback, delay, ...args) => start(callback, delay, args, true);
const clearTimeout = (id) => clear(id);
const clearInterval = (id) => clear(id);
const queueMicrotask = (callback) => {
  if (typeof callback !== "function") throw new TypeError("the callback must be a function");
  ops.enqueueMicrotask(callback);
};

const performance = {
  now: () => ops.now(),
  get timeOrigin() { return ops.timeOrigin(); },
  toJSON() { return { timeOrigin: this.timeOrigin }; },
};

expose({ setTimeout, setInterval, clearTimeout, clearInterval, queueMicrotask, performance });
