// The claims in a page, which tells the server it came from; its query names the URL and the size of
// the large message.
import { run } from "./websocket_claims.mjs";

const lines = [];
try {
  const query = new URLSearchParams(location.search);
  await run(query.get("url"), (line) => lines.push(line), Number(query.get("large")));
} catch (error) {
  lines.push(`failed: ${error.name}: ${error.message}`);
}
await fetch("/lines", { method: "POST", body: lines.join("\n") });
