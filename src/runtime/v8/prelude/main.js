// The prelude: everything a function finds beside the language. Evaluated once per zygote as the
// body of a function whose one parameter is __ops; nothing of it is reachable by name afterwards.
import { ops } from "./primordials.js";
import { reseed } from "./random.js";
import "core-js/actual/dom-exception";
import "./clone.js";
import "./corejs.js";
import "core-js/actual/url";
import "core-js/actual/url-search-params";
import "./encoding.js";
import { reportUncaught } from "./console.js";
import { runTimer } from "./timers.js";
import "./events.js";
import "./streams.js";
import "./crypto.js";
import "./fetch.js";
import { completeCall } from "./host.js";
import "./services.js";
import { callExpression, callModule, useExpression, useModule } from "./dispatch.js";

ops.register({
  reseed, reportUncaught, runTimer, completeCall, callExpression, callModule, useExpression, useModule,
  moduleImports: WebAssembly.Module.imports,
  moduleExports: WebAssembly.Module.exports,
  wasmInstance: WebAssembly.Instance,
});
