#!/usr/bin/env python3
"""TLS on the client port and the monitoring port, as clients see it.

    tls.py --brokkr PATH [--only NAME ...] [--seed N]

Every claim that does not say so of itself is checked against nats-server too, where there is one.
The hostile ones (--list shows them) are about our server only: it must live, answer a new client, and
have given the memory back.
"""
import argparse
import hashlib
import json
import pathlib
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
import server as servers  # noqa: E402
from certificates import Authority  # noqa: E402

DEADLINE_SECONDS = 20.0
CONNECT = b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n'
HALF_OPEN = 1000
HALF_OPEN_KIB_MAX = 32


class Bench:
    """A server with certificates beside it."""

    def __init__(self, binary: str, folder: pathlib.Path, config: str, is_ours: bool):
        self.folder = folder
        self.is_ours = is_ours
        self.binary = binary
        self.server = servers.Server(binary, config.replace("$CERTS", str(folder)))
        self.address = self.server.address()

    def plain(self) -> socket.socket:
        made = socket.create_connection(self.address, DEADLINE_SECONDS)
        made.settimeout(DEADLINE_SECONDS)
        return made

    def context(self, **changes) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if certificate := changes.get("certificate"):
            context.load_cert_chain(str(self.folder / f"{certificate}.pem"),
                                    str(self.folder / f"{certificate}.key"))
        if version := changes.get("version"):
            context.minimum_version = context.maximum_version = version
        if ciphers := changes.get("ciphers"):
            context.set_ciphers(ciphers)
        return context

    def encrypted(self, name: str = "localhost", **changes) -> tuple[ssl.SSLSocket, dict]:
        """Upgraded behind INFO."""
        stream = self.plain()
        info = read_info(stream)
        return self.context(**changes).wrap_socket(stream, server_hostname=name), info

    def monitor(self, page: str) -> dict:
        host, port = self.server.address("monitoring")
        with urllib.request.urlopen(f"http://{host}:{port}{page}", timeout=DEADLINE_SECONDS) as answer:
            return json.loads(answer.read())

    def rss_kib(self) -> int:
        for line in open(f"/proc/{self.server.process.pid}/status", encoding="ascii"):
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0


def read_line(stream) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        byte = stream.recv(1)
        if not byte:
            break
        line += byte
    return line


def read_info(stream) -> dict:
    line = read_line(stream)
    check(line.startswith(b"INFO "), f"INFO, not {line[:60]!r}")
    return json.loads(line[5:])


def check(claim: bool, text: str) -> None:
    if not claim:
        raise AssertionError(text)


def check_serves(stream) -> None:
    stream.sendall(CONNECT)
    check(read_line(stream) == b"PONG\r\n", "PONG")


def is_served(stream) -> bool:
    try:
        stream.sendall(CONNECT)
        return read_line(stream) == b"PONG\r\n"
    except OSError:  # which TLS errors are too
        return False


def read_rest(stream) -> bytes:
    rest = b""
    try:
        while data := stream.recv(65536):
            rest += data
    except OSError:
        pass
    return rest


def eventually(claim, text: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not claim():
        check(time.monotonic() < end, text)
        time.sleep(0.02)


PLAIN_TLS = 'tls { cert_file: "$CERTS/server.pem", key_file: "$CERTS/server.key" }\nhttp: "127.0.0.1:-1"\n'
VERIFY = ('tls { cert_file: "$CERTS/server.pem", key_file: "$CERTS/server.key", ca_file: "$CERTS/ca.pem"\n'
          'verify: true }\nhttp: "127.0.0.1:-1"\n')


# --- what clients see -------------------------------------------------------------------------

def upgrade(bench: Bench) -> None:
    """INFO in plain text asks for TLS; commands go encrypted; connz tells."""
    stream, info = bench.encrypted()
    check(info.get("tls_required") is True, "tls_required")
    check_serves(stream)
    stream.sendall(b"SUB a 1\r\nPUB a 5\r\nhello\r\n")
    check(read_line(stream) == b"MSG a 1 5\r\n", "MSG")
    entry = bench.monitor("/connz")["connections"][0]
    check(entry["tls_version"] == "1.3" and entry["tls_cipher_suite"].startswith("TLS_AES_"), str(entry))
    varz = bench.monitor("/varz")
    check(varz["tls_required"] is True and varz["tls_timeout"] == 2, "varz")
    check(varz["tls_cert_not_after"].startswith("20"), "tls_cert_not_after")


def old_version(bench: Bench) -> None:
    """TLS 1.2 is spoken, with the cipher the client asks for; 1.1 is not."""
    stream, _ = bench.encrypted(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    check_serves(stream)
    entry = bench.monitor("/connz")["connections"][0]
    check(entry["tls_version"] == "1.2", entry["tls_version"])
    check(entry["tls_cipher_suite"] == "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", entry["tls_cipher_suite"])
    try:
        bench.encrypted(version=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0")
    except (ssl.SSLError, OSError):
        return
    raise AssertionError("TLS 1.1 was accepted")


def big_messages(bench: Bench) -> None:
    """A megabyte there and back in both directions at once."""
    stream, _ = bench.encrypted()
    check_serves(stream)
    payload = random.Random(1).randbytes(1 << 20)
    stream.sendall(b"SUB big 1\r\n")
    for _ in range(4):
        stream.sendall(b"PUB big %d\r\n" % len(payload) + payload + b"\r\n")
        check(read_line(stream) == b"MSG big 1 %d\r\n" % len(payload), "MSG")
        got = b""
        while len(got) < len(payload) + 2:
            got += stream.recv(65536)
        check(got == payload + b"\r\n", "payload")


def plain_text(bench: Bench) -> None:
    """Who goes on in plain text is told why and closed (nats-server closes without a word)."""
    for sent in (CONNECT, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        stream = bench.plain()
        read_info(stream)
        stream.sendall(sent)
        rest = read_rest(stream)
        if bench.is_ours:
            check(rest == b"-ERR 'Secure Connection - TLS Required'\r\n", repr(rest))
            eventually(lambda: "first record does not look like a TLS handshake" in bench.server.log(), "log")
    if bench.is_ours:
        closed = bench.monitor("/connz?state=closed")["connections"]
        check(all(each["reason"] == "TLS Handshake Failure" for each in closed), str(closed))


def needs_certificate(bench: Bench) -> None:
    """verify: no certificate, no service; a certificate of ours is shown in connz with auth=1."""
    stream, info = bench.encrypted()
    check(info.get("tls_verify") is True, "tls_verify")
    check(not is_served(stream), "served without a certificate")
    stream, _ = bench.encrypted(certificate="alice")
    check_serves(stream)
    entry = bench.monitor("/connz?auth=1")["connections"][0]
    check(entry["tls_peer_certs"][0]["subject"] == "CN=alice,O=Brokkr", str(entry.get("tls_peer_certs")))
    check(len(entry["tls_peer_certs"][0]["spki_sha256"]) == 64, "spki_sha256")
    check("tls_peer_certs" not in bench.monitor("/connz")["connections"][0], "certificates without auth=1")


def pinned(bench: Bench) -> None:
    """pinned_certs lets in alice and not bob, though both lead to the authority."""
    stream, _ = bench.encrypted(certificate="alice")
    check_serves(stream)
    stream, _ = bench.encrypted(certificate="bob")
    check(not is_served(stream), "bob is served")
    eventually(lambda: "not pinned" in bench.server.log(), "log")


def mapped(bench: Bench) -> None:
    """verify_and_map: the certificate is the user, by e-mail or subject; others are refused."""
    stream, _ = bench.encrypted(certificate="alice")
    check_serves(stream)
    entry = bench.monitor("/connz?auth=1")["connections"][0]
    check(entry["authorized_user"] == "alice@example.org", str(entry))
    stream, _ = bench.encrypted(certificate="bob")
    check_serves(stream)
    stream, _ = bench.encrypted(certificate="carol")
    stream.sendall(CONNECT)
    rest = read_rest(stream)
    check(b"Authorization Violation" in rest, repr(rest))


def handshake_first(bench: Bench) -> None:
    """No INFO before the handshake; connz says tls_first."""
    stream = bench.plain()
    stream.settimeout(0.3)
    try:
        raise AssertionError(f"{stream.recv(1)!r} came before the handshake")
    except TimeoutError:
        pass
    stream.settimeout(DEADLINE_SECONDS)
    stream = bench.context().wrap_socket(stream, server_hostname="localhost")
    check(read_info(stream).get("tls_required") is True, "tls_required")
    check_serves(stream)
    check(bench.monitor("/connz")["connections"][0]["tls_first"] is True, "tls_first")


def handshake_auto(bench: Bench) -> None:
    """Both kinds of clients, within the fallback and after it."""
    stream = bench.context().wrap_socket(bench.plain(), server_hostname="localhost")
    read_info(stream)
    check_serves(stream)
    stream, _ = bench.encrypted()
    check_serves(stream)


def both_kinds(bench: Bench) -> None:
    """allow_non_tls: the first byte decides."""
    stream = bench.plain()
    info = read_info(stream)
    check(info.get("tls_available") is True and not info.get("tls_required"), str(info))
    check_serves(stream)
    stream, _ = bench.encrypted()
    check_serves(stream)


def chosen_by_name(bench: Bench) -> None:
    """Several certificates: the one with the name asked for is shown."""
    for name in ("one.test", "two.test"):
        stream, _ = bench.encrypted(name)
        check(("DNS", name) in stream.getpeercert()["subjectAltName"], name)


def reload(bench: Bench) -> None:
    """SIGHUP loads the files again: old connections stay, new ones see the new certificate."""
    before, _ = bench.encrypted()
    check_serves(before)
    old = before.getpeercert()["serialNumber"]
    authority = Authority(bench.folder, "ca2")
    shutil.copy(authority.certificate, bench.folder / "ca.pem.new")
    for new, old_name in zip(authority.issue_server("next"), ("server.pem", "server.key")):
        shutil.copy(new, bench.folder / old_name)
    shutil.copy(bench.folder / "ca2.pem", bench.folder / "ca.pem")
    bench.server.send_signal("HUP")
    eventually(lambda: "Reloaded server configuration" in bench.server.log(), "no reload")

    def shown():
        try:
            return bench.encrypted()[0].getpeercert()["serialNumber"]
        except ssl.SSLError:
            return old
    eventually(lambda: shown() != old, "the old certificate")
    check_serves(before)


def timeout(bench: Bench) -> None:
    """A silent client is closed when tls.timeout is over, and neither sooner nor much later."""
    stream = bench.plain()
    read_info(stream)
    start = time.monotonic()
    read_rest(stream)
    check(0.4 < time.monotonic() - start < 3, f"{time.monotonic() - start:.1f} s")


def https(bench: Bench) -> None:
    """https_port: the pages over TLS, and the new certificate after a reload (ours)."""
    host, port = bench.server.address("monitoring")
    context = ssl.create_default_context(cafile=str(bench.folder / "ca.pem"))
    with urllib.request.urlopen(f"https://{host}:{port}/varz", timeout=10, context=context) as answer:
        check(json.loads(answer.read())["https_port"] != 0, "https_port")
    try:
        urllib.request.urlopen(f"http://{host}:{port}/varz", timeout=10).read()
    except OSError:
        return
    raise AssertionError("plain http on the https port")


def clients(bench: Bench) -> None:
    """Our own command line, and the nats CLI and @nats-io/transport-node where they are."""
    port = bench.address[1]
    ca = str(bench.folder / "ca.pem")
    programs = []
    if bench.brokkr_cli:
        programs.append([bench.brokkr_cli, "pub", "a", "b", "--server", f"tls://localhost:{port}", "--tlsca", ca])
        programs.append([bench.brokkr_cli, "rtt", "--server", f"nats://127.0.0.1:{port}", "--tlsca", ca])
    if nats := shutil.which("nats"):
        programs.append([nats, "pub", "a", "b", "--server", f"tls://localhost:{port}", "--tlsca", ca])
    root = pathlib.Path(__file__).resolve().parents[2]
    if shutil.which("node") and (root / "tests/node_modules/@nats-io/transport-node").is_dir():
        script = (f'import {{connect}} from "{root}/tests/node_modules/@nats-io/transport-node/lib/mod.js";'
                  f'const c = await connect({{servers: "localhost:{port}", tls: {{caFile: "{ca}"}}}});'
                  'const s = c.subscribe("x", {callback: (e, m) => m.respond("y")});'
                  'const r = await c.request("x"); if (r.string() !== "y") process.exit(1); await c.close();')
        programs.append(["node", "--input-type=module", "-e", script])
    for command in programs:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        check(done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}")


# --- hostile ----------------------------------------------------------------------------------

def client_hello(bench: Bench) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = bench.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def half_open(bench: Bench) -> str:
    """A thousand handshakes begun and never finished: closed at the time-out, little memory each."""
    hello = client_hello(bench)
    read_rest_of = []
    before = bench.rss_kib()
    for i in range(HALF_OPEN):
        stream = bench.plain()
        # A part or all of the first message: what is answered costs most.
        stream.sendall(hello[:len(hello) // 2 if i % 10 == 0 else len(hello)])
        read_rest_of.append(stream)
    eventually(lambda: bench.monitor("/varz")["connections"] == HALF_OPEN, "some are closed before their time")
    time.sleep(0.2)
    each = (bench.rss_kib() - before) / HALF_OPEN
    start = time.monotonic()
    for stream in read_rest_of:
        read_rest(stream)
    check(each <= HALF_OPEN_KIB_MAX, f"{each:.1f} KiB each")
    check(time.monotonic() - start < 10, "closed late")
    eventually(lambda: bench.monitor("/varz")["connections"] == 0, "still counted")
    return f"{each:.1f} KiB each"


def garbage(bench: Bench) -> None:
    """Random bytes behind a plausible beginning, and hellos with one bit changed."""
    hello = client_hello(bench)
    for _ in range(300):
        stream = bench.plain()
        read_info(stream)
        if bench.random.random() < 0.5:
            sent = b"\x16\x03\x01" + bench.random.randbytes(bench.random.randrange(200))
        else:
            at = bench.random.randrange(len(hello))
            sent = hello[:at] + bytes([hello[at] ^ (1 << bench.random.randrange(8))]) + hello[at + 1:]
        try:
            stream.sendall(sent)
            if bench.random.random() < 0.3:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
            stream.close()
        except OSError:
            pass


def huge_hello(bench: Bench) -> None:
    """A first message that promises more than any hello needs is refused at its header."""
    stream = bench.plain()
    read_info(stream)
    stream.sendall(b"\x16\x03\x01\x40\x00\x01\x01\x00\x00" + b"\0" * 16379)
    read_rest(stream)
    eventually(lambda: "ClientHello of 65536 bytes exceeds 16384" in bench.server.log(), "log")


def renegotiation(bench: Bench) -> None:
    """A TLS 1.2 client that asks for another handshake gets none."""
    if not shutil.which("openssl"):
        return
    port = bench.address[1]
    # The program does not know NATS, so a server with the handshake first is asked.
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"], input=b"R\n",
                          capture_output=True, timeout=30)
    text = done.stdout + done.stderr
    check(b"RENEGOTIATING" in text, "no attempt")
    check(b"no renegotiation" in text or done.returncode != 0, repr(text[-300:]))


def trickle(bench: Bench) -> None:
    """A hello in single bytes is a hello; one that stops is closed at the time-out."""
    hello = client_hello(bench)
    stream = bench.plain()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    read_info(stream)
    for byte in hello:
        stream.sendall(bytes([byte]))
    check(stream.recv(1) == b"\x16", "no answer to a slow hello")


def abrupt(bench: Bench) -> None:
    """Connections reset in the middle of traffic are forgotten, with all they held."""
    for _ in range(30):
        stream, _ = bench.encrypted()
        stream.sendall(CONNECT + b"SUB > 1\r\n" + b"PUB a 60000\r\n" + b"x" * 60000 + b"\r\n")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
    eventually(lambda: bench.monitor("/varz")["connections"] == 0, "still counted")
    eventually(lambda: bench.monitor("/subsz")["num_subscriptions"] <= bench.own_subscriptions, "interest left")


def unread(bench: Bench) -> None:
    """A reader that stops reading is cut off as a slow consumer, encrypted or not."""
    stream, _ = bench.encrypted()
    stream.sendall(CONNECT + b"SUB a 1\r\nPING\r\n")
    read_line(stream)
    other, _ = bench.encrypted()
    check_serves(other)
    for _ in range(60):
        other.sendall(b"PUB a 500000\r\n" + b"x" * 500000 + b"\r\n")
    other.sendall(b"PING\r\n")
    check(read_line(other) == b"PONG\r\n", "the publisher is held up")
    eventually(lambda: bench.monitor("/varz")["slow_consumers"] == 1, "no slow consumer")


SHORT = PLAIN_TLS.replace("server.key\"", "server.key\", timeout: 1")
FIRST = PLAIN_TLS.replace("server.key\"", "server.key\", handshake_first: true")
BOTH = {"upgrade": (upgrade, PLAIN_TLS), "old_version": (old_version, PLAIN_TLS),
        "big_messages": (big_messages, PLAIN_TLS), "plain_text": (plain_text, PLAIN_TLS),
        "needs_certificate": (needs_certificate, VERIFY),
        "pinned": (pinned, VERIFY.replace("verify: true", 'verify: true, pinned_certs: ["$PIN"]')),
        "mapped": (mapped, VERIFY.replace("verify: true", "verify_and_map: true") +
                   'authorization { users: [ {user: "alice@example.org"}, {user: "CN=bob,O=Brokkr"} ] }\n'),
        "handshake_first": (handshake_first, FIRST),
        "handshake_auto": (handshake_auto, FIRST.replace("true", "auto")),
        "both_kinds": (both_kinds, PLAIN_TLS + "allow_non_tls: true\n"),
        "chosen_by_name": (chosen_by_name, 'tls { certs: [ {cert_file: "$CERTS/one.pem", key_file: "$CERTS/one.key"}'
                           ', {cert_file: "$CERTS/two.pem", key_file: "$CERTS/two.key"} ] }\nhttp: "127.0.0.1:-1"\n'),
        "reload": (reload, PLAIN_TLS), "timeout": (timeout, PLAIN_TLS.replace("server.key\"", "server.key\", timeout: 0.5")),
        "https": (https, PLAIN_TLS.replace('http: "', 'https: "')), "clients": (clients, PLAIN_TLS)}
HOSTILE = {"half_open": (half_open, PLAIN_TLS.replace("server.key\"", "server.key\", timeout: 5")), "garbage": (garbage, SHORT), "huge_hello": (huge_hello, PLAIN_TLS),
           "renegotiation": (renegotiation, FIRST), "trickle": (trickle, PLAIN_TLS), "abrupt": (abrupt, PLAIN_TLS),
           "unread": (unread, PLAIN_TLS + "max_pending: 4MB\nwrite_deadline: 2s\n")}


def run_one(name: str, binary: str, is_ours: bool, options) -> bool:
    function, config = (BOTH | HOSTILE)[name]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tls-"))
    who = "brokkr" if is_ours else "nats-server"
    bench = None
    try:
        for path in options.certificates.iterdir():
            shutil.copy(path, folder / path.name)
        config = config.replace("$PIN", options.pin)
        bench = Bench(binary, folder, config, is_ours)
        bench.random = random.Random(f"{options.seed} {name}")
        bench.brokkr_cli = options.brokkr
        bench.own_subscriptions = bench.monitor("/subsz")["num_subscriptions"] if "https" not in name else 0
        fact = function(bench)
        if is_ours:
            check(bench.server.process.poll() is None, "the server has ended")
        print(f"ok    {who}: {name}{': ' + fact if fact else ''}", flush=True)
        return True
    except Exception as problem:  # each failure is reported, and the next claim goes on
        print(f"WRONG {who}: {name}: {type(problem).__name__}: {problem}\n"
              f"{bench.server.log()[-800:] if bench else ''}", flush=True)
        return False
    finally:
        if bench:
            bench.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def make_certificates(folder: pathlib.Path) -> str:
    """Returns alice's pin."""
    authority = Authority(folder)
    authority.issue_server()
    alice, _ = authority.issue("alice", "/O=Brokkr/CN=alice", "email:alice@example.org")
    authority.issue("bob", "/O=Brokkr/CN=bob")
    authority.issue("carol", "/O=Brokkr/CN=carol")
    for name in ("one", "two"):
        authority.issue(name, f"/CN={name}", f"DNS:{name}.test")
    key = subprocess.run(["openssl", "x509", "-in", alice, "-pubkey", "-noout"], capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, capture_output=True).stdout
    return hashlib.sha256(der).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", help="the server program")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(BOTH | HOSTILE))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.1, which is asked for on purpose
    if options.list:
        for name, (function, _) in (BOTH | HOSTILE).items():
            print(f"{name}: {' '.join((function.__doc__ or '').split())}")
        return 0
    if not options.brokkr:
        parser.error("--brokkr is needed")
    options.certificates = pathlib.Path(tempfile.mkdtemp(prefix="tls-"))
    options.pin = make_certificates(options.certificates)
    print(f"seed {options.seed}")
    names = options.only or list(BOTH | HOSTILE)
    results = [run_one(name, options.brokkr, True, options) for name in names]
    if oracle := servers.find_oracle():
        results += [run_one(name, oracle, False, options) for name in names if name in BOTH]
    shutil.rmtree(options.certificates, ignore_errors=True)
    print(f"{sum(results)} of {len(results)} claims hold")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
