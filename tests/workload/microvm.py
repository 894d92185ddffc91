#!/usr/bin/env python3
"""Workloads in virtual machines, emulated: booted, logged, connected and stopped as in any other sandbox.

    microvm.py --brokkr PATH [--guest INIT] [--folder FOLDER] [CLAIM ...]

FOLDER holds what tools/microvm.sh makes; without one it is made in a temporary folder, which needs apt and the network.
Skipped (77) where QEMU, busybox or the kernel cannot be had. Each machine takes 3 to 10 s to boot on a quiet machine.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

from command_node import ROOT, Node, embedded
from images import BUSYBOX, busybox, folder_of, holds, output_of, run_script
from oci_images import layer

CLAIMS = []
SKIP = 77


def claim(function):
    CLAIMS.append(function)
    return function


@claim
def an_image_runs_in_a_machine_of_its_own(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    started = time.monotonic()
    out = run_script(node, "machine", f"oci:{path}", "busybox uname -r; id; busybox test -e /gone || echo gone is gone; cat /etc/new",
                     "--sandbox", "microvm", "--run-as", "app", "--wait", "120s")
    print(f"     from run to the end of a job: {time.monotonic() - started:.1f} s")
    holds(out, "uid=1000(app) gid=1001", "gone is gone", "new")
    if subprocess.run(["uname", "-r"], capture_output=True, text=True).stdout.strip() in out:
        raise AssertionError(f"the host's kernel: {out}")


@claim
def the_broker_is_at_its_usual_address(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    out = run_script(node, "connected", f"oci:{path}",
                     "echo $NATS_URL; echo PING | busybox timeout 20 busybox nc 192.168.127.1 4222 | busybox head -c 5",
                     "--sandbox", "microvm", "--wait", "120s")
    holds(out, "nats://192.168.127.1:4222", "INFO ")


@claim
def a_service_is_stopped_by_a_signal(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    script = "trap 'echo got the signal; exit 0' TERM; echo ready; while true; do busybox sleep 1 & wait $!; done"
    node.run("run", f"oci:{path}", "--name", "service", "--sandbox", "microvm", "--wait", "120s", "--stop-grace", "30s",
             "--argv", script, "--argv", "script")
    output_of(node, "service", "ready")
    with node.start("logs", "service", "-f") as logs:
        logs.wait_for("ready")
        node.run("stop", "service")
        logs.wait_for("got the signal")


@claim
def a_program_linked_statically_needs_no_image(node: Node) -> None:
    node.run("run", BUSYBOX, "--name", "native", "--type", "native", "--lifecycle", "job", "--sandbox", "microvm", "--wait", "120s",
             "--argv", "sh", "--argv", "-c", "--argv", "busybox id; echo $0 in a machine; echo to stderr >&2; exit 3")
    holds(output_of(node, "native", "in a machine"), "uid=65534")
    holds(node.run("info", "native"), "exit code 3")


@claim
def a_machine_has_its_memory_and_no_more(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    node.run("run", f"oci:{path}", "--name", "greedy", "--lifecycle", "job", "--sandbox", "microvm", "--memory", "48MB", "--wait", "120s",
             "--argv", "echo begins; exec busybox tail /dev/zero", "--argv", "script")
    output_of(node, "greedy", "begins")
    deadline = time.monotonic() + 60
    while "memory" not in (said := node.run("info", "greedy").lower().split("replicas", 1)[-1]):
        if time.monotonic() > deadline:
            raise AssertionError(said)
        time.sleep(0.1)


@claim
def the_node_says_what_runs_machines(node: Node) -> None:
    rows = {row["name"]: row for row in node.run_json("node", "info")["microvm"]}
    for name in ("qemu-system-x86_64", "qemu microvm machine", "guest kernel", "guest initramfs", "machines are run by"):
        if rows[name]["state"] != "ok":
            raise AssertionError(f"{name}: {rows[name]}")
    kvm = rows["/dev/kvm"]
    if (kvm["state"] == "ok") != ("boot with KVM" in rows) or not kvm["details"]:
        raise AssertionError(rows)
    holds(node.try_run("node", "preflight")[1], "machines are run by", "/dev/kvm")
    holds(node.run("node", "info"), rows["machines are run by"]["details"])


@claim
def a_root_may_be_larger_than_the_memory(node: Node) -> None:
    large = layer(("large", bytes(700 << 20) + b"the end of it", 0o644))
    path = busybox(None, large).write_layout(folder_of(node) / "layout")
    started = time.monotonic()
    out = run_script(node, "large", f"oci:{path}", "busybox tail -c 13 /large; echo; echo x > /large; busybox wc -c /large",
                     "--sandbox", "microvm", "--memory", "64MB", "--wait", "180s", "--run-as", "0")
    print(f"     with a root of 700 MiB: {time.monotonic() - started:.1f} s")
    holds(out, "the end of it", "2 /large")


@claim
def volumes_are_disks_kept_on_the_node(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    flags = ("--volume", "data:/var/lib/app", "--run-as", "app", "--wait", "120s")
    script = "busybox cat /var/lib/app/file; echo $RANDOM written > /var/lib/app/file && busybox df -m /var/lib/app"
    run_script(node, "keeper", f"oci:{path}", script, "--sandbox", "microvm", *flags)
    node.run("workload", "stop", "keeper")
    holds(run_script(node, "keeper", f"oci:{path}", script, "--sandbox", "microvm", *flags), "written")
    node.run("workload", "stop", "keeper")
    # What cannot be is said at once.
    code, out, err = node.try_run("run", f"oci:{path}", "--name", "keeper", "--lifecycle", "job", "--argv", "true", *flags)
    holds(out + err + node.try_run("info", "keeper")[1], "disk of a microVM")


@claim
def a_folder_of_another_sandbox_can_be_read_only(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    run_script(node, "teller", f"oci:{path}", "echo from the sandbox > /data/file", "--volume", "data:/data", "--wait", "60s")
    node.run("workload", "stop", "teller")
    out = run_script(node, "teller", f"oci:{path}", "busybox cat /data/file; echo x 2>&1 > /data/file || echo refused", "--sandbox", "microvm",
                     "--volume", "data:/data:ro", "--wait", "120s")
    holds(out, "from the sandbox", "refused")
    node.run("workload", "stop", "teller")


@claim
def a_machine_shows_its_monitor(node: Node) -> None:
    path = busybox().write_layout(folder_of(node) / "layout")
    node.run("run", f"oci:{path}", "--name", "shown", "--sandbox", "microvm", "--wait", "120s", "--argv", "echo up; exec busybox sleep 1000",
             "--argv", "script")
    output_of(node, "shown", "up")
    holds(node.run("info", "shown"), "microvm", "qemu")
    node.run("workload", "stop", "shown")


def prepare(folder: pathlib.Path, guest: str) -> str:
    """Makes kernel and initramfs; why not, when it cannot."""
    done = subprocess.run([str(ROOT / "tools" / "microvm.sh"), str(folder), guest], capture_output=True, text=True, timeout=240)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "tools/microvm.sh failed"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--guest", default="")
    parser.add_argument("--folder", default="")
    parser.add_argument("claims", nargs="*")
    options = parser.parse_args()
    brokkr = pathlib.Path(options.brokkr).resolve()
    guest = options.guest or str(brokkr.parent / "brokkr_guest_init")
    if not shutil.which("qemu-system-x86_64") or not BUSYBOX:
        print("skipped: QEMU or busybox is missing")
        return SKIP
    failed = 0
    chosen = [one for one in CLAIMS if not options.claims or any(word in one.__name__ for word in options.claims)]
    with tempfile.TemporaryDirectory(prefix="microvm-") as name:
        folder = pathlib.Path(options.folder or name).resolve()
        problem = "" if (folder / "initramfs").exists() else prepare(folder, guest)
        if problem:
            print(f"skipped: {problem}")
            return SKIP
        with embedded(str(brokkr)) as node:
            (node.folder / "data" / "microvm").symlink_to(folder)
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
