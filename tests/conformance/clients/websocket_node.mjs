// websocket_node.mjs URL: the claims, with Node's own WebSocket.
import { run } from "./websocket_claims.mjs";

await run(process.argv[2], (line) => console.log(line));
process.exit(0);
