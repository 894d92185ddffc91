#!/usr/bin/env python3
"""Every way for a leaf to join a hub: who it is, how the stream is protected, what may pass.

usage: leaf_ways.py --brokkr PATH [--nats-server PATH] [--nsc PATH] [--way NAME]

Each way is tried with two brokkrs, and with nats-server on either side where there is one. A message
must come through in both directions, and nothing where the way forbids it.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tls"))
from leaf import Server, free_port, until, wait_for_link  # noqa: E402
from certificates import Authority  # noqa: E402

SEED = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"
LOCAL = "no_auth_user: local\naccounts {{ A {{ users: [ {{ user: local, password: l }}, {0} ] }} }}"


def nkey_of(seed: str) -> str:
    """The public key of a seed, computed the long way: only standard tools are there."""
    import base64
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    private = raw[2:34]
    der = bytes.fromhex("302e020100300506032b657004220420") + private
    done = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], input=der,
                          capture_output=True, check=True)
    body = bytes([20 << 3]) + done.stdout[-32:]
    crc = 0
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1
    return base64.b32encode(body + crc.to_bytes(2, "little")).decode().rstrip("=")


class Way:
    """`hub` and `leaf` are added to the configurations, `port` to the hub's leafnodes, `remote` to the
    leaf's remote."""

    def __init__(self, url="nats-leaf://edge:e@127.0.0.1:{port}", port="", remote="", hub="", leaf="", links=True,
                 denied_up="", denied_down="", is_closed=False):
        self.url, self.port, self.remote, self.leaf = url, port, remote, leaf
        self.is_closed = is_closed  # the hub's clients would need keys: only the link is looked at
        self.links, self.denied_up, self.denied_down = links, denied_up, denied_down
        self.hub = hub or LOCAL.format("{ user: edge, password: e }")


def make_ways(folder: pathlib.Path, websocket: int, nsc: str) -> dict[str, Way]:
    authority = Authority(folder)
    authority.issue_server()
    authority.issue("edge", "/CN=edge")
    server = f'cert_file: "{folder}/server.pem", key_file: "{folder}/server.key"'
    trusted = f'tls {{ ca_file: "{folder}/ca.pem" }}'
    shown = f'tls {{ ca_file: "{folder}/ca.pem", cert_file: "{folder}/edge.pem", key_file: "{folder}/edge.key" }}'
    ws = f"websocket {{ listen: \"127.0.0.1:{websocket}\", no_tls: true, compression: true }}\n"
    wss = f"websocket {{ listen: \"127.0.0.1:{websocket}\", tls {{ {server} }} }}\n"
    users = LOCAL.format("{ user: edge, password: e }")
    bound = f"no_auth_user: local\naccounts {{ B {{ users: [ {{ user: local, password: l }} ] }}, C {{ users: [ {{ user: c, password: c }} ] }} }}"
    ways = {
        "password": Way(),
        "wrong password": Way("nats-leaf://edge:x@127.0.0.1:{port}", links=False),
        "own users": Way("nats-leaf://far:f@127.0.0.1:{port}", port="authorization { users: [ { user: far, password: f, account: A } ] }"),
        "nkey": Way("nats-leaf://127.0.0.1:{port}", remote=f'nkey: "{SEED}"', hub=LOCAL.format(f"{{ nkey: {nkey_of(SEED)} }}")),
        "account": Way(remote="account: B", leaf=bound),
        "first leaf is hub": Way(remote="hub: true"),
        "tls": Way("tls://edge:e@localhost:{port}", port=f"tls {{ {server} }}", remote=trusted),
        "tls of the hub's own accord": Way("nats-leaf://edge:e@localhost:{port}", port=f"tls {{ {server} }}", remote=trusted),
        "tls not trusted": Way("tls://edge:e@localhost:{port}", port=f"tls {{ {server} }}", links=False),
        "tls with a client's certificate": Way("tls://edge:e@localhost:{port}", port=f'tls {{ {server}, ca_file: "{folder}/ca.pem", verify: true }}', remote=shown),
        "tls without it": Way("tls://edge:e@localhost:{port}", port=f'tls {{ {server}, ca_file: "{folder}/ca.pem", verify: true }}', remote=trusted, links=False),
        "tls first": Way("tls://edge:e@localhost:{port}", port=f"tls {{ {server}, handshake_first: true }}",
                         remote=f'tls {{ ca_file: "{folder}/ca.pem", handshake_first: true }}'),
        "tls first or not": Way("tls://edge:e@localhost:{port}", port=f'tls {{ {server}, handshake_first: "200ms" }}', remote=trusted),
        "websocket": Way(f"ws://edge:e@127.0.0.1:{websocket}", hub=ws + users),
        "websocket, compressed": Way(f"ws://edge:e@127.0.0.1:{websocket}", remote="ws_compression: true", hub=ws + users),
        "websocket, not masked": Way(f"ws://edge:e@127.0.0.1:{websocket}", remote="ws_no_masking: true", hub=ws + users),
        "websocket over tls": Way(f"wss://edge:e@localhost:{websocket}", remote=trusted, hub=wss + users),
        "deny_exports": Way(remote='deny_exports: ["secret.>"]', denied_up="secret.up"),
        "deny_imports": Way(remote='deny_imports: ["secret.>"]', denied_down="secret.down"),
        "permissions": Way(hub=LOCAL.format(
            '{ user: edge, password: e, permissions: { publish: { deny: "secret.up" }, subscribe: { deny: "secret.down" } } }'),
            denied_up="secret.up", denied_down="secret.down"),
        "compression asked for": Way(port="compression: s2_fast", remote="compression: s2_fast"),
    }
    if nsc:
        ways["credentials"] = credentials_way(folder, nsc)
    return ways


def credentials_way(folder: pathlib.Path, nsc: str) -> Way:
    home = folder / "nsc"
    env = {**os.environ, "HOME": str(home), "NSC_HOME": str(home / "h"), "NKEYS_PATH": str(home / "k"),
           "XDG_DATA_HOME": str(home / "d"), "XDG_CONFIG_HOME": str(home / "c")}
    home.mkdir()

    def run(*words: str) -> str:
        done = subprocess.run([nsc, *words], env=env, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"nsc {' '.join(words)}: {done.stderr}")
        return done.stdout

    run("add", "operator", "O", "--sys")
    run("add", "account", "A")
    run("add", "user", "-a", "A", "edge")
    run("generate", "creds", "-a", "A", "-n", "edge", "-o", str(folder / "edge.creds"))
    run("generate", "config", "--mem-resolver", "--config-file", str(folder / "resolver.conf"))
    return Way("nats-leaf://127.0.0.1:{port}", remote=f'credentials: "{folder}/edge.creds"',
               hub=(folder / "resolver.conf").read_text(), is_closed=True)


def passes(to, by, subject: str) -> bool:
    to.subscribe(subject)
    to.flush()
    time.sleep(0.3)
    by.publish(subject, b"x")
    by.publish("allowed." + subject, b"x")
    by.flush()
    to.pump(0.5)
    count = to.drop(subject)
    to.unsubscribe(subject)
    return count > 0


def try_way(name: str, way: Way, hub_binary: str, leaf_binary: str) -> None:
    port = free_port()
    hub = Server(hub_binary, "hub", f'{way.hub}\nleafnodes {{ listen: "127.0.0.1:{port}"\n{way.port} }}', jetstream=False)
    leaf = Server(leaf_binary, "leaf", f'{way.leaf}\nleafnodes {{ reconnect: 1, remotes: [ {{ '
                  f'url: "{way.url.format(port=port)}", ignore_discovered_servers: true\n{way.remote} }} ] }}', jetstream=False)
    try:
        if way.is_closed:
            hub.start(clients=False)
            leaf.start()
            return until("the link", lambda: hub.page("leafz")["leafnodes"] == 1 == leaf.page("leafz")["leafnodes"])
        hub.start()
        leaf.start()
        at_hub, at_leaf = hub.connect(), leaf.connect()
        if not way.links:
            until("a refusal in a log", lambda: any(word in (hub.log() + leaf.log()).lower() for word in (
                "authorization violation", "authentication error", "unknown authority", "certificate")), 10)
            assert not passes(at_hub, at_leaf, "any"), "the link is there"
            return
        wait_for_link(at_hub, at_leaf)
        for subject, to, by in ((way.denied_up, at_hub, at_leaf), (way.denied_down, at_leaf, at_hub)):
            assert not subject or not passes(to, by, subject), f"{subject} came through"
        wait_for_link(at_hub, at_leaf)
    except BaseException:
        print(f"--- {name}: hub\n{hub.log()}\n--- leaf\n{leaf.log()}")
        raise
    finally:
        for server in (leaf, hub):
            server.remove()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nats-server", default=str(ROOT / ".deps/peers/bin/nats-server"))
    parser.add_argument("--nsc", default=shutil.which("nsc") or "")
    parser.add_argument("--way", default="")
    options = parser.parse_args()
    pairs = {"brokkr-brokkr": (options.brokkr, options.brokkr)}
    if pathlib.Path(options.nats_server).exists():
        pairs["brokkr as leaf"] = (options.nats_server, options.brokkr)
        pairs["brokkr as hub"] = (options.brokkr, options.nats_server)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="leaf-ways-") as name:
        ways = make_ways(pathlib.Path(name), free_port(), options.nsc)
        for title, way in ways.items():
            for pair, binaries in pairs.items():
                if options.way not in title:
                    continue
                try:
                    try_way(title, way, *binaries)
                    print(f"ok   {title} ({pair})", flush=True)
                except Exception as error:  # noqa: BLE001
                    bad += 1
                    print(f"FAIL {title} ({pair}): {type(error).__name__}: {error}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
