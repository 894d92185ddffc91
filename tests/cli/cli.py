#!/usr/bin/env python3
"""Runs the command line against a server and compares what it prints.

Each case says what stdout, stderr and exit code must be once times are masked. Where the original
`nats` CLI is on the machine (NATS_CLI, PATH, .deps/peers/bin) it runs the same cases, so that the
expectations themselves are checked; `ours` marks what differs on purpose.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
from server import Server, is_nats_server  # noqa: E402

PATIENCE_SECONDS = 20
MASKS = [
    (r"^\d\d:\d\d:\d\d ", "TIME "),
    (r"@ \w{3} [ \d]\d \d\d:\d\d:\d\d\.\d{6}", "@ STAMP"),
    (r"nats://127\.0\.0\.1:\d+", "URL"),
    (r"\d+(\.\d+)?(ns|µs|ms|s)\b", "DURATION"),
    (r'"rtt": \d+', '"rtt": N'),
    (r'"time": "[^"]+"', '"time": "T"'),
    (r"\b[0-9A-Za-z]{22}\b", "NUID"),
    (r"\d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"),
    (r"\b\d[\d,.]* msgs/sec ~ .*", "RATE"),
]

# Far beyond what a busy machine takes.
THRESHOLDS = [word for what in ("connect", "rtt", "req")
              for word in (f"--{what}-warn", "20s", f"--{what}-critical", "30s")]

# name, words, stdout, stderr lines (None: any), exit code
CASES = [
    ("publish", ["pub", "cli.none", "hello"], "", ['TIME Published 5 bytes to "cli.none"'], 0),
    ("publish quietly", ["pub", "cli.none", "hello", "-q"], "", [], 0),
    ("publish twice", ["pub", "cli.none", "{{Count}}", "--count", "2"], "",
     ['TIME Published 1 bytes to "cli.none"'] * 2, 0),
    ("publish without templates", ["pub", "cli.none", "{{Count}}", "--no-templates"], "",
     ['TIME Published 9 bytes to "cli.none"'], 0),
    ("request", ["req", "cli.answer", "hello"], "answer to hello\n\n\n",
     ['TIME Sending request on "cli.answer"', "TIME Received with rtt DURATION"], 0),
    ("request raw", ["req", "cli.answer", "hello", "--raw"], "answer to hello\n\n\n", [], 0),
    ("request with headers", ["req", "cli.echo", "x", "-H", "A:b"], "x\n\n\n",
     None, 0),
    ("request with an empty reply", ["req", "cli.echo", ""], "nil body\n\n\n", None, 0),
    ("two requests", ["req", "cli.answer", "{{Count}}", "--count", "2", "--raw"],
     "answer to 1\n\n\nanswer to 2\n\n\n", [], 0),
    ("rtt", ["rtt", "3"], "URL:\n\n   URL: DURATION\n\n", [], 0),
    ("rtt as JSON", ["rtt", "--json", "2"],
     '[\n  {\n    "url": "URL",\n    "results": [\n      {\n        "time": "T",\n        "address": "URL",\n'
     '        "rtt": N,\n        "url": "URL"\n      }\n    ]\n  }\n]\n', [], 0),
    ("check the connection", ["server", "check", "connection", *THRESHOLDS],
     "OK Connection OK:connected to URL in DURATION OK:rtt time DURATION OK:round trip took DURATION"
     " | connect_time=DURATION;20.0000;30.0000 rtt=DURATION;20.0000;30.0000 request_time=DURATION;20.0000;30.0000\n",
     [], 0),
    ("ping the demo service", ["micro", "ping", "DemoSvc"],
     "DemoSvc NUID                     rtt=DURATION\n", [], 0),
    ("an unknown service", ["micro", "info", "Nope"], "", ["PROGRAM: error: no service instances found"], 1),
    ("credentials that are not there", ["pub", "a", "b", "--creds", "x"], "",
     ["PROGRAM: error: nats: open x: no such file or directory"], 1),
    ("no such flag", ["pub", "a", "b", "--cuont", "3"], None, None, 1),
    ("benchmark", ["bench", "pub", "cli.none", "--msgs", "1000", "--no-progress"],
     "\nNATS Core NATS publisher stats: RATE\n\n", None, 0),
]

# What we do otherwise: a request nobody answers is no success.
OURS = [
    ("nobody answers", ["req", "cli.nobody", "x"], "",
     ['TIME Sending request on "cli.nobody"', "TIME No responders are available"], 1),
    ("a late answer", ["req", "cli.slow", "x", "--timeout", "50ms"], "",
     ['TIME Sending request on "cli.slow"', "PROGRAM: error: nats: timeout: no reply within DURATION"], 1),
    ("no server", ["pub", "a", "b", "-s", "nats://127.0.0.1:1"], "",
     ["PROGRAM: error: nats: no servers available for connection: connect to 127.0.0.1:1: Connection refused"], 1),
    ("a mistyped command", ["pubb", "a"], "", ['PROGRAM: error: unknown command "pubb", did you mean "pub"?'], 1),
    ("a mistyped flag", ["pub", "a", "b", "--cuont", "3"], "",
     ['PROGRAM: error: unknown flag "--cuont", did you mean "--count"?'], 1),
    ("a reply as JSON", ["req", "cli.echo", "x", "--json"], None, [], 0),
]

SUBSCRIBED = ('[#1] Received on "cli.sub.a"\nA: b\n\none\n\n\n'
              '[#2] Received on "cli.sub.b" with reply "back"\ntwo\n\n\n'
              '[#3] Received on "cli.sub.c"\nnil body\n\n\n')


def mask(text: str, program: str) -> str:
    lines = []
    for line in text.split("\n"):
        for pattern, replacement in MASKS:
            line = re.sub(pattern, replacement, line)
        lines.append(re.sub(rf"^{program}: error:", "PROGRAM: error:", line))
    return "\n".join(lines)


class Tool:
    def __init__(self, binary: str, url: str, home: str):
        self.binary, self.program = binary, os.path.basename(binary)
        self.environment = dict(os.environ, NATS_URL=url, HOME=home, XDG_CONFIG_HOME=home + "/.config")

    def run(self, words, stdin=""):
        result = subprocess.run([self.binary, *words], input=stdin, capture_output=True, text=True,
                                env=self.environment, timeout=PATIENCE_SECONDS)
        return mask(result.stdout, self.program), mask(result.stderr, self.program), result.returncode

    def start(self, words):
        return subprocess.Popen([self.binary, *words], env=self.environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Background:
    """A tool that runs beside the cases, ready once its first line of stderr or stdout is there."""

    def __init__(self, tool: Tool, words, ready: str):
        self.process = tool.start(words)
        self.lines = {"out": [], "err": []}
        self.is_ready = threading.Event()
        self.threads = [threading.Thread(target=self._read, args=(name, stream, ready), daemon=True)
                        for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))]
        for thread in self.threads:
            thread.start()
        if not self.is_ready.wait(PATIENCE_SECONDS):
            raise RuntimeError(f"{words} did not get ready: {self.lines}")

    def _read(self, name, stream, ready):
        for line in stream:
            self.lines[name].append(line)
            if ready in line:
                self.is_ready.set()

    def finish(self) -> str:
        self.process.wait(PATIENCE_SECONDS)
        for thread in self.threads:
            thread.join()
        return "".join(self.lines["out"])

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)


def check(failures, name, tool, got, wanted):
    if wanted is not None and got != wanted:
        failures.append(f"{tool.program}: {name}\n  wanted {wanted!r}\n  got    {got!r}")


def run_cases(tool: Tool, cases, failures):
    for name, words, stdout, stderr, code in cases:
        got_out, got_err, got_code = tool.run(words)
        check(failures, name + ", stdout", tool, got_out, stdout)
        if stderr is not None:
            check(failures, name + ", stderr", tool, got_err.rstrip("\n").split("\n") if got_err else [], stderr)
        check(failures, name + ", exit code", tool, got_code, code)


def check_subscribe(tool: Tool, failures):
    cases = [([], SUBSCRIBED), (["--raw"], "one\ntwo\nnil body\n"),
             (["--subjects-only"], "\n".join(line for line in SUBSCRIBED.split("\n") if line.startswith("[")) + "\n")]
    for flags, wanted in cases:
        words = ["sub", "cli.sub.>", "--count", "3", *flags]
        if "--raw" in flags:  # it says nothing before its first message
            view = tool.start(words)
            ask_until_heard(tool, "cli.sub.a", "one")
        else:
            view = Background(tool, words, "Subscribing")
            tool.run(["pub", "cli.sub.a", "one", "-H", "A:b"])
        tool.run(["pub", "cli.sub.b", "two", "--reply", "back"])
        tool.run(["pub", "cli.sub.c", ""])
        out = view.finish() if isinstance(view, Background) else view.communicate(timeout=PATIENCE_SECONDS)[0]
        check(failures, "subscribe " + " ".join(flags), tool, out, wanted)


def ask_until_heard(tool: Tool, subject: str, body: str):
    """Sends one message that somebody hears: before, the server answers that nobody does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        _, stderr, _ = tool.run(["req", subject, body, "--raw", "--timeout", "50ms"])
        if "No responders" not in stderr:
            return
    raise RuntimeError(f"nobody subscribes to {subject}")


def check_stdin(tool: Tool, failures):
    view = Background(tool, ["sub", "cli.stdin", "--count", "1"], "Subscribing")
    tool.run(["pub", "cli.stdin"], stdin="from stdin")
    check(failures, "publish from stdin", tool, view.finish(),
          '[#1] Received on "cli.stdin"\nfrom stdin\n\n\n')


def check_restart(tool: Tool, binary: str, failures):
    """A subscriber outlives its server: same port, other process."""
    with Server(binary) as first:
        host, port = first.address()
        own = Tool(tool.binary, f"nats://{host}:{port}", tool.environment["HOME"])
        view = Background(own, ["sub", "cli.restart", "--count", "1"], "Subscribing")
    config = subprocess.Popen([str(make_link(binary)), "-a", host, "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while view.process.poll() is None and time.monotonic() < deadline:
            own.run(["pub", "cli.restart", "again", "-q"])
        check(failures, "subscription after a restart", tool, view.finish(),
              '[#1] Received on "cli.restart"\nagain\n\n\n')
    finally:
        config.terminate()
        config.wait()
        view.process.poll() is None and view.stop()


def make_link(binary: str) -> pathlib.Path:
    link = pathlib.Path(tempfile.mkdtemp(prefix="cli-")) / "nats-server"
    link.symlink_to(pathlib.Path(binary).resolve())
    return link


def find_original() -> str | None:
    for path in (os.environ.get("NATS_CLI"), ROOT / ".deps" / "peers" / "bin" / "nats", shutil.which("nats")):
        if path and os.access(path, os.X_OK) and is_nats_server(str(path)):
            return str(path)
    return None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--server", help="another server to run against")
    args = parser.parse_args()
    binary = args.server or args.brokkr
    failures = []
    with Server(binary) as server, tempfile.TemporaryDirectory() as home:
        ours = Tool(args.brokkr, server.url(), home)
        original = find_original()
        backgrounds = [
            Background(ours, ["reply", "cli.answer", "answer to {{.Request}}"], "Listening"),
            Background(ours, ["reply", "cli.echo", "--echo"], "Listening"),
            Background(ours, ["reply", "cli.slow", "x", "--command", "sleep 1"], "Listening"),
            Background(ours, ["micro", "serve", "DemoSvc"], "Requests Log"),
        ]
        for tool in [ours] + ([Tool(original, server.url(), home)] if original else []):
            run_cases(tool, CASES, failures)
            check_subscribe(tool, failures)
            check_stdin(tool, failures)
        run_cases(ours, OURS, failures)
        check_restart(ours, binary, failures)
        for background in backgrounds:
            background.stop()
    print("\n".join(failures) if failures else
          f"{len(CASES) + len(OURS)} cases, original: {original or 'not on this machine'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
