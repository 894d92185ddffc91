"""A bridge of its own with network namespaces on it, for tests that need machines apart (as root)."""
import os
import shutil
import subprocess


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Network:
    """Gone with `end`."""

    def __init__(self):
        self.bridge = f"bk{os.getpid() % 100000}"
        self.base = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.address = f"{self.base}.1"
        self.names: list[str] = []

    def start(self) -> None:
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self.address}/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")

    def add(self) -> tuple[str, str]:
        """A new namespace's name and its address."""
        number = len(self.names) + 11
        name = f"{self.bridge}-{number}"
        _run("ip", "netns", "add", name)
        self.names.append(name)
        _run("ip", "link", "add", self._port(name), "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", self._port(name), "master", self.bridge, "up")
        _run("ip", "-n", name, "addr", "add", f"{self.base}.{number}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        return name, f"{self.base}.{number}"

    def cut(self, name: str) -> None:
        """From now on nothing passes to or from the namespace, and nothing in it is told."""
        _run("ip", "link", "set", self._port(name), "nomaster")

    def heal(self, name: str) -> None:
        _run("ip", "link", "set", self._port(name), "master", self.bridge)

    def end(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)

    def _port(self, name: str) -> str:
        """The namespace's end on the bridge."""
        return f"{self.bridge}v{name.rsplit('-', 1)[1]}"


def make_network() -> Network | None:
    """None, and a line that says why, where this user cannot make namespaces or join them to a bridge."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("no network namespaces: they need root and the command `ip`", flush=True)
        return None
    network = Network()
    try:
        network.start()
        name, _ = network.add()
        _run("ip", "netns", "exec", name, "true")
        return network
    except subprocess.CalledProcessError as error:
        print(f"no network namespaces: {error.stderr.decode(errors='replace').strip()}", flush=True)
        network.end()
        return None
