// Compiled, not run: what functions may write against sdk/brokkr.d.ts.
/// <reference path="../../sdk/brokkr.d.ts" />

const expression: Brokkr.Expression = (subject, payload) => {
  const jokes = JSON.parse(String.fromCharCode(...kv("dad_jokes").get("jokes"))) as { setup: string }[];
  const known: number = kv("b").put("k", payload);
  const none: Brokkr.Value | null = kv("b").get("nope", { default: null });
  hostServices.kv.set("k", { a: 1 });
  for (const piece of objectStore("o").getStream("big")) known + piece.length;
  const response = http.post("https://example.com/", payload, { headers: { A: "1" }, query: { q: 1 }, timeout: 5 });
  return { subject, joke: jokes[0]?.setup, status: response.status, length: response.response.length, none };
};

const handler: Brokkr.Module = {
  async message(msg, env, ctx) {
    const [a, replies] = await Promise.all([env.kv("b").get("k"), env.messaging.requestMany("all", "", { max: 2 })]);
    const writer = await env.objectStore("o").putStream("n");
    await writer.write(a);
    const info: Brokkr.ObjectInfo = await writer.close();
    await env.objectStore("o").putStream("copy", await env.objectStore("o").getStream("n"));
    ctx.waitUntil(env.http.get("https://example.com/"));
    try {
      await env.kv("b").update("k", "v", a.revision);
    } catch (error) {
      if ((error as Brokkr.HostError).code !== 409) throw error;
    }
    return new Response(info.digest, { headers: { "X-First": replies[0]?.headers.get("A") ?? msg.subject } });
  },
};
export default handler;
export { expression };

// @ts-expect-error a synchronous service gives no promise
kv("b").get("k").then(() => 1);
// @ts-expect-error a revision is needed
kv("b").update("k", "v");
