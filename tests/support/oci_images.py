"""Images for tests, made by hand: layers, layouts, docker save archives, and a registry that serves them."""
import gzip
import hashlib
import http.server
import io
import json
import pathlib
import ssl
import tarfile
import threading
import urllib.parse

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(*entries: tuple) -> bytes:
    """A tar of (name, bytes | None for a folder | "-> target" for a link[, mode[, uid]])."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, *rest in entries:
            info = tarfile.TarInfo(name)
            info.mode = rest[0] if rest else 0o755
            info.uid = info.gid = rest[1] if len(rest) > 1 else 0
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content.removeprefix("-> ")
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


class Image:
    def __init__(self, layers: list[bytes], run: dict, architecture: str = "amd64"):
        self.layers = layers
        self.packed = [gzip.compress(one, 1, mtime=0) for one in layers]
        self.config = json.dumps({"architecture": architecture, "os": "linux", "config": run,
                                  "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in layers]}}).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": self._descriptor(self.config, "application/vnd.oci.image.config.v1+json"),
            "layers": [self._descriptor(one, "application/vnd.oci.image.layer.v1.tar+gzip") for one in self.packed],
        }).encode()
        self.digest = digest_of(self.manifest)
        self.blobs = {digest_of(one): one for one in [*self.packed, self.config, self.manifest]}

    @staticmethod
    def _descriptor(data: bytes, kind: str) -> dict:
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def write_layout(self, folder: pathlib.Path, tag: str = "latest") -> pathlib.Path:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for name, data in self.blobs.items():
            (blobs / name.removeprefix("sha256:")).write_bytes(data)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        entry = self._descriptor(self.manifest, MANIFEST_TYPE)
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        return folder

    def write_archive(self, path: pathlib.Path) -> pathlib.Path:
        """An OCI layout in a tar."""
        folder = self.write_layout(path.with_suffix(".layout"))
        with tarfile.open(path, "w") as tar:
            tar.add(folder, ".")
        return path

    def write_saved(self, path: pathlib.Path, tag: str) -> pathlib.Path:
        """What docker save writes."""
        name = digest_of(self.config).removeprefix("sha256:")
        files = {f"{name}.json": self.config}
        for i, one in enumerate(self.layers):
            files[f"layer{i}/layer.tar"] = one
        files["manifest.json"] = json.dumps([{"Config": f"{name}.json", "RepoTags": [tag],
                                              "Layers": [f"layer{i}/layer.tar" for i in range(len(self.layers))]}]).encode()
        with tarfile.open(path, "w") as tar:
            for file, data in files.items():
                info = tarfile.TarInfo(file)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path


class Registry:
    """Serves images by HTTPS, or plainly without `tls`; `token` wants Docker's token dance, `basic` a password.

    `break_next` maps a path's part to what happens to the next request for it: "cut", "500", "429", "wrong", "big".
    """

    def __init__(self, tls: tuple[str, str] | None = None, token: bool = False, basic: str = ""):
        self.documents: dict[str, bytes] = {}  # path -> body
        self.requests: list[tuple[str, str]] = []
        self.break_next: dict[str, str] = {}
        self.redirect_blobs_to = ""
        self.token, self.basic, self.scheme = token, basic, "https" if tls else "http"
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                registry.answer(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.name = f"localhost:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def add(self, repository: str, tag: str, image: Image, others: list[Image] = ()) -> None:
        for one in (image, *others):
            for name, data in one.blobs.items():
                self.documents[f"/v2/{repository}/blobs/{name}"] = data
            self.documents[f"/v2/{repository}/manifests/{one.digest}"] = one.manifest
        top = image.manifest
        if others:
            entries = []
            for one in (*others, image):
                entry = Image._descriptor(one.manifest, MANIFEST_TYPE)
                entry["platform"] = {"os": "linux", "architecture": json.loads(one.config)["architecture"]}
                entries.append(entry)
            top = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}).encode()
            self.documents[f"/v2/{repository}/manifests/{digest_of(top)}"] = top
        self.documents[f"/v2/{repository}/manifests/{tag}"] = top

    def answer(self, request) -> None:
        url = urllib.parse.urlsplit(request.path)
        given = request.headers.get("Authorization", "")
        self.requests.append((request.path, given))
        if url.path == "/token":
            return self.reply(request, 200, json.dumps({"token": "let-me-in"}).encode())
        wanted = "Bearer let-me-in" if self.token else f"Basic {self.basic}" if self.basic else given
        if given != wanted:
            challenge = (f'Bearer realm="{self.scheme}://{self.name}/token",service="test",scope="repository:x:pull"'
                         if self.token else 'Basic realm="test"')
            return self.reply(request, 401, b"{}", {"WWW-Authenticate": challenge})
        body = self.documents.get(url.path)
        if body is None:
            return self.reply(request, 404, b"{}")
        trick = next((self.break_next.pop(part) for part in list(self.break_next) if part in url.path), "")
        if trick in ("500", "429"):
            return self.reply(request, int(trick), b"later")
        if trick == "cut":
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[:len(body) // 2])
            request.close_connection = True
            return None
        if trick == "wrong":
            body = bytes([body[0] ^ 1]) + body[1:]
        if trick == "big":
            body += b"more"
        if self.redirect_blobs_to and "/blobs/" in url.path:
            return self.reply(request, 307, b"", {"Location": self.redirect_blobs_to + url.path})
        kind = INDEX_TYPE if b'"manifests"' in body else MANIFEST_TYPE
        return self.reply(request, 200, body, {"Content-Type": kind})

    @staticmethod
    def reply(request, status: int, body: bytes, headers: dict | None = None) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *exc) -> None:
        self.server.shutdown()
        self.server.server_close()
