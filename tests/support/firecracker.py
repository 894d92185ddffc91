#!/usr/bin/env python3
"""Plays Firecracker's jailer, then Firecracker, then the guest in it: refuses what the real ones refuse.

Started as the jailer is. It takes no root and starts no machine; paths of the API are below the jail's root. What they refuse
is their published interface: src/firecracker/swagger, docs/jailer.md and docs/vsock.md of release 1.8 and later.
The guest greets, takes the order to start a program, writes what it was given to standard output and ends with exit code 7.
"""
import json
import os
import pathlib
import re
import socket
import struct
import sys

GREETING = b"\nBROKKR-GUEST-1\n"
SPEC, STARTED, OUTPUT, EXIT, LINK_ACK = 1, 16, 18, 19, 22
JAILER_FLAGS = {"--id", "--exec-file", "--uid", "--gid", "--chroot-base-dir", "--netns", "--cgroup", "--cgroup-version", "--parent-cgroup",
                "--resource-limit"}
TEXT, NUMBER, SWITCH, FOLDER = str, int, bool, dict
# Path: members, with those that must be there.
SCHEMAS = {
    "machine-config": ({"vcpu_count": NUMBER, "mem_size_mib": NUMBER, "smt": SWITCH, "cpu_template": TEXT, "track_dirty_pages": SWITCH,
                        "huge_pages": TEXT}, {"vcpu_count", "mem_size_mib"}),
    "boot-source": ({"kernel_image_path": TEXT, "initrd_path": TEXT, "boot_args": TEXT}, {"kernel_image_path"}),
    "drives": ({"drive_id": TEXT, "partuuid": TEXT, "is_root_device": SWITCH, "cache_type": TEXT, "is_read_only": SWITCH, "path_on_host": TEXT,
                "rate_limiter": FOLDER, "io_engine": TEXT, "socket": TEXT}, {"drive_id", "is_root_device"}),
    "vsock": ({"guest_cid": NUMBER, "uds_path": TEXT, "vsock_id": TEXT}, {"guest_cid", "uds_path"}),
    "actions": ({"action_type": TEXT}, {"action_type"}),
}
BUCKET = {"size": NUMBER, "refill_time": NUMBER, "one_time_burst": NUMBER}


class Refused(Exception):
    pass


def expect(holds: bool, why: str) -> None:
    if not holds:
        raise Refused(why)


def check_members(body: object, members: dict, required: set, what: str) -> None:
    expect(isinstance(body, dict), f"{what}: no object")
    for name, value in body.items():
        expect(name in members, f"{what}: unknown field `{name}`")
        expect(isinstance(value, members[name]) and not (members[name] is int and isinstance(value, bool)), f"{what}: invalid type for `{name}`")
        expect(not isinstance(value, int) or value >= 0, f"{what}: `{name}` is negative")
    for name in sorted(required - body.keys()):
        raise Refused(f"{what}: missing field `{name}`")


class Jail:
    """What the jailer was told, checked as it does."""

    def __init__(self, words: list[str]):
        own, rest = (words[:words.index("--")], words[words.index("--") + 1:]) if "--" in words else (words, [])
        told = {}
        while own:
            flag = own.pop(0)
            expect(flag in JAILER_FLAGS, f"unexpected argument {flag}")
            expect(bool(own) and not own[0].startswith("--"), f"{flag} requires a value")
            expect(flag not in told, f"duplicate argument {flag}")
            told[flag] = own.pop(0)
        for flag in ("--id", "--exec-file", "--uid", "--gid"):
            expect(flag in told, f"missing argument {flag}")
        expect(re.fullmatch(r"[a-zA-Z0-9-]{1,64}", told["--id"]) is not None, f"invalid instance ID {told['--id']}")
        program = pathlib.Path(told["--exec-file"]).resolve()
        expect(program.is_file(), f"{program} is not a file")
        expect("firecracker" in program.name, f"the file name of {program} holds no \"firecracker\"")
        for flag in ("--uid", "--gid"):
            expect(told[flag].isdecimal() and int(told[flag]) < 2**32, f"invalid {flag} {told[flag]}")
        base = pathlib.Path(told.get("--chroot-base-dir", "/srv/jailer"))
        expect(base.is_dir(), f"{base} is not a directory")
        if "--netns" in told:
            os.close(os.open(told["--netns"], os.O_RDONLY))
        expect(os.geteuid() == 0, "the jailer runs as root")
        self.root = base.resolve() / program.name / told["--id"] / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        os.chown(self.root, int(told["--uid"]), int(told["--gid"]))
        self.user = int(told["--uid"])
        expect(rest[:1] in ([], ["--api-sock"]) and len(rest) in (0, 2), f"unexpected argument {rest}")
        self.socket = self.inside(rest[1] if rest else "/run/firecracker.socket")

    def inside(self, path: str) -> pathlib.Path:
        """As the monitor sees it, whose root is the jail's."""
        return self.root / path.lstrip("/")

    def may_use(self, path: str, is_writable: bool, what: str) -> None:
        file = self.inside(path)
        expect(file.is_file(), f"{what}: {path}: No such file or directory")
        about = file.stat()
        mine, others = (about.st_mode >> 6, about.st_mode) if about.st_uid == self.user else (about.st_mode, about.st_mode)
        bits = 6 if is_writable else 4
        expect((mine if about.st_uid == self.user else others) & bits == bits, f"{what}: {path}: Permission denied")


class Machine:
    def __init__(self, jail: Jail):
        self.jail, self.kernel, self.vsock, self.is_started = jail, None, None, False
        self.drives: dict[str, dict] = {}

    def put(self, path: str, body: object) -> None:
        kind, _, name = path.strip("/").partition("/")
        expect(kind in SCHEMAS, f"Invalid request method and/or path: PUT {path}")
        expect((kind == "drives") == bool(name), f"Invalid request method and/or path: PUT {path}")
        check_members(body, *SCHEMAS[kind], kind)
        expect(not self.is_started, "The requested operation is not supported after starting the microVM.")
        getattr(self, "put_" + kind.replace("-", "_"))(body, name)

    def put_machine_config(self, body: dict, _: str) -> None:
        expect(1 <= body["vcpu_count"] <= 32, "The vCPU number is invalid!")
        expect(not body.get("smt") or body["vcpu_count"] == 1 or body["vcpu_count"] % 2 == 0, "The vCPU number is invalid!")
        expect(body["mem_size_mib"] > 0, "The memory size (MiB) is invalid.")

    def put_boot_source(self, body: dict, _: str) -> None:
        self.jail.may_use(body["kernel_image_path"], False, "The kernel file cannot be opened")
        if "initrd_path" in body:
            self.jail.may_use(body["initrd_path"], False, "The initrd file cannot be opened")
        arguments = body.get("boot_args", "")
        expect(arguments.isascii() and len(arguments) < 2048, "The kernel command line is invalid")
        # Not refused by the monitor, but by the guest's kernel: it could not load its drivers.
        expect("nomodule" not in arguments.split(), "nomodule")
        self.kernel = body

    def put_drives(self, body: dict, name: str) -> None:
        expect(re.fullmatch(r"[a-zA-Z0-9_]+", name) is not None, "API Resource IDs can only contain alphanumeric characters and underscores.")
        expect(name == body["drive_id"], "The id from the path does not match the id from the body!")
        expect(("path_on_host" in body and "is_read_only" in body) != ("socket" in body), "Unable to create the block device")
        expect(body.get("cache_type", "Unsafe") in ("Unsafe", "Writeback"), "unknown variant of cache_type")
        expect(body.get("io_engine", "Sync") in ("Sync", "Async"), "unknown variant of io_engine")
        self.jail.may_use(body["path_on_host"], not body["is_read_only"], "Unable to create the block device")
        limiter = body.get("rate_limiter", {})
        check_members(limiter, {"bandwidth": FOLDER, "ops": FOLDER}, set(), "rate_limiter")
        for bucket in limiter.values():
            check_members(bucket, BUCKET, {"size", "refill_time"}, "bucket")
        others = [one for key, one in self.drives.items() if key != name and one["is_root_device"]]
        expect(not (body["is_root_device"] and others), "A root block device already exists!")
        self.drives[name] = body

    def put_vsock(self, body: dict, _: str) -> None:
        expect(3 <= body["guest_cid"] < 2**32, "vsock: invalid guest_cid")
        path = self.jail.inside(body["uds_path"])
        expect(not path.exists(), "Cannot create backend for vsock device: Address in use")
        expect(len(body["uds_path"]) < 108, "path must be shorter than SUN_LEN")
        self.vsock = listen(path)

    def put_actions(self, body: dict, _: str) -> None:
        expect(body["action_type"] in ("InstanceStart", "SendCtrlAltDel", "FlushMetrics"), f"unknown variant `{body['action_type']}`")
        expect(body["action_type"] == "InstanceStart", "The requested operation is not supported before starting the microVM.")
        expect(self.kernel is not None, "Cannot start microvm without kernel configuration.")
        self.is_started = True


def listen(path: pathlib.Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_PATH)
    server.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    server.listen(10)
    return server


def serve_api(machine: Machine, connection: socket.socket) -> None:
    """Until the machine has started or the client goes."""
    data = b""
    while not machine.is_started:
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return
            data += more
        head, data = data.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        size = int(headers.get("content-length", 0))
        while len(data) < size:
            data += connection.recv(65536)
        body, data = data[:size], data[size:]
        try:
            method, path, version = first.split(" ")
            expect(version in ("HTTP/1.0", "HTTP/1.1") and method == "PUT", f"Invalid request method and/or path: {method} {path}")
            expect(headers.get("content-type", "application/json") == "application/json", "Unsupported media type")
            machine.put(path, json.loads(body))
            connection.sendall(b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n")
        except (Refused, ValueError) as problem:
            said = json.dumps({"fault_message": str(problem)}).encode()
            connection.sendall(b"HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
                               b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))


def frame(kind: int, payload: bytes, stream: int = 0) -> bytes:
    return struct.pack("<IBxxxI", len(payload), kind, stream) + payload


def play_guest(link: socket.socket, drives: dict) -> None:
    link.sendall(GREETING)
    data = b""
    while len(data) < 12 or len(data) < 12 + struct.unpack("<I", data[:4])[0]:
        if not (more := link.recv(65536)):
            return
        data += more
    link.sendall(frame(STARTED, b""))
    rates = [one.get("rate_limiter", {}).get("bandwidth", {}).get("size", 0) for one in drives.values()]
    kinds = ["ro" if one["is_read_only"] else "rw" for one in drives.values()]
    said = f"kind {data[4]}; drives {' '.join(drives)}; {' '.join(kinds)}; rates {rates}\n".encode()
    link.sendall(frame(OUTPUT, said, 1) + frame(EXIT, struct.pack("<III", 0, 7, 0)))
    while link.recv(65536):
        pass


def main() -> int:
    try:
        jail = Jail(sys.argv[1:])
    except (Refused, OSError) as problem:
        print(f"jailer: {problem}", file=sys.stderr)
        return 1
    machine = Machine(jail)
    api = listen(jail.socket)
    while not machine.is_started:
        serve_api(machine, api.accept()[0])
    # Firecracker closes what asks for a port nobody listens on: the guest takes a moment.
    for attempt in range(1000):
        link = machine.vsock.accept()[0]
        asked = b""
        while not asked.endswith(b"\n") and (byte := link.recv(1)):
            asked += byte
        if attempt < 3 or asked != b"CONNECT 1024\n":
            link.close()
            continue
        link.sendall(b"OK 1073741824\n")
        play_guest(link, machine.drives)
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
