// structuredClone on V8's own serializer.
import { ops, expose } from "./primordials.js";

function structuredClone(value, options) {
  if (arguments.length === 0) throw new TypeError("structuredClone needs one argument");
  const transfer = options?.transfer === undefined ? [] : [...options.transfer];
  for (const item of transfer) {
    if (!(item instanceof ArrayBuffer)) {
      throw new DOMException("only an ArrayBuffer can be transferred", "DataCloneError");
    }
  }
  return ops.structuredClone(value, transfer, (text) => new DOMException(text, "DataCloneError"));
}
expose({ structuredClone });
