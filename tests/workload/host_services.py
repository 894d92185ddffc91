#!/usr/bin/env python3
"""What functions reach through host services, and what they cannot: key-value, objects, messaging, HTTP.

    host_services.py --brokkr PATH [--attach NATS-SERVER] [CLAIM ...]

Attached, the node is a client of that nats-server with JetStream. Where there is the real `nats` command
it looks at what functions have stored as well.
"""
import argparse
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

from node import ROOT, Node

sys.path.insert(0, str(ROOT / "tests" / "support"))
from nats_client import as_json  # noqa: E402
from web_server import WebServer, make_authority, make_certificate  # noqa: E402

CLAIMS = []
HOSTS = ["webhooks.app", "web.test", "other.test"]
EVAL = """async (subject, payload) => {
  try { return {ok: await eval(String.fromCharCode(...payload))}; }
  catch (e) { return {code: e.code ?? null, name: e.name, message: e.message}; }
}"""


def claim(function):
    CLAIMS.append(function)
    return function


def equal(got, wanted, what: str = "") -> None:
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


class World:
    """A node, web servers it can be pointed at, and a function that evaluates what it is sent."""

    def __init__(self, node: Node, web: WebServer, tls: WebServer, wrong: WebServer):
        self.node, self.web, self.tls, self.wrong = node, web, tls, wrong

    def ask(self, subject: str, payload: bytes | str = b"", timeout: float = 30):
        data = payload.encode() if isinstance(payload, str) else payload
        reply = self.node.client.request(subject, data, timeout)
        if reply.error_code:
            raise AssertionError(f"{subject}: {reply.data.decode()}")
        return reply.data

    def run(self, code: str, function: str = "eval"):
        """What the code gives in the function, or how it failed."""
        return json.loads(self.ask(function, code))

    def value(self, code: str, function: str = "eval"):
        answer = self.run(code, function)
        if "name" in answer:
            raise AssertionError(f"{code}: {answer}")
        return answer.get("ok")

    def code(self, code: str, function: str = "eval") -> int:
        return self.run(code, function).get("code")

    def stream(self, name: str) -> dict:
        return as_json(self.node.client.request(f"$JS.API.STREAM.INFO.{name}", b""))

    def stored(self, bucket: str, key: str) -> bytes:
        ask = json.dumps({"last_by_subj": f"$KV.{bucket}.{key}"}).encode()
        answer = as_json(self.node.client.request(f"$JS.API.STREAM.MSG.GET.KV_{bucket}", ask))
        return base64.b64decode(answer["message"].get("data", ""))

    def nats(self, *words: str) -> bytes | None:
        """The real command line, where there is one."""
        binary = shutil.which("nats") or next(
            (str(path) for path in [ROOT / ".deps/peers/bin/nats"] if path.exists()), "")
        if not binary:
            return None
        environment = dict(os.environ, HOME=str(self.node.folder))
        done = subprocess.run([binary, "-s", f"nats://127.0.0.1:{self.node.port}", *words], capture_output=True,
                              timeout=60, env=environment)
        if done.returncode != 0:
            raise AssertionError(f"nats {' '.join(words)}: {done.stdout + done.stderr}")
        return done.stdout


# The programs of the acceptance

@claim
def telemetry_answers_exactly(w: World) -> None:
    w.node.deploy("telemetry", (ROOT / "examples" / "telemetry.js").read_text(), ["devices.*"])
    reading = b'{"deviceId":"123","temperature":23}'
    equal(w.ask("devices.123", reading),
          b'{"ok":true,"subject":"devices.123","device":"123","temperature":23,"kv_bucket":"iot_devices",'
          b'"object_bucket":"iot_history","http_alert":null}')
    equal(w.stored("iot_devices", "123"), reading)
    if (got := w.nats("kv", "get", "iot_devices", "123", "--raw")) is not None:
        equal(got.rstrip(b"\n"), reading, "nats kv get")
        equal(w.nats("object", "ls", "iot_history").count(b".json"), 1, "nats object ls")
    equal(len(w.value("objectStore('iot_history').list()")), 1)
    before = len(w.tls.requests)
    alert = json.loads(w.ask("devices.7", '{"deviceId":"7","temperature":31.5}'))["http_alert"]
    equal(alert["status"], 200)
    equal(len(w.tls.requests) - before, 1)
    sent = w.tls.requests[-1]
    equal((sent["method"], sent["path"]), ("POST", "/data"))
    body = json.loads(sent["body"])
    equal((body["deviceId"], body["temperature"], body["subject"]), ("7", 31.5, "devices.7"))
    equal(len(w.value("objectStore('iot_history').list()")), 2)


@claim
def jokes_answer_exactly(w: World) -> None:
    w.node.deploy("jokes", (ROOT / "examples" / "jokes.js").read_text(), ["jokes"])
    reply = w.node.client.request("jokes", b"", 30)
    equal(reply.error_code, 500, "no joke is there yet")
    jokes = '[{"setup":"a","punchline":"b"}]'
    if w.nats("kv", "put", "dad_jokes", "jokes", jokes) is None:
        w.value(f"kv('dad_jokes').set('jokes', {json.dumps(jokes)})")
    equal(w.ask("jokes"), b'{"joke":"a","punchline":"b"}')


# Key-value

@claim
def key_value_does_what_buckets_do(w: World) -> None:
    equal(w.value("(() => { const b = kv('ops'); b.set('a', '1'); const r = b.put('a', '2'); "
                  "const v = b.get('a'); return [v.text(), v.revision === r, b.entry('a').operation, b.entry('nope')]; })()"),
          ["2", True, "PUT", None])
    equal(w.run("kv('ops').get('nope')"), {"code": 404, "name": "NotFound", "message": 'key "nope" not found'})
    equal(w.value("kv('ops').get('nope', {default: 'd'})"), "d")
    equal(w.code("kv('ops').create('a', 'x')"), 409)
    equal(w.code("kv('ops').update('a', 'x', 1)"), 409)
    equal(w.value("(() => { const b = kv('ops'); b.update('a', '3', b.get('a').revision); return b.get('a').text(); })()"), "3")
    equal(w.value("(() => { const b = kv('ops'); b.create('x.y', 'n'); return [b.keys().sort(), b.keys('x.*'), b.keys({limit: 1}).length]; })()"),
          [["a", "x.y"], ["x.y"], 1])
    equal(w.value("(() => { const b = kv('ops'); b.delete('a'); const gone = b.get('a', {default: 0}); b.create('a', 'again'); "
                  "b.purge('x.y'); return [gone, b.get('a').text(), b.keys()]; })()"), [0, "again", ["a"]])
    equal(w.value("kv('ops').history('a').map((e) => [e.operation, e.value.text()])"), [["PUT", "again"]])
    equal(w.value("kv('empty').keys()"), [])
    equal(w.value("(() => { const b = kv('seen'), out = []; b.set('a.x', '1'); b.set('b', '2'); for (const e of b.watch('a.*')) { "
                  "out.push([e.key, e.operation, e.value.text()]); if (out.length === 3) break; "
                  "if (out.length === 1) { b.delete('a.x'); b.set('a.y', '3'); } } return out; })()"),
          [["a.x", "PUT", "1"], ["a.x", "DEL", ""], ["a.y", "PUT", "3"]])
    equal(w.value("[...kv('seen').watch({ignoreDeletes: true, timeout: 200})].map((e) => e.key)"), ["b", "a.y"])
    w.node.deploy("watching", """export default { async message(msg, env) {
        const seen = env.kv("seen"), out = [];
        setTimeout(() => seen.put("later", "4"), 50);
        for await (const e of seen.watch("later", {updatesOnly: true})) { out.push(e.value.text()); break; }
        return out; } }""", ["watching"])
    equal(json.loads(w.ask("watching", b"")), ["4"])
    for wrong in ("kv('ops').get('a b')", "kv('ops').get('.a')", "kv('b*d').get('a')", "kv('ops').keys('a..b')"):
        equal(w.code(wrong), 400, wrong)


@claim
def values_are_exact(w: World) -> None:
    w.node.deploy("exact", "(s, p) => { kv('exact').set('k', p); objectStore('exact').put('o', p); "
                           "const a = kv('exact').get('k'), b = objectStore('exact').get('o'); "
                           "return a.every((x, i) => x === b[i]) ? a : 'differ'; }", ["exact"])
    for data in (bytes(range(256)) * 100, b"", "öl €".encode(), os.urandom(500_000)):
        equal(w.ask("exact", data), data, "what came back")
        equal(w.stored("exact", "k"), data, "what is stored")


@claim
def buckets_are_made_once_with_limits_and_an_owner(w: World) -> None:
    w.value("kv('made').set('a', 'b')")
    config = w.stream("KV_made")["config"]
    equal((config["max_msgs_per_subject"], config["metadata"]["io.brokkr.namespace"]), (1, "default"))
    if not 0 < config["max_bytes"] <= 256 << 20:
        raise AssertionError(config)
    w.value("objectStore('made').put('a', 'b')")
    config = w.stream("OBJ_made")["config"]
    equal(config["metadata"]["io.brokkr.namespace"], "default")
    if not 0 < config["max_bytes"] <= 2 << 30:
        raise AssertionError(config)
    w.node.client.request("$JS.API.STREAM.DELETE.KV_made", b"")
    equal(w.value("(() => { kv('made').set('c', 'd'); return kv('made').get('c').text(); })()"), "d")


@claim
def another_namespaces_buckets_are_refused(w: World) -> None:
    config = {"name": "KV_theirs", "subjects": ["$KV.theirs.>"], "max_msgs_per_subject": 1, "allow_direct": True,
              "metadata": {"io.brokkr.namespace": "other"}}
    w.node.client.request("$JS.API.STREAM.CREATE.KV_theirs", json.dumps(config).encode())
    for code in ("kv('theirs').get('a')", "kv('theirs').set('a', 'b')", "kv('NEX_WORKLOADS').keys()", "objectStore('NEX_ARTIFACTS_default').list()"):
        equal(w.code(code), 403, code)
    w.node.deploy("tenant", EVAL, ["tenant.eval"], ns="tenant")
    w.value("kv('shared').set('who', 'tenant')", "tenant.eval")
    w.value("kv('shared').set('who', 'default')")
    equal(w.value("kv('shared').get('who').text()", "tenant.eval"), "tenant")
    equal(w.code("kv('tenant__shared').get('who')"), 403)
    equal(w.code("kv('NEX_WORKLOADS').keys()", "tenant.eval"), 403, "control buckets by any name")


@claim
def only_declared_buckets_and_subjects_are_there(w: World) -> None:
    grants = {"buckets": ["mine"], "object_buckets": ["files"], "publish": ["to.*"]}
    w.node.deploy("granted", EVAL, ["granted"], grants=grants)
    equal(w.value("(() => { kv('mine').set('a', 'b'); objectStore('files').put('a', 'b'); messaging.publish('to.x', ''); return 1; })()", "granted"), 1)
    for code in ("kv('ops').get('a')", "objectStore('made').get('a')", "messaging.publish('elsewhere', '')",
                 "messaging.request('$JS.API.INFO', '')", "messaging.publish('$SYS.x', '')",
                 "messaging.publish('to.x', '', {reply: '$JS.API.STREAM.DELETE.KV_mine'})"):
        equal(w.code(code, "granted"), 403, code)


# Objects

@claim
def objects_are_listed_described_and_deleted(w: World) -> None:
    equal(w.value("(() => { const o = objectStore('files1'); const none = o.list(); o.put('a/b c', 'xyz', {description: 'd', headers: {K: ['1', '2']}}); "
                  "const i = o.info('a/b c'); return [none, i.size, i.description, i.headers.K, i.chunks, o.list().map((x) => x.name), o.get('a/b c').info.size]; })()"),
          [[], 3, "d", ["1", "2"], 1, ["a/b c"], 3])
    equal(w.code("objectStore('files1').get('nope')"), 404)
    equal(w.code("objectStore('files1').delete('nope')"), 404)
    equal(w.value("(() => { const o = objectStore('files1'); o.delete('a/b c'); return o.list(); })()"), [])


@claim
def large_objects_stream_through_small_heaps(w: World) -> None:
    w.node.deploy("large", """async (subject, payload) => {
      const store = objectStore('large'), size = 40, piece = new Uint8Array(1 << 20);
      for (let i = 0; i < piece.length; i++) piece[i] = i * 7;
      const info = store.putStream('big', (function* () { for (let i = 0; i < size; i++) { piece[0] = i; yield piece; } })());
      let bytes = 0, sum = 0;
      for (const part of store.getStream('big')) { bytes += part.length; sum += part[0]; }
      return {size: info.size, digest: info.digest, bytes};
    }""", ["large"], limits={"wall_time_ms": 30000, "heap_bytes": 16 << 20})
    piece = bytearray((i * 7) & 255 for i in range(1 << 20))
    digest = hashlib.sha256()
    for i in range(40):
        piece[0] = i
        digest.update(piece)
    answer = json.loads(w.ask("large", timeout=60))
    wanted = "SHA-256=" + base64.urlsafe_b64encode(digest.digest()).decode()
    equal(answer, {"size": 40 << 20, "digest": wanted, "bytes": 40 << 20})
    if w.nats("object", "get", "large", "big", "--output", str(w.node.folder / "big"), "--force", "--no-progress") is not None:
        equal(hashlib.sha256((w.node.folder / "big").read_bytes()).digest(), digest.digest(), "nats object get")
    w.node.deploy("largemod", """export default { async message(msg, env) {
      const store = env.objectStore('large');
      const writer = await store.putStream('second');
      await writer.write(new Uint8Array(3 << 20)); await writer.write('end');
      const info = await writer.close();
      const whole = await store.get('second');
      const copy = await store.putStream('third', await store.getStream('second'));
      let bytes = 0;
      for await (const part of await store.getStream('third')) bytes += part.length;
      const dropped = await store.putStream('never'); await dropped.write('x'); await dropped.abort();
      const never = await store.info('never').catch((e) => e.code);
      return JSON.stringify([info.size, whole.length, new TextDecoder().decode(whole.subarray(-3)), copy.size, bytes, never]);
    } }""", ["largemod"], limits={"wall_time_ms": 30000})
    size = (3 << 20) + 3
    equal(json.loads(w.ask("largemod")), [size, size, "end", size, size, 404])


# WebAssembly

@claim
def webassembly_programs_have_the_same_services(w: World) -> None:
    w.node.deploy("visits", (ROOT / "examples" / "host-c" / "visits.wasm").read_bytes(), ["visits.*"], type="wasm")
    w.node.client.subscribe("visited")
    for number in (1, 2):
        equal(w.ask("visits.home", b"x" * 10_000), str(number).encode())
        equal(w.node.client.next("visited", 10).data, f"home {number}".encode())
    equal(w.stored("visits", "home"), b"2")
    equal(w.value("objectStore('visits').get('home').length"), 10_000)
    w.node.deploy("visitsno", (ROOT / "examples" / "host-c" / "visits.wasm").read_bytes(), ["visitsno"], type="wasm",
                  grants={"buckets": ["others"]})
    reply = w.node.client.request("visitsno", b"", 30)
    equal((reply.error_code, b"403" in reply.data), (500, True))


# HTTP

@claim
def http_sends_and_gives_everything(w: World) -> None:
    url = f"http://web.test:{w.web.port}"
    got = w.value(f"(() => {{ const r = http.post('{url}/echo?a=1', new Uint8Array([0, 255]), {{headers: {{'X-A': 'b', Host: 'evil'}}, query: {{q: 'x y'}}}}); "
                  "return [r.status, r.headers['Content-Type'], r.headers['X-Twice'], r.json(), r.response instanceof Uint8Array]; })()")
    echo = got[3]
    equal((got[0], got[1], got[2], got[4]), (200, "application/json", "1, 2", True))
    equal((echo["method"], echo["path"], echo["body"]), ("POST", "/echo?a=1&q=x+y", "\0\u00ff"))
    equal((echo["headers"]["x-a"], echo["headers"]["host"], echo["headers"]["content-length"]),
          ("b", f"web.test:{w.web.port}", "2"))
    for method in ("get", "put", "patch", "delete", "options"):
        equal(w.value(f"http.request('{url}/echo', {{method: '{method}', body: 'b'}}).json().method"), method.upper())
    equal(w.value(f"http.head('{url}/bytes/10').response.length"), 0)
    equal(w.value(f"http.get('{url}/a/../b/%41//c').status"), 200)
    equal(w.web.requests[-1]["path"], "/a/../b/%41//c", "the exact URL")
    equal(w.value(f"http.get('{url}/status/404').status"), 404)
    equal(w.value(f"http.get('{url}/bytes/100000').response[99999]"), 99999 % 256)
    equal(w.value(f"fetch('{url}/echo', {{method: 'PUT', body: JSON.stringify([1])}}).then((r) => r.json()).then((e) => [e.method, e.body, e.headers['content-type']])"),
          ["PUT", "[1]", "text/plain;charset=UTF-8"])
    equal(w.value(f"http.get('https://web.test:{w.tls.port}/echo').json().path"), "/echo")
    equal(w.code(f"http.get('{url}/bytes/{9 << 20}')"), 413)
    equal(w.code(f"http.get('{url}/slow', {{timeout: 200}})"), 408)


@claim
def redirects_are_followed_with_care(w: World) -> None:
    web, tls = f"http://web.test:{w.web.port}", f"https://web.test:{w.tls.port}"
    other = f"http://other.test:{w.web.port}"
    secret = "{headers: {Authorization: 'Bearer x', Cookie: 'c=1', 'X-Kept': '1'}}"
    got = w.value(f"(() => {{ const r = http.get('{web}/to?/echo', {secret}); return [r.redirected, r.url, r.json().headers]; }})()")
    equal(got[:2], [True, f"{web}/echo"])
    equal(got[2]["authorization"], "Bearer x", "the same origin gets the credentials")
    headers = w.value(f"http.get('{web}/to?{other}/echo', {secret}).json().headers")
    equal(("authorization" in headers, "cookie" in headers, headers["x-kept"]), (False, False, "1"))
    equal(w.value(f"http.post('{web}/to?/echo', 'body').json().method"), "GET")
    equal(w.value(f"http.get('{web}/to?/echo', {{redirect: 'manual'}}).status"), 302)
    equal(w.code(f"http.get('{web}/to?/echo', {{redirect: 'error'}})"), 502)
    equal(w.code(f"http.get('{web}/loop')"), 502)
    equal(w.code(f"http.get('{tls}/to?{web}/echo')"), 403)
    for target in ("file:///etc/passwd", "gopher://web.test/", "ftp://web.test/"):
        if w.code(f"http.get('{web}/to?{target}')") not in (400, 403):
            raise AssertionError(target)


@claim
def tls_is_always_verified(w: World) -> None:
    answer = w.run(f"http.get('https://other.test:{w.wrong.port}/')")
    equal(answer["code"], 502)
    if "certificate" not in answer["message"].lower():
        raise AssertionError(answer)
    equal(w.wrong.requests, [], "nothing was sent")
    equal(w.code(f"http.get('https://localhost:{w.tls.port}/')", "local"), 502)  # not in the certificate


@claim
def no_address_of_the_inside_can_be_reached(w: World) -> None:
    port, broker = w.web.port, w.node.port
    before = len(w.web.requests)
    hosts = ["127.0.0.1", "127.1", "127.0.1", "0.0.0.0", "0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
             "[0:0:0:0:0:ffff:127.0.0.1]", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
             "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "ip6-localhost", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
             "169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1", "192.168.127.1", "100.100.100.200",
             "224.0.0.1", "255.255.255.255", "[fe80::1]", "[fc00::1]", "%31%32%37.0.0.1", "①②⑦.0.0.1", "user@127.0.0.1",
             "web.test@127.0.0.1", "127.0.0.1#@web.test", "127.0.0.1?@web.test"]
    for host in hosts:
        for target in (port, broker):
            for scheme in ("http", "https"):
                code = w.code(f"http.get({json.dumps(f'{scheme}://{host}:{target}/', ensure_ascii=True)}, {{timeout: 1500}})")
                is_refused = code in (400, 403) or (code == 502 and host in ("localhost.", "ip6-localhost"))  # names machines may not know
                if not is_refused:
                    raise AssertionError(f"{scheme}://{host}:{target}: {code}")
    for scheme in ("file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:1/x", "dict://127.0.0.1/", "ldap://127.0.0.1/",
                   "unix:///run/x", "//127.0.0.1/", "http:///", "http://", "", "x"):
        code = w.code(f"http.request({json.dumps(scheme)})")
        if code not in (400, 403, None):
            raise AssertionError(f"{scheme}: {code}")
    equal(len(w.web.requests), before, "nothing has arrived")
    inside = f"http://web.test:{port}/to?"
    for target in (f"http://127.0.0.1:{port}/", f"http://[::1]:{port}/", f"http://localhost:{port}/",
                   "http://169.254.169.254/latest/meta-data/", f"http://127.0.0.1:{broker}/", "//127.0.0.1/"):
        equal(w.code(f"http.get('{inside}{target}', {{timeout: 1500}})"), 403, f"redirected to {target}")
    if any(request["path"] == "/" for request in w.web.requests[before:]):
        raise AssertionError("a redirect went inside")


@claim
def a_kept_connection_does_not_lend_its_rights(w: World) -> None:
    url = f"http://localhost:{w.web.port}/echo"
    for _ in range(3):
        equal(w.value(f"http.get('{url}').status", "local"), 200)
        equal(w.code(f"http.get('{url}')"), 403)


@claim
def egress_names_what_may_be_reached(w: World) -> None:
    w.node.deploy("narrow", EVAL, ["narrow"], egress=[f"127.0.0.1:{w.web.port}", "*.example.invalid"])
    equal(w.value(f"http.get('http://127.0.0.1:{w.web.port}/').status", "narrow"), 200)
    for url in (f"http://127.0.0.1:{w.tls.port}/", f"http://localhost:{w.tls.port}/", "http://8.8.8.8/"):
        equal(w.code(f"http.get('{url}', {{timeout: 1000}})", "narrow"), 403, url)
    reply = w.node.control(f"ADEPLOY.{w.node.id}", w.node.request_for("bad", b"() => 1", ["bad"], egress=["http://x"]))
    equal(reply.error_code, 400, "a wrong entry is refused when it is deployed")


# What hostile functions try

@claim
def too_much_is_refused_and_the_node_goes_on(w: World) -> None:
    equal(w.code("kv('big').set('k', new Uint8Array(9 << 20))"), 413)
    equal(w.code("kv('big').set('k', new Uint8Array(3 << 20))"), 413)
    reply = w.node.client.request("eval", b"kv('big').set('k', new Uint8Array(100 << 20))", 30)
    if not (reply.error_code == 507 or json.loads(reply.data).get("name") == "RangeError"):
        raise AssertionError(reply.data)
    equal(w.code("messaging.request('nobody.answers', '', {timeout: 300})"), 503)
    w.node.client.subscribe("silence")
    equal(w.code("messaging.request('silence', '', {timeout: 300})"), 408)
    equal(w.value("messaging.requestMany('silence', '', {timeout: 300})"), [])
    many = w.value("Promise.all(Array.from({length: 3000}, (_, i) => fetch('http://web.test:1/').catch((e) => e.code))).then((all) => all.length)")
    equal(many, 3000)
    w.node.deploy("flood", """export default { async message(msg, env) {
      const all = await Promise.all(Array.from({length: 2000}, (_, i) => env.kv('flood').set(`k${i}`, 'v').then(() => 200, (e) => e.code)));
      return JSON.stringify([...new Set(all)].sort());
    } }""", ["flood"])
    equal(json.loads(w.ask("flood")), [200, 503], "some wait, the rest are told so")
    equal(w.value("kv('flood').keys({limit: 100}).length"), 100)
    equal(w.code("(() => { for (let i = 0; i < 100; i++) kv(`many${i}`).keys(); })()", "buckets"), 429)
    equal(w.code("(() => { for (let i = 0; i < 100; i++) objectStore('handles').putStream(`n${i}`); })()"), 429)
    equal(w.value("1 + 1"), 2)


def serve(arguments, folder: pathlib.Path, stack: contextlib.ExitStack) -> World:
    authority = make_authority(folder, "authority")
    make_authority(folder, "stranger")
    web = stack.enter_context(WebServer())
    tls = stack.enter_context(WebServer(make_certificate(folder, "authority", HOSTS)))
    wrong = stack.enter_context(WebServer(make_certificate(folder, "stranger", ["other.test"])))
    flags = ["--http-ca", str(authority), "--resolve", f"webhooks.app:443:127.0.0.1:{tls.port}"]
    for host, port in [("web.test", web.port), ("web.test", tls.port), ("other.test", web.port),
                       ("other.test", wrong.port)]:
        flags += ["--resolve", f"{host}:{port}:127.0.0.1"]
    node = stack.enter_context(Node(arguments.brokkr, arguments.attach, tuple(flags), with_jetstream=True))
    world = World(node, web, tls, wrong)
    node.deploy("eval", EVAL, ["eval"], limits={"wall_time_ms": 20000})
    node.deploy("local", EVAL, ["local"], egress=["localhost"])
    node.deploy("buckets", EVAL, ["buckets"], limits={"wall_time_ms": 20000})
    return world


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("claims", nargs="*")
    arguments = parser.parse_args()
    failed = 0
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="host-services-")))
        world = serve(arguments, folder, stack)
        for function in CLAIMS:
            if arguments.claims and not any(word in function.__name__ for word in arguments.claims):
                continue
            try:
                function(world)
                print(f"ok      {function.__name__}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {function.__name__}\n{traceback.format_exc()}", flush=True)
        if failed:
            print(world.node.log()[-3000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
