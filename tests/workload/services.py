#!/usr/bin/env python3
"""Checks services and jobs from outside: deployed by the control API, reached through the broker and
through published ports, let out to what they declare, restarted, limited, watched and stopped.

usage: services.py --brokkr PATH --programs FOLDER [--attach NATS_SERVER] [--only NAME] [--measure]
"""
import argparse
import base64
import hashlib
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from node import ROOT, Node, as_json

sys.path[:0] = [str(ROOT / "tests" / "support")]
from oci_images import Image, layer  # noqa: E402

PROGRAMS = pathlib.Path()


def check(condition, what) -> None:
    if not condition:
        raise AssertionError(what)


def eventually(claim, what, seconds: float = 15):
    deadline = time.monotonic() + seconds
    while not (value := claim()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)
    return value


def program(name: str) -> bytes:
    return (PROGRAMS / name).read_bytes()


def request_for(name: str, artifact: bytes, lifecycle: str, ns: str, **run) -> dict:
    run = {"artifact": base64.b64encode(artifact).decode(), "file_name": "probe",
           "sha256": hashlib.sha256(artifact).hexdigest(), **run}
    return {"name": name, "namespace": ns, "workload_type": "native", "workload_lifecycle": lifecycle,
            "run_request": json.dumps(run)}


def deploy(node: Node, name: str, argv: list[str], *, lifecycle: str = "service", ns: str = "default",
           artifact: bytes = b"", **run) -> dict:
    body = request_for(name, artifact or program("probe"), lifecycle, ns, argv=argv, **run)
    reply = node.control(f"ADEPLOY.{node.id}", body, ns, timeout=30)
    if reply.error_code:
        raise RuntimeError(f"deploy {name}: {reply.data.decode()}")
    return as_json(reply)


def log_of(node: Node, name: str, stream: str = "", ns: str = "default") -> str:
    entries = as_json(node.control(f"WLOGS.{name}", {}, ns))["entries"]
    return "\n".join(e["text"] for e in entries if not stream or e["stream"] == stream)


def wait_log(node: Node, name: str, text: str, seconds: float = 15) -> str:
    def has() -> str:
        log = log_of(node, name)
        return log if text in log else ""
    return eventually(has, lambda: f"{text!r} in the log of {name}:\n{log_of(node, name)}", seconds)


def ask_port(port: int, text: bytes, timeout: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


class Outside:
    """A server on this machine that a program may be allowed to reach."""

    def __init__(self, host: str = "127.0.0.1"):
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        self.count = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            with connection:
                connection.settimeout(5)
                connection.sendall(b"outside says " + connection.recv(1000))

    def __exit__(self, *exc) -> None:
        self.listener.close()

    def __enter__(self) -> "Outside":
        return self


def build_with_go() -> None:
    """The Go program, where Go and its modules are."""
    go = shutil.which("go", path=os.environ["PATH"] + ":/usr/local/go/bin")
    if go is None or (PROGRAMS / "echo_go").exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "tests" / "workload" / "programs" / "echo.go", folder)
        cache = pathlib.Path(subprocess.run([go, "env", "GOMODCACHE"], capture_output=True, text=True).stdout.strip())
        versions = sorted(cache.glob("github.com/nats-io/nats.go@v*"), key=lambda path: path.stat().st_mtime)
        for version in reversed(versions):
            (pathlib.Path(folder) / "go.mod").write_text(
                f"module echo\ngo 1.25\nrequire github.com/nats-io/nats.go {version.name.split('@')[1]}\n")
            built = subprocess.run([go, "build", "-o", str(PROGRAMS / "echo_go"), "."], cwd=folder,
                                   capture_output=True, text=True, timeout=120,
                                   env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off",
                                                     "GOSUMDB": "off"})
            if built.returncode == 0:
                return
        print("no Go program: its modules are not here")


def test_echo_service(node: Node) -> None:
    build_with_go()
    for name in ("echo_service", "echo_static", "echo_go"):
        if not (PROGRAMS / name).exists():
            continue
        run = subprocess.Popen([ARGS.brokkr, "devrun", str(PROGRAMS / name), "--name", "echo",
                                "-s", f"nats://127.0.0.1:{node.port}"], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT)
        answer = eventually(lambda: node.client.request("svc.echo", b"can you repeat?").data,
                            lambda: f"{name} answers: {log_of(node, 'echo')}")
        check(answer == b"can you repeat?", answer)
        found = as_json(node.client.request("$SRV.PING.EchoService"))
        check(found["name"] == "EchoService", found)
        listed = subprocess.run([ARGS.brokkr, "micro", "ls", "-s", f"nats://127.0.0.1:{node.port}"],
                                capture_output=True, text=True, timeout=30)
        check("EchoService" in listed.stdout, f"micro ls: {listed.stdout}{listed.stderr}")
        run.terminate()
        run.communicate(timeout=20)
        if as_json(node.control("WPING", {})):
            node.undeploy("echo")
        eventually(lambda: node.client.request("svc.echo", b"x").headers.get("Status") == "503",
                   f"{name} is gone")


def test_shared_libraries(node: Node) -> None:
    if not (PROGRAMS / "echo_library").exists():
        return
    deploy(node, "library", [], artifact=program("echo_library"))
    wait_log(node, "library", "library echo is ready")
    check(node.client.request("svc.library", b"x" * 5000).data == b"x" * 5000, "the library's client echoes")
    node.undeploy("library")


def test_environment_and_info(node: Node) -> None:
    deploy(node, "env", ["env"], lifecycle="job", environment={"GREETING": "hello", "HOME": "/elsewhere"})
    lines = wait_log(node, "env", "end of environment").splitlines()
    for line in ("NATS_URL=nats://192.168.127.1:4222", "GREETING=hello", "HOME=/elsewhere", "TMPDIR=/tmp",
                 "NEX_WORKLOAD_NAMESPACE=default"):
        check(line in lines, f"{line} is not among {lines}")
    check(not [line for line in lines if line.startswith(("USER=", "PWD=", "SHELL="))], lines)
    facts = node.info("env")
    check(facts["program"]["isolation"] == "sandbox", facts)
    node.undeploy("env")


def test_jobs_end_with_a_code(node: Node) -> None:
    client = node.connect()
    client.subscribe("$NEX.FEED.default.events.>")
    client.flush()
    for code in (0, 3):
        deployed = deploy(node, f"job{code}", ["exit", str(code)], lifecycle="job")
        while not (event := client.next("$NEX.FEED.default.events.>")).subject.endswith("WORKLOADSTOPPED") \
                or as_json(event)["id"] != deployed["id"]:
            pass
        facts = as_json(event)
        check(facts["id"] == deployed["id"] and facts["exit_code"] == code, facts)
        check(("error" in facts) == (code != 0), facts)
        info = node.info(f"job{code}")
        check(info["program"]["exit_code"] == code and info["program"]["runs"] == 1, info)
        check(info["workload_state"] == ("error" if code else "stopped"), info)
        node.undeploy(f"job{code}")
    client.close()


def test_a_job_is_tried_again(node: Node) -> None:
    deploy(node, "again", ["exit", "4"], lifecycle="job",
           restart={"policy": "on-failure", "attempts_max": 3, "backoff_ns": 10_000_000})
    facts = eventually(lambda: (f := node.info("again"))["workload_state"] == "error" and
                       f["program"]["runs"] == 3 and f, lambda: node.info("again"))
    check(facts["restarts"] == 2, facts)
    node.undeploy("again")


def test_crashes_back_off(node: Node) -> None:
    client = node.connect()
    client.subscribe("$NEX.FEED.default.events.WORKLOADEXITED")
    client.flush()
    deploy(node, "crasher", ["crash"])
    pauses = []
    while len(pauses) < 4:
        event = as_json(client.next("$NEX.FEED.default.events.WORKLOADEXITED", 20))
        check(event["exit_code"] == 134 and event["starts_again"], event)
        pauses.append(event["pause_ms"])
    for i, pause in enumerate(pauses):
        check(100 * 2**i <= pause <= 130 * 2**i, pauses)
    check("signal 6 (Aborted), starts again in" in log_of(node, "crasher", "stderr"), log_of(node, "crasher"))
    check(node.undeploy("crasher")["stopped"], "stops between two runs too")
    client.close()


def test_memory_limit_kills(node: Node) -> None:
    deploy(node, "eater", ["eat"], lifecycle="job", resources={"memory_bytes": 32 << 20})
    log = wait_log(node, "eater", "killed for its memory")
    check("32 MiB" in log, log)
    facts = node.info("eater")["program"]
    check(facts["memory_kills"] == 1 and facts["memory_bytes_max"] == 32 << 20, facts)
    node.undeploy("eater")


def processes_of(node: Node, name: str) -> list[int]:
    """All that run the program, wherever they hang in the tree."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if f"/programs/" in os.readlink(entry / "exe") or "/app/probe" in os.readlink(entry / "exe"):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if name.encode() in command:
                    found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_stop_ends_grandchildren(node: Node) -> None:
    mark = f"mark{os.getpid()}"
    deploy(node, "family", ["forks", mark])
    wait_log(node, "family", "grandchildren are there")
    check(len(processes_of(node, mark)) >= 4, processes_of(node, mark))
    check(node.undeploy("family")["stopped"], "stopped")
    eventually(lambda: not processes_of(node, mark), lambda: f"still there: {processes_of(node, mark)}", 5)


def test_stop_is_gentle_then_firm(node: Node) -> None:
    deploy(node, "gentle", ["gentle"])
    wait_log(node, "gentle", "up")
    client = node.connect()
    client.subscribe("$NEX.FEED.default.logs.>")
    client.flush()
    node.undeploy("gentle")
    check(client.next("$NEX.FEED.default.logs.>").data == b"going", "it heard of it")
    client.close()
    deploy(node, "stubborn", ["stubborn"], stop_grace_ns=300_000_000)
    wait_log(node, "stubborn", "up")
    begin = time.monotonic()
    check(node.undeploy("stubborn")["stopped"], "stopped")
    check(0.25 < time.monotonic() - begin < 5, "it had its grace and no more")


def test_published_ports(node: Node) -> None:
    deploy(node, "server", ["serve", "8080"], ports=["0:8080"])
    facts = node.info("server")
    port = int(facts["program"]["ports"][0].split(":")[1])
    wait_log(node, "server", "listening")
    check(ask_port(port, b"hi ") == b"hi bye", "one connection")
    big = os.urandom(4 << 20)
    check(ask_port(port, big, 60) == big + b"bye", "4 MiB there and back")
    shown = subprocess.run([ARGS.brokkr, "info", "server", "-s", f"nats://127.0.0.1:{node.port}"],
                           capture_output=True, text=True, timeout=20).stdout
    check("Isolation: sandbox" in shown and f"127.0.0.1:{port}:8080" in shown, shown)
    reply = node.control(f"ADEPLOY.{node.id}", request_for(
        "rival", program("probe"), "service", "default", argv=["serve", "80"], ports=[f"{port}:80"]))
    check(reply.error_code == 400 and b"is published by default/server" in reply.data, reply.data)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        reply = node.control(f"ADEPLOY.{node.id}", request_for(
            "rival", program("probe"), "service", "default", argv=["serve", "80"], ports=[f"{number}:80"]))
        check(reply.error_code and b"in use" in reply.data, reply.data)
    # A new version takes the port over.
    deploy(node, "server", ["serve", "9090"], ports=[f"{port}:9090"])
    wait_log(node, "server", "listening")
    eventually(lambda: ask_port(port, b"new ") == b"new bye", "the new version answers")
    node.undeploy("server")


def test_egress_is_what_is_declared(node: Node) -> None:
    with Outside() as outside, Outside() as other:
        allowed = f"127.0.0.1:{outside.port}"
        deploy(node, "out", ["fetch", "127.0.0.1", str(outside.port)], lifecycle="job", egress=[allowed])
        wait_log(node, "out", "outside says hello")
        deploy(node, "out2", ["fetch", "127.0.0.1", str(other.port)], lifecycle="job", egress=[allowed])
        wait_log(node, "out2", "fetch 127.0.0.1")
        check("outside says" not in log_of(node, "out2"), log_of(node, "out2"))
        deploy(node, "out3", ["fetch", "127.0.0.1", str(other.port)], lifecycle="job")
        wait_log(node, "out3", "fetch 127.0.0.1")
        check(other.count == 0, "nothing undeclared was reached")
        for name in ("out", "out2", "out3"):
            node.undeploy(name)
    with Outside("0.0.0.0") as named:
        host = socket.gethostname()
        deploy(node, "out5", ["fetch", host, str(named.port)], lifecycle="job", egress=[f"{host}:{named.port}"])
        wait_log(node, "out5", "outside says hello")
        facts = node.info("out5")["program"]
        check(facts["egress_connections"] == 1 and facts["egress_refused"] == 0, facts)
        node.undeploy("out5")
    deploy(node, "out6", ["fetch", "127.0.0.1", str(node.port)], lifecycle="job", egress=[f"127.0.0.1:{node.port}"])
    wait_log(node, "out6", "which NATS_URL leads to")
    node.undeploy("out6")
    # A name leads to where it leads, and what is private needs naming as such by its owner.
    deploy(node, "out4", ["fetch", "no-such-host.invalid", "80"], lifecycle="job",
           egress=["no-such-host.invalid"])
    wait_log(node, "out4", "egress to no-such-host.invalid:80 failed")
    node.undeploy("out4")


def test_egress_to_ranges(node: Node) -> None:
    host = socket.gethostname()

    def fetch(name: str, to: str, port: int, egress: str, text: str) -> None:
        deploy(node, name, [to, str(port)], artifact=program("fetch_library"), lifecycle="job", egress=[egress])
        wait_log(node, name, text)

    with Outside("0.0.0.0") as outside:
        port = outside.port
        fetch("net", "127.0.0.1", port, f"127.0.0.0/8:{port}", "outside says hello")
        check(node.info("net")["program"]["egress"] == [f"127.0.0.0/8:{port}"], node.info("net"))
        # Any name may lead into a network; where it leads decides.
        fetch("net2", host, port, f"{socket.gethostbyname(host)}/31:{port}", "outside says hello")
        fetch("net3", host, port, f"10.0.0.0/8:{port}", f"egress to {host}:{port} failed: its address")
        fetch("net4", "no-such-host.invalid", port, f"*.invalid:{port}", "egress to no-such-host.invalid:")
        fetch("net5", host, port, f"*.invalid:{port}", f"fetched {host}: ")
        check("egress to" not in log_of(node, "net5"), log_of(node, "net5"))
    names = ["net", "net2", "net3", "net4", "net5"]
    if pathlib.Path("/proc/net/if_inet6").exists():
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        outside.listener = listener
        threading.Thread(target=outside._serve, daemon=True).start()
        port = listener.getsockname()[1]
        fetch("six", "::1", port, f"[::1]:{port}", "outside says hello")
        fetch("six2", "::1", port, f"[::/64]:{port}", "outside says hello")
        listener.close()
        names += ["six", "six2"]
    for name in names:
        node.undeploy(name)


def test_health_checks(node: Node) -> None:
    health = {"command": ["/app/probe", "exists", "/tmp/well"], "interval_ns": 50_000_000,
              "timeout_ns": 2_000_000_000, "retries": 2}
    deploy(node, "patient", ["ill", "600"], health=health, restart={"backoff_ns": 10_000_000})
    check(node.info("patient")["program"]["health"] == "healthy", node.info("patient"))
    facts = eventually(lambda: (f := node.info("patient"))["restarts"] >= 1 and f, "it is started again")
    check("unhealthy" in facts["last_error"], facts)
    node.undeploy("patient")
    deploy(node, "served", ["serve", "7000"], health={"type": "tcp", "port": 7000, "interval_ns": 50_000_000})
    check(node.info("served")["program"]["health"] == "healthy", node.info("served"))
    node.undeploy("served")
    deploy(node, "echo", [], artifact=program("echo_service"), health={"service": "EchoService"})
    check(node.info("echo")["program"]["health"] == "healthy", node.info("echo"))
    node.undeploy("echo")
    reply = node.control(f"ADEPLOY.{node.id}", request_for(
        "never", program("probe"), "service", "default", argv=["sleep"],
        health={"type": "tcp", "port": 7001, "interval_ns": 20_000_000, "retries": 2}))
    check(reply.error_code and b"unhealthy" in reply.data, reply.data)


def test_volumes_outlive_programs(node: Node) -> None:
    for runs in (1, 2, 3):
        deploy(node, "keeper", ["append", "/data/count"], lifecycle="job", volumes={"data": "/data"})
        wait_log(node, "keeper", f"runs: {runs}")
    node.undeploy("keeper")


def test_logs(node: Node) -> None:
    client = node.connect()
    client.subscribe("$NEX.FEED.one.logs.>")
    client.flush()
    deployed = deploy(node, "talker", ["lines", "3"], lifecycle="job", ns="one")
    seen = [client.next("$NEX.FEED.one.logs.>") for _ in range(4)]
    prefix = f"$NEX.FEED.one.logs.{deployed['id']}."
    check([m.data for m in seen if m.subject == prefix + "stdout"] == [b"line 0", b"line 1", b"line 2"], seen)
    check([m.data for m in seen if m.subject == prefix + "stderr"] == [b"and an error"], seen)
    check(seen[0].headers.get("synadia.com/namespace") == "one", seen[0].headers)
    node.undeploy("talker", "one")
    deploy(node, "flood", ["lines", "200000"], lifecycle="job")
    eventually(lambda: node.info("flood")["program"]["runs"] == 1, "it ends although it floods", 30)
    check(node.info("flood")["log_lines_dropped"] > 100_000, node.info("flood"))
    node.undeploy("flood")
    client.close()


def image_of(node: Node, name: str, run: dict) -> str:
    """An image of busybox in a folder on this machine; its URI."""
    busybox = pathlib.Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    base = layer(("bin", None), ("bin/busybox", busybox, 0o755), ("bin/sh", "-> busybox"),
                 ("etc", None), ("etc/passwd", b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n", 0o644),
                 ("etc/group", b"root:x:0:\napp:x:1000:\n", 0o644), ("tmp", None, 0o1777))
    top = layer(("bin/only", b"#!/bin/sh\necho from an upper layer\n", 0o755))
    image = Image([base, top], run, {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])
    return f"oci:{image.write_layout(node.folder / name)}"


def deploy_image(node: Node, name: str, uri: str, lifecycle: str = "job", **run) -> dict:
    body = {"name": name, "namespace": "default", "workload_type": "oci", "workload_lifecycle": lifecycle,
            "run_request": json.dumps({"uri": uri, **run})}
    reply = node.control(f"ADEPLOY.{node.id}", body, timeout=60)
    if reply.error_code:
        raise RuntimeError(f"deploy {name}: {reply.data.decode()}")
    return as_json(reply)


def test_images(node: Node) -> None:
    script = ("only; echo user $(id -u):$(id -g) in $(pwd) has $COLOUR; echo x > /tmp/new && echo wrote;"
              "echo y > /bin/only && echo its own; echo $0 $@")
    uri = image_of(node, "image", {"Entrypoint": ["/bin/sh", "-c", script, "entry"], "Cmd": ["first"],
                                   "Env": ["COLOUR=blue", "PATH=/bin"], "WorkingDir": "/etc"})
    # Root of the image is nobody outside, and owns what root owns in the layers.
    deploy_image(node, "whole", uri)
    eventually(lambda: node.info("whole")["program"]["runs"] == 1, "it ends")
    lines = log_of(node, "whole").splitlines()
    for line in ("from an upper layer", "user 0:0 in /etc has blue", "wrote", "its own", "entry first"):
        check(line in lines, f"{line!r} is not in {lines}")
    check(len(node.info("whole")["sha256"]) == 64, node.info("whole"))
    deploy_image(node, "changed", uri, user="app", workdir="/tmp", argv=["second"],
                 environment={"COLOUR": "red"})
    eventually(lambda: node.info("changed")["program"]["runs"] == 1, "it ends")
    lines = log_of(node, "changed").splitlines()
    for line in ("from an upper layer", "user 1000:1000 in /tmp has red", "wrote", "entry second"):
        check(line in lines, f"{line!r} is not in {lines}")
    check("changed" not in lines, "another user may not write everywhere")
    uri = image_of(node, "server", {"Cmd": ["/bin/sh", "-c",
                                            "while true; do echo hello | busybox nc -l -p 80; done"],
                                    "Env": ["PATH=/bin"]})
    deploy_image(node, "web", uri, "service", ports=["0:80"], entrypoint=[])
    port = int(node.info("web")["program"]["ports"][0].split(":")[1])
    eventually(lambda: ask_port(port, b"") == b"hello\n", "the image's server answers")
    for name in ("whole", "changed", "web"):
        node.undeploy(name)
    for uri, text in (("oci:/no/such/folder", "/no/such/folder"), ("image:nothing", "nothing")):
        try:
            deploy_image(node, "absent", uri)
        except RuntimeError as error:
            check(text in str(error), error)
            continue
        raise AssertionError(f"{uri} was deployed")


def test_least_privilege(node: Node) -> None:
    for subject, allowed in (("orders.new", True), ("other", False), ("$SYS.x", False)):
        name = "poster"
        deploy(node, name, ["publish", subject, "x"], lifecycle="job", grants={"publish": ["orders.>"]})
        eventually(lambda: node.info(name)["program"]["runs"] == 1, "it ends")
        code = node.info(name)["program"]["exit_code"]
        check((code == 0) == allowed, f"{subject}: {code}\n{log_of(node, name)}")
        if not allowed:
            check("Permissions Violation" in log_of(node, name), log_of(node, name))
        node.undeploy(name)


def test_mistakes_are_named(node: Node) -> None:
    def refused(text: str, artifact: bytes = b"", lifecycle: str = "service", **run) -> None:
        reply = node.control(f"ADEPLOY.{node.id}", request_for(
            "mistake", artifact or program("probe"), lifecycle, "default", **run))
        check(reply.error_code == 400 and text in reply.data.decode(), f"{text}: {reply.data}")
    refused("neither an ELF program nor a script", b"hello")
    refused("Windows", b"MZ" + b"\0" * 100)
    refused("s390x", b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\x16\0" + b"\0" * 44)
    refused("is not in its sandbox", b"#!/bin/sh\necho hi\n")
    refused("lifecycle", lifecycle="function")
    refused("nothing can be connected", egress=["[fe80::1]:80"])
    refused("without a sandbox", isolation="none")
    check(all(w["name"] != "mistake" for w in as_json(node.control("WPING", {}))), "left behind")


def test_nothing_is_left(node: Node) -> None:
    data = node.folder / "data"
    eventually(lambda: not list((data / "programs").glob("*")), lambda: list((data / "programs").glob("*")))


def test_nothing_leaks(node: Node) -> None:
    def descriptors() -> int:
        return len(list(pathlib.Path(f"/proc/{node.pid}/fd").iterdir()))

    def round_trip() -> None:
        deploy(node, "leaky", ["serve", "8080"], ports=["0:8080"], egress=["127.0.0.1:9"])
        wait_log(node, "leaky", "listening")
        port = int(node.info("leaky")["program"]["ports"][0].split(":")[1])
        with socket.create_connection(("127.0.0.1", port)) as connection:  # open when it is stopped
            connection.sendall(b"x")
            check(connection.recv(10) == b"x", "an echo")
            node.undeploy("leaky")
            check(connection.recv(10) in (b"", b"bye"), "the connection goes with the program")
    round_trip()
    before = descriptors()
    for _ in range(15):
        round_trip()
    eventually(lambda: descriptors() <= before + 2, lambda: f"{before} descriptors, then {descriptors()}", 5)


def test_nothing_survives_the_node(_: Node) -> None:
    mark = f"orphan{os.getpid()}"
    with Node(ARGS.brokkr, ARGS.attach) as node:
        deploy(node, "family", ["forks", mark])
        wait_log(node, "family", "grandchildren are there")
        check(len(processes_of(node, mark)) >= 4, processes_of(node, mark))
        os.kill(node.pid, signal.SIGKILL)
        eventually(lambda: not processes_of(node, mark), lambda: f"still there: {processes_of(node, mark)}", 5)


def test_a_job_is_not_run_again(_: Node) -> None:
    with Node(ARGS.brokkr, ARGS.attach, with_jetstream=True) as node:
        deploy(node, "once", ["append", "/data/count"], lifecycle="job", volumes={"data": "/data"})
        deploy(node, "server", ["serve", "8080"])
        runs = node.folder / "data/volumes/default/once/data/count"
        status = eventually(lambda: (s := as_json(node.control("STATUS.once", {})))["state"] == "complete" and s,
                            lambda: node.control("STATUS.once", {}).data)
        eventually(lambda: "completed" in node.control("STATUS.once", {}).data.decode(), status)
        process = node.processes.pop()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        node._spawn(node.command, "again.log")

        def is_back() -> bool:
            try:
                node.client = node.connect()
                listed = as_json(node.control("WPING", {}, timeout=1))
            except (OSError, TimeoutError, ValueError):
                return False
            return any(w["name"] == "server" and w["workload_state"] == "running" for w in listed)
        eventually(is_back, "the service is back")
        check(runs.read_text() == "x", f"{len(runs.read_text())} runs")
        shown = node.control("STATUS.once", {}).data.decode()
        check("completed" in shown and "runs: 1" in shown, shown)


def test_without_a_sandbox(_: Node) -> None:
    with Node(ARGS.brokkr, ARGS.attach, ("--sandbox=off",)) as node:
        deploy(node, "open", ["publish", "orders.x", "y"], lifecycle="job", isolation="none",
               grants={"publish": ["orders.>"]})
        eventually(lambda: node.info("open")["program"]["runs"] == 1, "it ends")
        facts = node.info("open")["program"]
        check(facts["exit_code"] == 0 and facts["isolation"] == "none", f"{facts}\n{log_of(node, 'open')}")
        deploy(node, "open2", ["publish", "other", "y"], lifecycle="job", isolation="none",
               grants={"publish": ["orders.>"]})
        eventually(lambda: node.info("open2")["program"]["runs"] == 1, "it ends")
        check(node.info("open2")["program"]["exit_code"] == 9, log_of(node, "open2"))


def measure(node: Node, count: int = 50) -> None:
    """Time from the deploy request to its answer, which comes when the program runs."""
    uri = image_of(node, "measured", {"Cmd": ["/bin/busybox", "sleep", "1000"]})
    kinds = {"a native service": lambda name: deploy(node, name, ["sleep"]),
             "an image": lambda name: deploy_image(node, name, uri, "service")}
    for kind, start in kinds.items():
        start("first")  # unpacks, warms
        node.undeploy("first")
        times = []
        for i in range(count):
            begin = time.monotonic()
            start(f"m{i}")
            times.append((time.monotonic() - begin) * 1000)
        for i in range(count):
            node.undeploy(f"m{i}")
        times.sort()
        print(f"start of {kind}: p50 {times[count // 2]:.1f} ms, p90 {times[count * 9 // 10]:.1f} ms, "
              f"min {times[0]:.1f} ms over {count}")


def main() -> int:
    failures = 0
    with Node(ARGS.brokkr, ARGS.attach, with_jetstream=True) as node:
        if ARGS.measure:
            measure(node)
            return 0
        for name, test in sorted(globals().items()):
            if not name.startswith("test_") or (ARGS.only and ARGS.only not in name):
                continue
            begin = time.monotonic()
            try:
                test(node)
                print(f"ok   {name} ({time.monotonic() - begin:.1f} s)")
            except Exception:
                failures += 1
                print(f"FAIL {name}\n{traceback.format_exc()}")
        if failures:
            print(node.log())
    print(f"{failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--attach", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--measure", action="store_true")
    ARGS = parser.parse_args()
    PROGRAMS = ARGS.programs.resolve()
    sys.exit(main())
