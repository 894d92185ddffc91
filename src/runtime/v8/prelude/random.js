// Math.random on a generator of our own: V8's is a copy of the zygote's in every forked instance.
// sfc32, seeded from the kernel after each fork.
import { ops, ObjectDefineProperty } from "./primordials.js";

let a = 1, b = 2, c = 3, d = 4;

function next() {
  const t = (((a + b) | 0) + d) | 0;
  d = (d + 1) | 0;
  a = b ^ (b >>> 9);
  b = (c + (c << 3)) | 0;
  c = (c << 21) | (c >>> 11);
  c = (c + t) | 0;
  return t >>> 0;
}

export function reseed(w, x, y, z) {
  a = w | 0;
  b = x | 0;
  c = y | 0;
  d = z | 0;
  for (let i = 0; i < 12; i++) next();
}

const random = {
  random() { return (next() * 2097152 + (next() >>> 11)) / 9007199254740992; },
}.random;
ObjectDefineProperty(Math, "random",
                     { value: random, writable: true, configurable: true, enumerable: false });
