#!/usr/bin/env python3
"""What a node tells of its workloads: last calls, metrics, traces sent to a collector, HTTP triggers.

usage: observability.py --brokkr PATH [--attach NATS_SERVER] [--only WORD]
"""
import argparse
import http.server
import json
import re
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request

from node import Node, as_json

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def check(condition, what) -> None:
    if not condition:
        raise AssertionError(what)


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP over HTTP and keeps the spans."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[dict] = []
        self.resources: list[dict] = []
        self.changed = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait_for(self, wanted, what: str, seconds: float = 20) -> list[dict]:
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (found := wanted(self.spans)):
                if not self.changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no {what} among {[(s['name'], s['traceId']) for s in self.spans]}")
            return found


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.changed:
            for resource in body["resourceSpans"]:
                self.server.resources.append(attributes(resource["resource"]))
                for scope in resource["scopeSpans"]:
                    self.server.spans += scope["spans"] if self.path == "/v1/traces" else []
            self.server.changed.notify_all()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words):
        pass


def attributes(span: dict) -> dict:
    return {a["key"]: a["value"]["stringValue"] for a in span["attributes"]}


def scrape(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}


def test_the_last_calls_are_kept(node: Node, **_) -> None:
    node.deploy("kept", "(s, p) => { if (p.length === 0) throw new Error('empty\\nmore'); return p.length; }", ["kept.*"])
    for i in range(120):
        node.client.request(f"kept.{i}", b"x" * (i % 3))
    answer = as_json(node.control("INVOCATIONS.kept", {}))
    calls = answer["invocations"]
    check(answer["name"] == "kept" and answer["node_id"] == node.id and len(calls) == 100, answer)
    check([c["subject"] for c in calls[:2]] == ["kept.119", "kept.118"], calls[:2])
    check(calls[0]["payload_bytes"] == 2 and calls[0]["code"] == 200 and calls[0]["duration_ns"] > 0, calls[0])
    failed = as_json(node.control("INVOCATIONS.kept", {"limit": 5, "errors": True}))["invocations"]
    check(len(failed) == 5 and all(c["code"] == 500 and c["error"] == "Error: empty more" for c in failed), failed)
    info = node.info("kept")
    check((info["calls"], info["errors"]) == (120, 40) and 0 < info["p50_ns"] <= info["p99_ns"], info)
    check(info["cpu_ns"] > 0, info)


def test_failures_are_events_at_a_bounded_rate(node: Node, **_) -> None:
    client = node.connect()
    client.subscribe("$NEX.FEED.default.events.FUNCTIONEXECFAILED")
    client.flush()
    node.deploy("failing", "() => { throw new RangeError('always'); }", ["failing"])
    for _i in range(50):
        node.client.request("failing", b"x")
    told = json.loads(client.next("$NEX.FEED.default.events.FUNCTIONEXECFAILED", 10).data)
    check((told["workload_name"], told["trigger_subject"], told["error"], told["code"]) ==
          ("failing", "failing", "RangeError: always", 500), told)
    check(client.drop("$NEX.FEED.default.events.FUNCTIONEXECFAILED") <= 19, "ten a second")
    client.close()


def test_metrics_count_once(node: Node, metrics: str, **_) -> None:
    node.deploy("measured", "(s, p) => { if (p.length === 0) throw 1; return 'ok'; }", ["measured"])
    for i in range(10):
        node.client.request("measured", b"" if i < 3 else b"12")
    found = {re.sub(r'node="[^"]*",', "", key): value for key, value in scrape(metrics).items()}
    labels = 'namespace="default",name="measured",type="v8",slot="0"'
    wanted = {"calls_total": 10, "payload_bytes_total": 14, "reply_bytes_total": 28, "up": 1, "instances": 1,
              "call_duration_seconds_count": 10}
    for name, value in wanted.items():
        check(found.get(f"brokkr_workload_{name}{{{labels}}}") == value, (name, value, [k for k in found if "measured" in k]))
    check(found[f'brokkr_workload_errors_total{{{labels},code="500"}}'] == 3, found)
    check(found[f'brokkr_workload_call_duration_seconds_bucket{{{labels},le="+Inf"}}'] == 10, found)
    check(found[f"brokkr_workload_cpu_seconds_total{{{labels}}}"] > 0, "CPU time")
    check(found[f"brokkr_workload_memory_bytes{{{labels}}}"] > 0, "memory")


def test_traces_go_through_functions(node: Node, collector: Collector, **_) -> None:
    node.deploy("outer", """export default { async message(msg, env) {
      await new Promise((r) => setTimeout(r, 5));
      const answer = await env.messaging.request("inner", msg.headers.get("traceparent"));
      return answer.text?.() ?? String(answer); } }""", ["outer"])
    node.deploy("inner", "export default { message(msg) { return msg.headers.get('traceparent'); } }", ["inner"])
    trace, parent = PARENT.split("-")[1:3]
    node.client.request("outer", b"", headers=[("traceparent", PARENT), ("tracestate", "a=1")])
    names = {"invoke outer", "messaging.request", "invoke inner"}
    spans = collector.wait_for(lambda spans: [s for s in spans if s["traceId"] == trace] if
                               names <= {s["name"] for s in spans if s["traceId"] == trace} else None, f"trace with {names}")
    by_name = {s["name"]: s for s in spans}
    outer, call, inner = by_name["invoke outer"], by_name["messaging.request"], by_name["invoke inner"]
    check(outer["parentSpanId"] == parent and outer["kind"] == 5 and outer["traceState"] == "a=1", outer)
    check(call["parentSpanId"] == outer["spanId"] and call["kind"] == 3, call)
    check(inner["parentSpanId"] == call["spanId"], inner)
    check(attributes(outer)["messaging.destination.name"] == "outer", outer)
    check(int(outer["startTimeUnixNano"]) <= int(inner["startTimeUnixNano"]) <= int(outer["endTimeUnixNano"]), spans)
    check(collector.resources[0]["service.name"] == "brokkr", collector.resources)
    kept = as_json(node.control("INVOCATIONS.outer", {}))["invocations"][0]
    check(kept["trace_id"] == trace, kept)
    # Side by side: each of two calls keeps its own.
    others = [f"00-{i:032x}-{i:016x}-01" for i in (1, 2)]
    replies = [node.client.send_request("outer", b"", [("traceparent", t)]) for t in others]
    answers = [node.client.wait_reply(r).data.decode() for r in replies]
    for wanted, answer in zip(others, answers):
        check(wanted.split("-")[1] in answer, (wanted, answer))
    # What an address holds beside the place stays here.
    node.deploy("caller", "async () => { try { await fetch('http://me:secret@127.0.0.1:1/x?token=secret'); } catch (e) {} return 1; }",
                ["caller"])
    node.client.request("caller", b"")
    went = collector.wait_for(lambda spans: [s for s in spans if s["name"].startswith("http.")], "HTTP call")[0]
    check(attributes(went)["brokkr.target"] == "http://127.0.0.1:1/x", went)
    # A caller that does not sample is not sampled; no trace at all is a new one.
    node.client.request("inner", b"", headers=[("traceparent", PARENT[:-2].replace("4b", "4c") + "00")])
    begun = node.client.request("inner", b"").data.decode().split("-")[1]
    collector.wait_for(lambda spans: [s for s in spans if s["traceId"] == begun], "new trace")
    check(not [s for s in collector.spans if s["traceId"].startswith("4c")], "not sampled")
    control = collector.wait_for(lambda spans: [s for s in spans if s["name"] == "control ADEPLOY"], "span of a deploy")[0]
    check(control["kind"] == 2 and attributes(control)["brokkr.code"] == "200", control)


def test_http_triggers(node: Node, triggers: str, **_) -> None:
    node.deploy("web", """export default { message(msg, env) {
      const at = (name) => msg.headers.get(name);
      if (msg.text() === "throw") throw new Error("no");
      return new Response(JSON.stringify([msg.subject, at("Nats-Brokkr-Http-Method"), at("Nats-Brokkr-Http-Query"), at("x-mine"),
                                          msg.text(), at("Nats-Msg-Id")]),
                          { status: msg.text() ? 201 : 200, headers: { "Content-Type": "application/json", "X-Out": "1" } });
    } }""", [{"type": "http", "path": "/web/*"}])

    def ask(path: str, body: bytes | None = None, **headers) -> tuple[int, dict, bytes]:
        request = urllib.request.Request(triggers + path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()
    status, headers, body = ask("/web/a/b?x=1&y", b"body", **{"X-Mine": "2", "Nats-Msg-Id": "forged"})
    check((status, json.loads(body)) == (201, ["/web/a/b", "POST", "x=1&y", "2", "body", None]), (status, body))
    check(headers["X-Out"] == "1" and headers["Content-Type"] == "application/json", headers)
    check(json.loads(ask("/web/")[2])[1] == "GET", "GET")
    status, _headers, body = ask("/web/a", b"throw")
    check((status, json.loads(body)["error"]["message"]) == (500, "Error: no"), (status, body))
    check(ask("/elsewhere")[0] == 404, "no function there")
    try:
        node.deploy("thief", "() => 1", [{"type": "http", "path": "/web/*"}])
        raise AssertionError("a path was taken twice")
    except RuntimeError as error:
        check("default/web" in str(error), error)
    node.deploy("theirs", "() => 'theirs'", [{"type": "http", "path": "/web/*"}], ns="acme")
    check(ask("/ns/acme/web/x")[2] == b'"theirs"', "another namespace's path")
    node.deploy("web", "(subject) => 'new'", [{"type": "http", "path": "/web/*"}])
    check(ask("/web/x")[2] == b'"new"', "a newer version has the path")
    node.undeploy("web")
    check(ask("/web/x")[0] == 404, "gone with its function")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    collector = Collector()
    flags = ["--otlp-endpoint", f"http://127.0.0.1:{collector.server_address[1]}", "--http-triggers", "0"]
    flags += ["--metrics-port", "0"] if options.attach else ["-m", "-1"]
    flags += ["--cold-start"] if options.cold else []
    failed = 0
    with Node(options.brokkr, options.attach, tuple(flags)) as node:
        log = node.log()
        port = re.search(r"metrics on http://127.0.0.1:(\d+)" if options.attach else r"http monitor on [\d.]+:(\d+)", log)[1]
        more = {"collector": collector, "metrics": f"http://127.0.0.1:{port}/metrics",
                "triggers": re.search(r"HTTP triggers on (\S+)", log)[1]}
        for name, test in [(n, t) for n, t in globals().items() if n.startswith("test_") and options.only in n]:
            begin = time.monotonic()
            try:
                test(node, **more)
                print(f"ok   {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"FAIL {name}\n{traceback.format_exc()}{node.log()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
