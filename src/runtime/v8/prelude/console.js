// console, with values shown the way Node shows them, within bounds.
import { ops, global, isView, isArrayBuffer, typedArrayTag, ObjectKeys } from "./primordials.js";

const kDepthMax = 4;
const kItemsMax = 100;
const kTextMax = 64 * 1024;

function quote(text) {
  const json = JSON.stringify(text);
  return text.includes("'") ? json : `'${json.slice(1, -1).replaceAll('\\"', '"')}'`;
}

function keyText(key) {
  if (typeof key === "symbol") return `[${String(key)}]`;
  return /^[A-Za-z_$][\w$]*$/.test(key) ? key : quote(key);
}

function constructorName(value) {
  for (let object = value; object !== null; object = Object.getPrototypeOf(object)) {
    const descriptor = Object.getOwnPropertyDescriptor(object, "constructor");
    if (typeof descriptor?.value === "function" && descriptor.value.name) return descriptor.value.name;
  }
  return "[Object: null prototype]";
}

function wrap(open, parts, close, indent) {
  if (parts.length === 0) return `${open}${close}`;
  const line = parts.join(", ");
  if (line.length + open.length + indent * 2 <= 72 && !line.includes("\n")) {
    return open === "[" || open.endsWith(" [") ? `${open} ${line} ${close}` : `${open} ${line} ${close}`;
  }
  const pad = "  ".repeat(indent + 1);
  return `${open}\n${pad}${parts.join(`,\n${pad}`)}\n${"  ".repeat(indent)}${close}`;
}

function properties(value, seen, depth, skipIndices) {
  const parts = [];
  for (const key of Reflect.ownKeys(value)) {
    const descriptor = Object.getOwnPropertyDescriptor(value, key);
    if (!descriptor?.enumerable || (skipIndices && typeof key === "string" && /^\d+$/.test(key))) continue;
    if (parts.length >= kItemsMax) {
      parts.push("... more");
      break;
    }
    const shown = "value" in descriptor ? show(descriptor.value, seen, depth + 1)
      : descriptor.get ? (descriptor.set ? "[Getter/Setter]" : "[Getter]") : "[Setter]";
    parts.push(`${keyText(key)}: ${shown}`);
  }
  return parts;
}

function list(items, size, seen, depth) {
  const parts = [];
  let count = 0;
  for (const item of items) {
    if (count++ >= kItemsMax) {
      parts.push(`... ${size - kItemsMax} more items`);
      break;
    }
    parts.push(item(seen, depth + 1));
  }
  return parts;
}

function showArray(value, seen, depth) {
  const parts = [];
  const shown = Math.min(value.length, kItemsMax);
  for (let i = 0; i < shown; i++) {
    parts.push(i in value ? show(value[i], seen, depth + 1) : "<empty>");
  }
  if (value.length > shown) parts.push(`... ${value.length - shown} more items`);
  return [...parts, ...(value.length <= 10000 ? properties(value, seen, depth, true) : [])];
}

function showError(value, seen, depth) {
  const stack = typeof value.stack === "string" && value.stack !== "" ? value.stack : `[${String(value)}]`;
  const own = properties(value, seen, depth, false).filter((part) => !/^(stack|message):/.test(part));
  if (value.cause !== undefined) own.push(`[cause]: ${show(value.cause, seen, depth + 1)}`);
  return own.length === 0 ? stack : `${stack} ${wrap("{", own, "}", depth)}`;
}

function showObject(value, seen, depth) {
  const name = constructorName(value);
  if (Array.isArray(value)) {
    return wrap(name === "Array" ? "[" : `${name}(${value.length}) [`, showArray(value, seen, depth), "]", depth);
  }
  if (typedArrayTag(value) !== undefined) {
    return wrap(`${name}(${value.length}) [`, showArray(value, seen, depth), "]", depth);
  }
  if (isArrayBuffer(value)) return `ArrayBuffer { byteLength: ${value.byteLength} }`;
  if (value instanceof Map) {
    const entries = list([...value].map(([k, v]) => (s, d) => `${show(k, s, d)} => ${show(v, s, d)}`), value.size, seen, depth);
    return wrap(`Map(${value.size}) {`, entries, "}", depth);
  }
  if (value instanceof Set) {
    return wrap(`Set(${value.size}) {`, list([...value].map((v) => (s, d) => show(v, s, d)), value.size, seen, depth), "}", depth);
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof RegExp) return String(value);
  if (value instanceof Promise) return "Promise { ... }";
  if (value instanceof String || value instanceof Number || value instanceof Boolean) {
    return `[${name}: ${show(value.valueOf(), seen, depth)}]`;
  }
  const tag = value[Symbol.toStringTag];
  const prefix = name === "Object" ? "" : `${name} `;
  const tagged = typeof tag === "string" && tag !== "" && tag !== name ? `[${tag}] ` : "";
  return wrap(`${prefix}${tagged}{`, properties(value, seen, depth, false), "}", depth);
}

function show(value, seen = [], depth = 0) {
  switch (typeof value) {
    case "string": return quote(value.length > 10000 ? `${value.slice(0, 10000)}...` : value);
    case "bigint": return `${value}n`;
    case "symbol": return String(value);
    case "number": return Object.is(value, -0) ? "-0" : `${value}`;
    case "function": {
      const kind = /^class\b/.test(Function.prototype.toString.call(value)) ? "class" : "Function";
      return value.name ? `[${kind}: ${value.name}]`.replace("class:", "class") : `[${kind} (anonymous)]`;
    }
    case "object": break;
    default: return `${value}`;
  }
  if (value === null) return "null";
  if (seen.includes(value)) return "[Circular *1]";
  if (value instanceof Error) return showError(value, [...seen, value], depth);
  if (depth >= kDepthMax) return Array.isArray(value) ? "[Array]" : `[${constructorName(value)}]`;
  return showObject(value, [...seen, value], depth);
}

export function inspect(value) {
  try {
    return show(value);
  } catch (error) {
    return `[not shown: ${error?.message ?? "error"}]`;
  }
}

function formatWith(pattern, args) {
  let next = 0;
  const text = pattern.replace(/%[sdifjoOc%]/g, (mark) => {
    if (mark === "%%") return "%";
    if (next >= args.length) return mark;
    const value = args[next++];
    switch (mark) {
      case "%s": return typeof value === "string" ? value : typeof value === "object" ? inspect(value) : String(value);
      case "%d": return typeof value === "bigint" ? `${value}n` : `${Number(value)}`;
      case "%i": return typeof value === "bigint" ? `${value}n` : `${Number.parseInt(value, 10)}`;
      case "%f": return `${Number.parseFloat(value)}`;
      case "%j": return JSON.stringify(value) ?? "undefined";
      case "%c": return "";
      default: return inspect(value);
    }
  });
  return [text, ...args.slice(next).map((value) => (typeof value === "string" ? value : inspect(value)))].join(" ");
}

function format(args) {
  if (args.length === 1 && typeof args[0] === "string") return args[0];
  if (args.length > 1 && typeof args[0] === "string" && args[0].includes("%")) {
    return formatWith(args[0], args.slice(1));
  }
  return args.map((value) => (typeof value === "string" ? value : inspect(value))).join(" ");
}

let groupIndent = "";
function write(isError, text) {
  let line = text.length > kTextMax ? `${text.slice(0, kTextMax)}... ${text.length - kTextMax} more characters` : text;
  if (groupIndent !== "") line = groupIndent + line.replaceAll("\n", `\n${groupIndent}`);
  ops.log(isError, line);
}

export function reportUncaught(what, error) {
  write(true, `${what} ${inspect(error)}`);
}

function table(data) {
  if (typeof data !== "object" || data === null) return write(false, format([data]));
  const columns = [];
  const rows = ObjectKeys(data).slice(0, 1000).map((index) => {
    const row = data[index];
    const cells = { __proto__: null };
    if (typeof row === "object" && row !== null) {
      for (const name of ObjectKeys(row)) {
        if (!columns.includes(name)) columns.push(name);
        cells[name] = inspect(row[name]);
      }
      return { index, cells, value: "" };
    }
    return { index, cells, value: inspect(row) };
  });
  const heads = ["(index)", ...columns];
  if (rows.some((row) => row.value !== "")) heads.push("Values");
  const lines = rows.map((row) => [row.index, ...columns.map((name) => row.cells[name] ?? ""),
    ...(heads.length > columns.length + 1 ? [row.value] : [])]);
  const widths = heads.map((head, i) => Math.max(head.length, ...lines.map((line) => line[i].length)) + 2);
  const draw = (cells) => `│${cells.map((cell, i) => ` ${cell}`.padEnd(widths[i])).join("│")}│`;
  const rule = (a, b, c) => a + widths.map((width) => "─".repeat(width)).join(b) + c;
  write(false, [rule("┌", "┬", "┐"), draw(heads), rule("├", "┼", "┤"), ...lines.map(draw), rule("└", "┴", "┘")].join("\n"));
}

const counts = new Map();
const starts = new Map();
const methods = {
  log(...args) { write(false, format(args)); },
  info(...args) { write(false, format(args)); },
  debug(...args) { write(false, format(args)); },
  warn(...args) { write(true, format(args)); },
  error(...args) { write(true, format(args)); },
  trace(...args) {
    const stack = new Error().stack.split("\n").slice(2).filter((line) => !line.includes("brokkr:")).join("\n");
    write(true, `Trace${args.length > 0 ? `: ${format(args)}` : ""}\n${stack}`);
  },
  dir(value) { write(false, inspect(value)); },
  dirxml(...args) { write(false, format(args)); },
  assert(condition, ...args) {
    if (!condition) write(true, `Assertion failed${args.length > 0 ? `: ${format(args)}` : ""}`);
  },
  count(label = "default") {
    counts.set(`${label}`, (counts.get(`${label}`) ?? 0) + 1);
    write(false, `${label}: ${counts.get(`${label}`)}`);
  },
  countReset(label = "default") { counts.delete(`${label}`); },
  group(...args) {
    if (args.length > 0) write(false, format(args));
    if (groupIndent.length < 40) groupIndent += "  ";
  },
  groupCollapsed(...args) { methods.group(...args); },
  groupEnd() { groupIndent = groupIndent.slice(2); },
  table,
  time(label = "default") { starts.set(`${label}`, ops.now()); },
  timeLog(label = "default", ...args) {
    const start = starts.get(`${label}`);
    if (start === undefined) return write(true, `Timer '${label}' does not exist`);
    write(false, [`${label}: ${(ops.now() - start).toFixed(3)}ms`, ...args.map((a) => format([a]))].join(" "));
  },
  timeEnd(label = "default") {
    methods.timeLog(label);
    starts.delete(`${label}`);
  },
};
for (const name of ObjectKeys(methods)) global.console[name] = methods[name];
