import {connect} from "@nats-io/transport-node";
import {errors, headers} from "@nats-io/transport-node";
import {callFunctions, run} from "./script.mjs";

const client = {
  connect,
  headers,
  isNoResponders: (error) => error instanceof errors.NoRespondersError ||
    (error instanceof errors.RequestError && error.isNoResponders()),
  isTimeout: (error) => error instanceof errors.TimeoutError,
};
await (process.argv[3] === "functions" ? callFunctions : run)(client, process.argv[2]);
