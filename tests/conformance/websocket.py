#!/usr/bin/env python3
"""npm's @nats-io/nats-core over WebSocket, from Node and from headless Chromium, plain and with TLS.

    websocket.py --brokkr PATH [--only node|browser]

Brokkr with one loop and with two, then nats-server if there is one; every client must print the same lines. Needs
tests/node_modules (tools/setup.sh test). Where there is no Chromium that part is skipped, and said so.
"""
import argparse
import base64
import hashlib
import http.server
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

import server as servers

HERE = pathlib.Path(__file__).resolve().parent
MODULES = HERE.parent / "node_modules"
SECONDS = 60
CONFIG = """
jetstream { store_dir: "$FOLDER/js" }
authorization { users: [ {user: ann, password: secret} ] }
websocket { listen: "127.0.0.1:-1", compression: true, %s }
"""


def run(*command: str, stdin: bytes | None = None) -> bytes:
    return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=SECONDS).stdout


class Certificates:
    """An authority of our own and a certificate for this machine."""

    def __init__(self, folder: pathlib.Path):
        self.ca, self.cert, self.key = (str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        ca_key, asked, names = (str(folder / name) for name in ("ca-key.pem", "cert.csr", "names.txt"))
        pathlib.Path(names).write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", ca_key, "-out", self.ca, "-days", "2",
            "-subj", "/CN=test authority")
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", asked, "-subj", "/CN=localhost")
        run("openssl", "x509", "-req", "-in", asked, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-out", self.cert,
            "-days", "2", "-extfile", names)
        public = run("openssl", "x509", "-in", self.cert, "-pubkey", "-noout")
        public = run("openssl", "pkey", "-pubin", "-outform", "DER", stdin=public)
        self.spki = base64.b64encode(hashlib.sha256(public).digest()).decode()  # what Chromium is told to trust



class NodeClient:
    name = "Node"

    def lines(self, url: str, certificates: Certificates, _is_ours: bool) -> list[str]:
        command = ["node", "--experimental-websocket", "--no-warnings", str(HERE / "clients" / "websocket_node.mjs"), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS,
                              env={**os.environ, "NODE_EXTRA_CA_CERTS": certificates.ca})
        return done.stdout.splitlines() + ([] if done.returncode == 0 else [f"exit {done.returncode}: {done.stderr[-800:]}"])


class BrowserClient:
    """Serves the bundled page and takes what it posts."""
    name = "Chromium"

    def __init__(self, browser: str, folder: pathlib.Path):
        self.browser, self.folder = browser, folder
        run(str(MODULES / ".bin" / "esbuild"), str(HERE / "clients" / "websocket_browser.mjs"), "--bundle", "--format=esm",
            "--log-level=error", f"--outfile={folder / 'page.js'}")
        self.posted: queue.Queue[str] = queue.Queue()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def _handler(self):
        client = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                is_script = self.path == "/page.js"
                page = (client.folder / "page.js").read_bytes() if is_script else \
                    b'<!doctype html><script type="module" src="/page.js"></script>'
                self.answer(page, "text/javascript" if is_script else "text/html")

            def do_POST(self):
                client.posted.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer(b"", "text/plain")

            def answer(self, body: bytes, kind: str):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler

    def lines(self, url: str, certificates: Certificates, is_ours: bool) -> list[str]:
        # nats-server counts the protocol line of a compressed message too.
        large = 0 if is_ours else 1_000_000
        page = f"http://127.0.0.1:{self.http.server_address[1]}/?url={urllib.parse.quote(url, safe='')}&large={large}"
        profile = tempfile.mkdtemp(prefix="profile-", dir=self.folder)
        process = subprocess.Popen(
            [self.browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             f"--user-data-dir={profile}", f"--ignore-certificate-errors-spki-list={certificates.spki}", page],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return self.posted.get(timeout=SECONDS).splitlines()
        except queue.Empty:
            return [f"nothing came from the page within {SECONDS} s"]
        finally:
            process.terminate()
            process.wait(20)


SKIPPED = 77


def find_clients(only: str | None, folder: pathlib.Path) -> list:
    if not shutil.which("node") or not (MODULES / "@nats-io" / "nats-core").is_dir():
        print("skipped, no client to run: tools/setup.sh test installs them")
        sys.exit(SKIPPED)
    # Node has WebSocket since 20.10 behind this flag, since 22 by itself.
    has_websocket = subprocess.run(["node", "--experimental-websocket", "-e", "0"], capture_output=True).returncode == 0
    clients = [NodeClient()] if has_websocket and only != "browser" else []
    if not has_websocket:
        print("skip  Node: this release has no WebSocket")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if only == "node":
        return clients or sys.exit(SKIPPED)
    if browser and (MODULES / ".bin" / "esbuild").exists():
        clients.append(BrowserClient(browser, folder))
    else:
        print("skip  the browser: " + ("no esbuild in tests/node_modules" if browser else "no Chromium here"))
    return clients or sys.exit(SKIPPED)


def check(where: str, client, url: str, certificates: Certificates, is_ours: bool) -> bool:
    wanted = (HERE / "clients" / "websocket.txt").read_text().splitlines()
    got = client.lines(url, certificates, is_ours)
    scheme = url.partition(":")[0]
    if got == wanted:
        print(f"ok    {client.name} over {scheme} against {where}: {len(got)} claims", flush=True)
        return True
    print(f"WRONG {client.name} over {scheme} against {where}", flush=True)
    for line in wanted:
        if line not in got:
            print(f"    wanted {line}")
    for line in got:
        if line not in wanted:
            print(f"    got    {line}")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--only", choices=["node", "browser"])
    args = parser.parse_args()
    targets = [("Brokkr, 1 loop", args.brokkr, "brokkr { loops: 1 }"), ("Brokkr, 2 loops", args.brokkr, "brokkr { loops: 2 }")]
    if oracle := servers.find_oracle():
        targets.append((f"nats-server {servers.version_of(oracle)}", oracle, ""))
    right = True
    with tempfile.TemporaryDirectory(prefix="websocket-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        certificates = Certificates(folder)
        clients = find_clients(args.only, folder)
        for where, binary, config in targets:
            for scheme, tls in [("ws", "no_tls: true"), ("wss", f'tls {{ cert_file: "{certificates.cert}", key_file: "{certificates.key}" }}')]:
                with servers.Server(binary, config + CONFIG % tls) as server:
                    url = "%s://%s:%d" % (scheme, *server.address("websocket"))
                    for client in clients:
                        right &= check(where, client, url, certificates, binary == args.brokkr)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
