// What a client of @nats-io/nats-core sees over a WebSocket, in Node and in a browser: one line a claim.
import { headers, wsconnect } from "@nats-io/nats-core";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";

const text = (data) => new TextDecoder().decode(data);

async function outcome(promise) {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return error.name;
  }
}

async function core(nc, say, size) {
  say(`connected to ${new URL(`ws://${nc.getServer()}`).hostname}, headers ${nc.info.headers}, account ${nc.info.remote_account ?? "?"}`);
  const sub = nc.subscribe("greet.*", { max: 3 });
  for (const name of ["ann", "bob", "eve"]) nc.publish(`greet.${name}`, `hello ${name}`);
  const got = [];
  for await (const m of sub) got.push(`${m.subject}=${m.string()}`);
  say(`subscribed: ${got.join(", ")}`);

  nc.subscribe("upper", { callback: (_, m) => m.respond(m.string().toUpperCase(), { headers: m.headers }) });
  const h = headers();
  h.set("X-Test", "yes");
  const reply = await nc.request("upper", "shout", { timeout: 5000, headers: h });
  say(`request: ${reply.string()}, header ${reply.headers.get("X-Test")}`);
  say(`nobody: ${await outcome(nc.request("nobody.there", "", { timeout: 5000 }))}`);
  say(`rtt is a number: ${typeof (await nc.rtt())}`);

  const large = new Uint8Array(size || nc.info.max_payload).map((_, i) => (i * 7919) & 255);
  const echo = nc.subscribe("large", { max: 1 });
  nc.publish("large", large);
  for await (const m of echo) say(`large: same ${m.data.length === large.length && m.data.every((byte, i) => byte === large[i])}`);

  const many = nc.subscribe("many", { max: 20000 });
  for (let i = 0; i < 20000; i++) nc.publish("many", `${i}`);
  let next = 0;
  for await (const m of many) if (m.string() === `${next}`) next++;
  say(`in order: ${next}`);
}

async function streams(nc, say) {
  const manager = await jetstreamManager(nc);
  await manager.streams.add({ name: "WEB", subjects: ["web.>"], storage: "memory" });
  const js = jetstream(nc);
  for (let i = 1; i <= 100; i++) {
    const ack = await js.publish(`web.${i % 10}`, `${i}`);
    if (ack.seq !== i) say(`sequence ${ack.seq} instead of ${i}`);
  }
  await manager.consumers.add("WEB", { durable_name: "reader", ack_policy: AckPolicy.Explicit });
  const consumer = await js.consumers.get("WEB", "reader");
  let sum = 0, count = 0;
  const messages = await consumer.consume({ max_messages: 30 });
  for await (const m of messages) {
    sum += Number(text(m.data));
    m.ack();
    if (++count === 100) break;
  }
  await nc.flush();
  const { num_ack_pending, num_pending } = await consumer.info();
  say(`stream: ${count} messages, sum ${sum}, pending ${num_pending}, unacknowledged ${num_ack_pending}`);
  await manager.streams.delete("WEB");
}

// A message of max_payload bytes, or `size`.
export async function run(url, say, size) {
  const user = { servers: url, user: "ann", pass: "secret", reconnect: false };
  const nc = await wsconnect(user);
  await core(nc, say, size);
  await streams(nc, say);
  await nc.drain();
  say(`drained: ${nc.isClosed()}`);
  say(`wrong password: ${await outcome(wsconnect({ ...user, pass: "guess" }))}`);
}
