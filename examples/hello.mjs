// The module form: headers, reply subject and subject tokens are at hand, and replies may carry
// headers. brokkr devrun ./examples/hello.mjs --trigger_subject='hello.*'
export default {
  async message(msg, env, ctx) {
    const name = msg.tokens[1] ?? "world";
    console.log(`${ctx.name}: hello ${name}`);
    return new Response(`${env.GREETING ?? "hello"}, ${name}: ${msg.text()}`, {
      headers: { "Served-By": ctx.name },
    });
  },
};
