// What both JavaScript packages do, in the same order; prints one claim per line.
// The packages differ in how a header object is made and a missing responder is reported.

const text = (message) => new TextDecoder().decode(message.data);
const bytes = (string) => new TextEncoder().encode(string);

async function take(subscription, count) {
  const messages = [];
  if (count === 0) return messages;
  for await (const message of subscription) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

export async function run({connect, headers, isNoResponders, isTimeout}, url) {
  const options = {servers: url, timeout: 5000, reconnect: false};
  const [a, b] = [await connect(options), await connect({...options, noEcho: true})];
  const say = (claim, value) => console.log(`${claim}: ${value}`);

  const plain = a.subscribe("clients.plain.*");
  await a.flush();
  b.publish("clients.plain.x", bytes("hello"));
  const [hello] = await take(plain, 1);
  say("publish and subscribe", `${hello.subject} ${text(hello)}`);

  const withHeaders = a.subscribe("clients.headers");
  await a.flush();
  const sent = headers();
  sent.append("Key", "one");
  sent.append("Key", "two");
  b.publish("clients.headers", bytes("body"), {headers: sent});
  const [received] = await take(withHeaders, 1);
  say("headers", `${received.headers.values("Key").join(",")} ${text(received)}`);

  const members = [a, a, b].map((connection) => connection.subscribe("clients.queue", {queue: "q"}));
  await Promise.all([a.flush(), b.flush()]);
  const publisher = await connect(options);
  for (let i = 0; i < 30; i++) publisher.publish("clients.queue", bytes(String(i)));
  await publisher.flush();
  await Promise.all([a.flush(), b.flush()]);
  await Promise.all(members.map((member) => member.drain()));
  say("queue group", members.reduce((sum, member) => sum + member.getReceived(), 0));

  const service = a.subscribe("clients.service", {callback: (error, message) => message.respond(bytes(`re: ${text(message)}`))});
  await a.flush();
  say("request", text(await b.request("clients.service", bytes("question"), {timeout: 5000})));
  const many = await Promise.all([...Array(50).keys()].map((i) => b.request("clients.service", bytes(String(i)), {timeout: 5000})));
  say("50 requests at once", many.every((message, i) => text(message) === `re: ${i}`));
  service.unsubscribe();
  await a.flush();

  try {
    await b.request("clients.nobody", bytes("x"), {timeout: 5000});
    say("no responders", "answered");
  } catch (error) {
    say("no responders", isNoResponders(error));
  }
  const silent = a.subscribe("clients.silent", {callback: () => {}});
  await a.flush();
  try {
    await b.request("clients.silent", bytes("x"), {timeout: 200});
    say("time-out", "answered");
  } catch (error) {
    say("time-out", isTimeout(error));
  }
  silent.unsubscribe();

  const limited = a.subscribe("clients.max", {max: 2});
  await a.flush();
  for (const payload of ["1", "2", "3"]) b.publish("clients.max", bytes(payload));
  await b.flush();
  const got = [];
  for await (const message of limited) got.push(text(message));
  say("unsubscribe after two", got.join(","));

  const own = b.subscribe("clients.own");
  b.publish("clients.own", bytes("mine"));
  await b.flush();
  a.publish("clients.own", bytes("theirs"));
  say("no echo", text((await take(own, 1))[0]));

  const large = new Uint8Array(a.info.max_payload).fill(7);
  const big = a.subscribe("clients.large");
  await a.flush();
  b.publish("clients.large", large);
  const [whole] = await take(big, 1);
  say("payload of the limit", whole.data.length === large.length && whole.data.every((byte) => byte === 7));

  const draining = a.subscribe("clients.drain");
  await a.flush();
  for (let i = 0; i < 100; i++) b.publish("clients.drain", bytes("x"));
  await b.flush();
  await a.flush();
  let drained = 0;
  const reading = (async () => { for await (const _ of draining) drained++; })();
  await draining.drain();
  await reading;
  say("drain delivers what was queued", drained);

  say("round trip", (await a.rtt()) >= 0);
  await a.drain();
  say("connection drains", a.isClosed());
  await Promise.all([b.close(), publisher.close()]);
}

export async function callFunctions({connect}, url) {
  const connection = await connect({servers: url, timeout: 5000});
  for (const subject of ["echo", "echowasm"]) {
    console.log(`${subject}: ${text(await connection.request(subject, bytes("hello nex!"), {timeout: 5000}))}`);
  }
  await connection.close();
}
