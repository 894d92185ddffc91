#!/usr/bin/env python3
"""Images: taken from every place they come from, kept in the object store, and run.

    images.py --brokkr PATH [CLAIM ...]   all claims, or those whose name holds one of the words
    images.py --brokkr PATH --attach NATS_SERVER   on a node attached to nats-server with JetStream
"""
import argparse
import base64
import contextlib
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
import traceback

from command_node import PATIENCE_SECONDS, ROOT, Node, embedded, servers, wait_for_node

sys.path[:0] = [str(ROOT / "tests" / "tls")]
from certificates import Authority  # noqa: E402
from oci_images import Image, Registry, digest_of, layer  # noqa: E402

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
BUSYBOX = next((path for path in ("/usr/bin/busybox", "/bin/busybox") if pathlib.Path(path).exists()), "")
CLAIMS = []


def claim(function):
    CLAIMS.append(function)
    return function


def equal(got, wanted, what: str = "") -> None:
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


def holds(text: str, *parts: str) -> None:
    for part in parts:
        if part not in text:
            raise AssertionError(f"no {part!r} in {text!r}")


def small(text: str = "hello", **run) -> Image:
    return Image([layer(("etc", None), ("etc/text", text.encode(), 0o644))], {"Cmd": ["/bin/sh"], **run}, MACHINE)


def refused(node: Node, *words: str) -> str:
    code, out, err = node.try_run(*words)
    if code == 0:
        raise AssertionError(f"brokkr {' '.join(words)} did not fail: {out}")
    return err


def folder_of(node: Node) -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(dir=node.folder))


# The object store


@claim
def images_of_every_form_are_stored_once(node: Node) -> None:
    image, folder = small(), folder_of(node)
    for name, path in (("a", image.write_layout(folder / "layout")), ("b:v2", image.write_archive(folder / "oci.tar")),
                       ("team/c", image.write_saved(folder / "saved.tar", "demo:v1"))):
        holds(node.run("image", "import", str(path), "--name", name), "image:" + name)
    equal(node.run("image", "ls", "--names").split(), ["a:latest", "b:v2", "team/c:latest"])
    holds(node.run("image", "ls"), image.digest[:19], f"linux/{MACHINE}")
    # Two share every blob; docker save's layers are not packed, so they are others.
    objects = node.run("object", "ls", "NEX_IMAGES_default", "--names").split()
    equal(len([name for name in objects if name.startswith("sha256:")]), 3 + 2, "blobs")
    node.run("image", "rm", "a")
    holds(node.run("image", "ls", "--names"), "b:v2")
    node.run("image", "rm", "b:v2")
    objects = node.run("object", "ls", "NEX_IMAGES_default", "--names").split()
    equal(len([name for name in objects if name.startswith("sha256:")]), 3, "blobs of the last one")
    node.run("image", "rm", "team/c")
    holds(node.run("image", "ls"), "No images found")
    holds(refused(node, "image", "rm", "a"), "not stored")


@claim
def namespaces_have_their_own(node: Node) -> None:
    path = small().write_layout(folder_of(node) / "layout")
    node.run("image", "import", str(path), "--name", "mine", "--namespace", "one")
    equal(node.run("image", "ls", "--names", "--namespace", "two"), "")
    equal(node.run("image", "ls", "--names", "--namespace", "one").split(), ["mine:latest"])


@claim
def bad_images_are_refused_before_they_are_stored(node: Node) -> None:
    folder = folder_of(node)
    layout = small().write_layout(folder / "damaged")
    blob = next((layout / "blobs" / "sha256").iterdir())
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    holds(refused(node, "image", "import", str(layout), "--name", "bad"), "blob sha256:")
    hostile = Image([layer(("x", "-> /"), ("x/etc/brokkr-was-here", b"x"))], {}, MACHINE)
    holds(refused(node, "image", "import", str(hostile.write_layout(folder / "hostile")), "--name", "bad"), "leads through a link")
    foreign = Image([layer(("f", b""))], {}, "s390x")
    holds(refused(node, "image", "import", str(foreign.write_layout(folder / "foreign")), "--name", "bad"), "s390x")
    holds(refused(node, "image", "import", str(folder / "missing"), "--name", "bad"), "is not there")
    holds(refused(node, "image", "import", str(layout), "--name", "Not a name"), "no image name")
    if "bad" in node.run("image", "ls", "--names"):
        raise AssertionError("a bad image was stored")


# Registries


def trusted(node: Node) -> tuple[tuple[str, str], list[str]]:
    """A server certificate, and the flags that make the command trust it."""
    authority = Authority(folder_of(node))
    return authority.issue_server(), ["--registry-ca", authority.certificate]


@claim
def registries_are_asked_by_https(node: Node) -> None:
    tls, trust = trusted(node)
    image = small("from a registry")
    with Registry(tls) as registry:
        registry.add("team/app", "v1", image, [Image([layer(("f", b""))], {}, "s390x")])
        source = f"docker://{registry.name}/team/app"
        holds(node.run("image", "pull", f"{source}:v1", *trust), f"image:app:v1 {image.digest}")
        pinned = f"{source}@{image.digest}"
        holds(node.run("image", "import", pinned, "--name", "pinned", *trust), image.digest)
        holds(refused(node, "image", "pull", f"{source}:v2", *trust), "is not there")
        holds(refused(node, "image", "pull", f"{source}:v1"), "certificate")
        holds(refused(node, "image", "pull", f"{source}:v1", "--plain-http"), "")
        other = small("another one")
        registry.documents[f"/v2/team/app/manifests/{image.digest}"] = other.manifest
        holds(refused(node, "image", "import", pinned, "--name", "other", *trust), "has digest")


@claim
def registries_that_want_credentials(node: Node) -> None:
    tls, trust = trusted(node)
    secret = base64.b64encode(b"me:secret").decode()
    with Registry(tls, token=True) as registry, Registry(tls, basic=secret) as closed:
        registry.add("a/b", "latest", small("token"))
        closed.add("a/b", "latest", small("basic"))
        node.run("image", "pull", f"docker://{registry.name}/a/b", "--name", "token", *trust)
        if not any("/token?scope=repository%3ax%3apull&service=test" in path.lower() for path, _ in registry.requests):
            raise AssertionError(f"no token was asked for: {registry.requests}")
        source = f"docker://{closed.name}/a/b"
        holds(refused(node, "image", "pull", source, *trust), "asks for credentials")
        config = node.write("docker.json", json.dumps({"auths": {closed.name: {"auth": secret}}}))
        node.run("image", "pull", source, "--name", "basic", "--registry-config", config, *trust)
        wrong = node.write("wrong.json", json.dumps({"auths": {closed.name: {"username": "me", "password": "guess"}}}))
        holds(refused(node, "image", "pull", source, "--registry-config", wrong, *trust), "refuses access")


@claim
def credentials_stay_with_their_registry(node: Node) -> None:
    tls, trust = trusted(node)
    secret = base64.b64encode(b"me:secret").decode()
    with Registry(tls, basic=secret) as registry, Registry(tls) as elsewhere:
        image = small("redirected")
        registry.add("a/b", "latest", image)
        elsewhere.add("a/b", "latest", image)
        registry.redirect_blobs_to = f"https://127.0.0.1:{elsewhere.server.server_address[1]}"
        config = node.write("redirect.json", json.dumps({"auths": {registry.name: {"auth": secret}}}))
        node.run("image", "pull", f"docker://{registry.name}/a/b", "--registry-config", config, *trust)
        equal({given for _, given in elsewhere.requests}, {""}, "what the other host was told")
        if not elsewhere.requests:
            raise AssertionError("nothing was redirected")
        registry.redirect_blobs_to = "http://127.0.0.1:1"
        holds(refused(node, "image", "pull", f"docker://{registry.name}/a/b", "--registry-config", config, *trust), "rotocol")


@claim
def what_passes_is_tried_again(node: Node) -> None:
    tls, trust = trusted(node)
    image = small("shaky")
    blob = digest_of(image.packed[0])
    with Registry(tls) as registry:
        registry.add("a/b", "latest", image)
        source = f"docker://{registry.name}/a/b"
        for trick, part in (("500", "manifests"), ("429", "manifests"), ("cut", blob), ("500", blob)):
            registry.break_next[part] = trick
            node.run("image", "pull", source, *trust)
        for trick, part, words in (("wrong", blob, "has digest"), ("big", blob, "is longer"), ("wrong", "manifests", "")):
            registry.break_next[part] = trick
            holds(refused(node, "image", "pull", source, *trust), words)
            registry.break_next.clear()


@claim
def plain_http_is_for_this_machine_only(node: Node) -> None:
    with Registry() as registry:
        registry.add("a/b", "latest", small("plain"))
        source = f"docker://{registry.name}/a/b"
        refused(node, "image", "pull", source)
        node.run("image", "pull", source, "--plain-http")


# Running


def busybox(run: dict | None = None, *more: bytes) -> Image:
    """Two layers: a shell, and changes to what the first one holds."""
    base = layer(("bin", None), ("bin/busybox", pathlib.Path(BUSYBOX).read_bytes()), ("bin/sh", "-> busybox"),
                 ("etc", None), ("etc/old", b"old", 0o644), ("etc/kept", b"kept", 0o644, 1000), ("tmp", None, 0o1777),
                 ("gone", None), ("gone/file", b"x"))
    change = layer(("etc", None), ("etc/.wh.old", b""), ("etc/new", b"new", 0o644),
                   ("etc/passwd", b"app:x:1000:1001::/:/bin/sh\n", 0o644), (".wh.gone", b""),
                   ("etc/secret", b"for the user alone", 0o600, 1000))
    run = run or {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo from the image"], "Env": ["A=image", "PATH=/bin"]}
    return Image([base, change, *more], run, MACHINE)


def output_of(node: Node, name: str, text: str) -> str:
    """The log of a workload once it holds `text`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        code, out, err = node.try_run("logs", name)
        if code == 0 and text in out:
            return out
        if time.monotonic() > deadline:
            raise AssertionError(f"{name}: no {text!r} in {out!r} {err!r}; {node.try_run('info', name)}")
        time.sleep(0.05)


def run_script(node: Node, name: str, uri: str, script: str, *flags: str) -> str:
    """Runs the script in the image as a job and returns what it wrote."""
    # One --argv is split into words, several are taken as they are.
    node.run("run", uri, "--name", name, "--lifecycle", "job", "--argv", script + "; echo the-end", "--argv", "script", *flags)
    return output_of(node, name, "the-end")


@claim
def images_run_from_every_place(node: Node) -> None:
    folder, image = folder_of(node), busybox()
    node.run("image", "import", str(image.write_layout(folder / "layout")), "--name", "shell:v1")
    image.write_archive(folder / "oci.tar")
    image.write_saved(folder / "saved.tar", "shell:v1")
    with Registry() as registry:
        registry.add("tools/shell", "v1", image)
        node.write("data/registries.json", json.dumps({"plain_loopback": True}))
        places = {"folder": f"oci:{folder}/layout", "archive": f"oci-archive:{folder}/oci.tar", "stored": "image:shell:v1",
                  "saved": f"docker-archive:{folder}/saved.tar:shell:v1", "registry": f"docker://{registry.name}/tools/shell:v1"}
        for name, uri in places.items():
            holds(run_script(node, f"from-{name}", uri, f"echo {name} says $(cat /etc/new)"), f"{name} says new")
        asked = len(registry.requests)
    # The registry has gone; what its tag meant is known.
    holds(run_script(node, "again", places["registry"], "echo still here"), "still here")
    equal(len(registry.requests), asked, "requests")


@claim
def an_image_is_what_its_layers_make(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    out = run_script(node, "layers", f"oci:{path}",
                     "ls /etc; test -e /gone || echo gone is gone; echo write > /etc/kept && cat /etc/kept; ls -l /bin/sh", "--run-as", "app")
    holds(out, "new", "gone is gone", "write", "busybox")
    if "old" in out.split():
        raise AssertionError(f"a whiteout hides nothing: {out}")
    holds(run_script(node, "fresh", f"oci:{path}", "cat /etc/kept"), "kept")


@claim
def an_image_runs_as_it_wishes(node: Node) -> None:
    image = busybox({"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["id; pwd; echo $A; cat /etc/secret; echo the-end"],
                     "Env": ["A=image", "PATH=/bin"], "User": "app", "WorkingDir": "/work/here", "Volumes": {"/data": {}}})
    path = image.write_layout(folder_of(node) / "layout")
    node.run("run", f"oci:{path}", "--name", "wishes", "--lifecycle", "job")
    holds(output_of(node, "wishes", "the-end"), "uid=1000(app) gid=1001", "/work/here", "image", "for the user alone")
    out = run_script(node, "others", f"oci:{path}", "id; pwd; echo $A", "--run-as", "7:8", "--workdir", "/tmp", "--env", "A=request")
    holds(out, "uid=7 gid=8", "/tmp", "request")
    holds(run_script(node, "entry", f"oci:{path}", "echo by $0", "--entrypoint", "/bin/busybox",
                     "--entrypoint", "sh", "--entrypoint", "-c"), "by script")


@claim
def an_image_reaches_the_broker(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    out = run_script(node, "broker", f"oci:{path}", "echo $NATS_URL; echo PING | timeout 5 busybox nc 192.168.127.1 4222 | head -c 5")
    holds(out, "nats://192.168.127.1:4222", "INFO ")


@claim
def images_run_by_nobody_are_removed(node: Node) -> None:
    folder = folder_of(node)
    stays, goes = (busybox({"Entrypoint": ["/bin/sh", "-c"], "Env": [f"IS={what}", "PATH=/bin"]}) for what in ("staying", "going"))
    for name, image in (("stays", stays), ("goes", goes)):
        image.write_archive(folder / f"{name}.tar")
    # The same layers: only what the image that goes has by itself may be removed.
    loop = "while true; do echo still $(cat /etc/new) $IS; sleep 1; done"
    node.run("run", f"oci-archive:{folder}/stays.tar", "--name", "stays", "--lifecycle", "service", "--argv", loop, "--argv", "script")
    output_of(node, "stays", "still new staying")
    holds(run_script(node, "goes", f"oci-archive:{folder}/goes.tar", "echo I am $IS"), "I am going")
    node.write("data/registries.json", json.dumps({"images_unused": "0s"}))
    try:
        node.run("stop", "goes")
        blobs = node.folder / "data" / "images" / "blobs" / "sha256"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (blobs / goes.digest.removeprefix("sha256:")).exists():
            if time.monotonic() > deadline:
                raise AssertionError("the image nobody runs is still there")
            time.sleep(0.05)
        if not (blobs / stays.digest.removeprefix("sha256:")).exists():
            raise AssertionError("the image of a running service is gone")
        seen = node.run("logs", "stays").count("still new staying")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while node.run("logs", "stays").count("still new staying") <= seen:
            if time.monotonic() > deadline:
                raise AssertionError("the service does not find its files any more")
            time.sleep(0.05)
        holds(run_script(node, "goes", f"oci-archive:{folder}/goes.tar", "echo I am $IS"), "I am going")
    finally:
        node.write("data/registries.json", json.dumps({"plain_loopback": True}))
        node.run("stop", "stays")


@claim
def an_image_that_cannot_run_says_why(node: Node) -> None:
    folder = folder_of(node)
    path = busybox({"Cmd": ["/bin/missing"]}).write_layout(folder / "layout")
    code, out, err = node.try_run("run", f"oci:{path}", "--name", "nothing", "--lifecycle", "job", "--wait", "10s")
    holds(out + err + node.run("info", "nothing") + node.try_run("logs", "nothing")[1], "missing")


@contextlib.contextmanager
def attached(brokkr: str, oracle: str):
    """As command_node's, with JetStream at the server."""
    with tempfile.TemporaryDirectory(prefix="node-") as name, \
            servers.Server(oracle, 'jetstream { store_dir: "$FOLDER/js" }') as server:
        node = Node(brokkr, server.url(), pathlib.Path(name))
        with node.start("node", "up", "--server", server.url(), "--data", f"{name}/data", "--node-files", "/") as running:
            wait_for_node(node, running)
            yield node


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("claims", nargs="*")
    options = parser.parse_args()
    failed = 0
    chosen = [one for one in CLAIMS if not options.claims or any(word in one.__name__ for word in options.claims)]
    if not BUSYBOX:
        print("no busybox here: nothing is run")
        chosen = [one for one in chosen if not one.__name__.startswith(("images_run", "an_image"))]
    brokkr = str(pathlib.Path(options.brokkr).resolve())
    with attached(brokkr, options.attach) if options.attach else embedded(brokkr) as node:
        for one in chosen:
            started = time.monotonic()
            try:
                one(node)
                print(f"ok   {one.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError, ValueError, LookupError):
                failed += 1
                print(f"FAIL {one.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} claims hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
