// The part of Web Crypto that needs no keys.
import { ops, expose, isView } from "./primordials.js";

const integerArrays = new Set(["Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array",
  "Uint16Array", "Int32Array", "Uint32Array", "BigInt64Array", "BigUint64Array"]);

class SubtleCrypto {
  digest(algorithm, data) {
    return new Promise((resolve) => {
      const name = `${typeof algorithm === "object" ? algorithm?.name : algorithm}`.toUpperCase();
      const view = isView(data) ? data : new Uint8Array(data);
      const result = ops.digest(name, view);
      if (result === undefined) {
        throw new DOMException(`the algorithm "${name}" is not supported`, "NotSupportedError");
      }
      resolve(result.buffer);
    });
  }
}

class Crypto {
  subtle = new SubtleCrypto();
  getRandomValues(array) {
    if (!isView(array) || !integerArrays.has(array[Symbol.toStringTag])) {
      throw new DOMException("the argument must be an integer typed array", "TypeMismatchError");
    }
    if (array.byteLength > 65536) {
      throw new DOMException(`${array.byteLength} bytes asked for, 65536 is the limit`, "QuotaExceededError");
    }
    ops.fillRandom(array);
    return array;
  }
  randomUUID() {
    const bytes = new Uint8Array(16);
    ops.fillRandom(bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = "";
    for (let i = 0; i < 16; i++) {
      if (i === 4 || i === 6 || i === 8 || i === 10) hex += "-";
      hex += (bytes[i] + 256).toString(16).slice(1);
    }
    return hex;
  }
}
for (const type of [Crypto, SubtleCrypto]) {
  Object.defineProperty(type.prototype, Symbol.toStringTag, { value: type.name, configurable: true });
}
expose({ crypto: new Crypto(), Crypto, SubtleCrypto });
