// What a workload's program does with JetStream, key-value, objects and services, with npm's "nats"; every line is a
process.on("unhandledRejection", (e) => { console.error("unhandled", e); process.exit(2); });
// claim. gate.mjs URL [PREFIX]: the prefix is the namespace's of names at the server ("acme__").
import { connect, StringCodec, JSONCodec, consumerOpts, createInbox, AckPolicy } from "nats";

const [url, prefix = ""] = process.argv.slice(2);
const nc = await connect({ servers: url, maxReconnectAttempts: 0 });
const sc = StringCodec();
const claim = (name, value) => console.log(`${name}: ${value}`);
const failure = async (promise) => {
  try {
    await promise;
    return "allowed";
  } catch (error) {
    return error.message ?? String(error.code);
  }
};
(async () => { for await (const _ of nc.status()); })();

const jsm = await nc.jetstreamManager();
const js = nc.jetstream();
const stream = `${prefix}ORDERS`;
await jsm.streams.add({ name: stream, subjects: ["shop.orders.*"], storage: "memory" });
for (let i = 0; i < 5; i++) await js.publish(`shop.orders.${i}`, sc.encode(`order ${i}`));
claim("published", (await jsm.streams.info(stream)).state.messages);

await jsm.consumers.add(stream, { durable_name: "pull", ack_policy: AckPolicy.Explicit });
const consumer = await js.consumers.get(stream, "pull");
const seen = [];
for await (const message of await consumer.fetch({ max_messages: 5, expires: 2000 })) {
  seen.push(sc.decode(message.data));
  await message.ackAck();
}
claim("pulled", seen.join(","));
claim("acknowledged", (await consumer.info()).ack_floor.stream_seq);

const options = consumerOpts();
options.deliverTo(createInbox());
options.ackExplicit();
options.deliverAll();
options.idleHeartbeat(500);
options.flowControl();
const push = await js.subscribe("shop.orders.*", options);
let pushed = 0;
for await (const message of push) {
  message.ack();
  if (++pushed === 5) break;
}
claim("pushed", pushed);

const ordered = await js.consumers.get(stream, { filterSubjects: "shop.orders.3" });
claim("ordered", sc.decode((await ordered.next({ expires: 2000 })).data));
claim("direct get", sc.decode((await jsm.streams.getMessage(stream, { last_by_subj: "shop.orders.4" })).data));

const names = [];
for await (const name of jsm.streams.names()) names.push(name);
claim("streams", names.join(","));
claim("stream of a subject", await jsm.streams.find("shop.orders.9"));

const kv = await js.views.kv(`${prefix}state`, { storage: "memory", history: 3 });
const watch = await kv.watch({ key: "a.*" });
const revision = await kv.put("a.b", sc.encode("1"));
await kv.update("a.b", sc.encode("2"), revision);
claim("stale update", (await failure(kv.update("a.b", sc.encode("3"), revision))).replace(/\d+/g, "N"));
claim("get", (await kv.get("a.b")).string());
const changes = [];
for await (const entry of watch) {
  changes.push(entry.string());
  if (changes.length === 2) break;
}
claim("watched", changes.join(","));
const keys = [];
for await (const key of await kv.keys()) keys.push(key);
claim("keys", keys.join(","));
await kv.delete("a.b");
claim("deleted", (await kv.get("a.b")).operation);

const objects = await js.views.os(`${prefix}files`, { storage: "memory" });
const big = new Uint8Array(600_000).map((_, i) => i % 251);
await objects.putBlob({ name: "big" }, big);
const back = await objects.getBlob("big");
claim("object", back.length === big.length && back.every((byte, i) => byte === big[i]));
claim("objects", (await objects.list()).map((info) => info.name).join(","));

const service = await nc.services.add({ name: "gated", version: "1.0.0" });
service.addEndpoint("shop", { subject: "shop.sum", handler: (error, message) => message.respond(sc.encode("42")) });
claim("service", sc.decode((await nc.request("shop.sum", sc.encode("?"))).data));
claim("other stream", await failure(jsm.streams.info("PAYMENTS")));
claim("other bucket", await failure((await js.views.kv("NEX_WORKLOADS", { bindOnly: true })).get("x")));
claim("foreign capture", await failure(jsm.streams.add({ name: `${prefix}ALL`, subjects: ["beta.>"] })));
await service.stop();
for (const name of names) await jsm.streams.delete(name);
await kv.destroy();
await objects.destroy();
await nc.drain();
claim("drained", nc.isClosed());
process.exit(0);
