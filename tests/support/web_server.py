"""Local web servers for tests of HTTP clients: plain and TLS, with a certificate authority of their own."""
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import time


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def make_authority(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A self-signed authority: <name>.pem and <name>.key in the folder."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem"))
    return folder / f"{name}.pem"


def make_certificate(folder: pathlib.Path, authority: str, hosts: list[str]) -> tuple[str, str]:
    """Certificate and key files for the hosts."""
    base = folder / f"{authority}-{hosts[0]}"
    extensions = folder / f"{base.name}.ext"
    extensions.write_text("subjectAltName=" + ",".join(f"DNS:{host}" for host in hosts))
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={hosts[0]}",
            "-keyout", f"{base}.key", "-out", f"{base}.csr")
    openssl("x509", "-req", "-days", "2", "-in", f"{base}.csr", "-CA", str(folder / f"{authority}.pem"), "-CAkey",
            str(folder / f"{authority}.key"), "-CAcreateserial", "-extfile", str(extensions), "-out", f"{base}.pem")
    return f"{base}.pem", f"{base}.key"


class WebServer:
    """Keeps what it was asked, and answers by path:

    /echo            JSON of the request          /status/N      that status, without a body
    /to?URL          302 to URL                   /loop          302 to itself
    /bytes/N         N bytes                      /slow          nothing for 30 s
    anything else    200 "ok"
    """

    def __init__(self, certificate: tuple[str, str] | None = None, address: str = "127.0.0.1"):
        self.requests: list[dict] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (OSError, ssl.SSLError):
                    self.close_connection = True

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                owner.requests.append({"method": self.command, "path": self.path, "body": body,
                                       "headers": {name.lower(): value for name, value in self.headers.items()}})
                status, headers, out = owner.reply(self, body)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if status >= 200 and status not in (204, 304):
                    self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(out)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *words: None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, handler, body: bytes) -> tuple[int, list, bytes]:
        path, _, query = handler.path.partition("?")
        if path == "/echo":
            headers = {name.lower(): value for name, value in handler.headers.items()}
            text = json.dumps({"method": handler.command, "path": handler.path, "headers": headers,
                               "body": body.decode("latin-1")})
            return 200, [("Content-Type", "application/json"), ("X-Twice", "1"), ("X-Twice", "2")], text.encode()
        if path.startswith("/status/"):
            return int(path[8:]), [], b""
        if path == "/to":
            return 302, [("Location", query)], b"moved"
        if path == "/loop":
            return 302, [("Location", "/loop")], b""
        if path.startswith("/bytes/"):
            return 200, [], bytes(range(256)) * (int(path[7:]) // 256 + 1)
        if path == "/slow":
            time.sleep(30)
        return 200, [], b"ok"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self) -> "WebServer":
        return self

    def __exit__(self, *exc) -> None:
        self.stop()
