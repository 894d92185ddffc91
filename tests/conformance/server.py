"""Starts a server under the name nats-server, the way client test suites do, and finds its ports."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from ports import free_port  # noqa: E402, F401  (also for those who import this)

START_SECONDS = 20


class Server:
    """One running server in a temporary folder. `config` is nats-server configuration text; without
    it the server gets flags only. Use as a context manager."""

    def __init__(self, binary: str, config: str | None = None, files: dict[str, str] | None = None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wire-"))
        link = self.folder / "nats-server"
        link.symlink_to(pathlib.Path(binary).resolve())
        for name, text in (files or {}).items():
            (self.folder / name).write_text(text)
        command = [str(link)]
        if config is None:
            command += ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(self.folder)]
        else:
            conf = self.folder / "server.conf"
            conf.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{self.folder}"\n{config}\n'
                            .replace("$FOLDER", str(self.folder)).replace("$PORT", str(free_port())))
            command += ["-c", str(conf)]
        self.log_path = self.folder / "log.txt"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=self.folder)
        try:
            self.ports = self._read_ports()
            if config and (extra := re.search(r"127\.0\.0\.1:([1-9]\d+)", conf.read_text())):
                self.ports["second"] = [f"nats://127.0.0.1:{extra[1]}"]
        except Exception:
            self.stop()
            raise

    def _read_ports(self) -> dict[str, list[str]]:
        path = self.folder / f"nats-server_{self.process.pid}.ports"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"server ended with {self.process.returncode}:\n{self.log()}")
            try:
                return json.loads(path.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                time.sleep(0.005)
        raise RuntimeError(f"no {path.name} within {START_SECONDS} s:\n{self.log()}")

    def address(self, kind: str = "nats") -> tuple[str, int]:
        host, _, port = self.ports[kind][0].partition("//")[2].rpartition(":")
        return host.strip("[]"), int(port)

    def url(self) -> str:
        return "nats://%s:%d" % self.address()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-4000:]

    def send_signal(self, name: str) -> None:
        self.process.send_signal(getattr(signal, "SIG" + name))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc) -> None:
        self.stop()


def version_of(binary: str) -> str:
    """The text after `nats-server: v` that `-v` prints under that name."""
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, "nats-server")
        os.symlink(os.path.realpath(binary), link)
        text = subprocess.run([link, "-v"], capture_output=True, text=True, timeout=20).stdout
    return text.strip().rpartition("v")[2]


def find_oracle() -> str | None:
    """The nats-server to compare with: $NATS_SERVER, PATH, what tools/setup.sh fetched, Debian's."""
    deps = pathlib.Path(__file__).resolve().parents[2] / ".deps" / "peers"
    for path in (os.environ.get("NATS_SERVER"), deps / "bin" / "nats-server", shutil.which("nats-server"),
                 "/usr/sbin/nats-server", deps / "usr" / "sbin" / "nats-server"):
        if path and os.access(path, os.X_OK) and is_nats_server(str(path)):
            return str(path)
    return None


def is_nats_server(path: str) -> bool:
    """False for our own program under that name, which an installed link in PATH may be."""
    return os.path.basename(os.path.realpath(path)) != "brokkr"
