import {connect, ErrorCode, headers} from "nats";
import {callFunctions, run} from "./script.mjs";

const client = {
  connect,
  headers,
  isNoResponders: (error) => error.code === ErrorCode.NoResponders,
  isTimeout: (error) => error.code === ErrorCode.Timeout,
};
await (process.argv[3] === "functions" ? callFunctions : run)(client, process.argv[2]);
