#!/usr/bin/env python3
"""Runs the tests of an existing nats.c build one by one against two servers and prints those that differ.

    suite.py BUILD_FOLDER --server PATH [--server PATH] [-R REGEX] [-E REGEX]

PATH is an executable to be started under the name nats-server, so a link of that name is made.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def test_names(build: pathlib.Path) -> list[str]:
    listing = subprocess.run(["ctest", "-N"], cwd=build, capture_output=True, text=True, check=True).stdout
    return re.findall(r"Test +#\d+: (\S+)", listing)


def run(build: pathlib.Path, server: str, select: list[str], report: pathlib.Path) -> dict[str, str]:
    """Test -> Passed, Failed, Timeout, Skipped. One at a time: the suite uses fixed ports."""
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, "nats-server")
        os.symlink(os.path.realpath(server), link)
        version = subprocess.run([link, "-v"], capture_output=True, text=True, check=True).stdout.strip()
        env = os.environ | {"NATS_TEST_SERVER_EXE": link, "NATS_TEST_SERVER_VERSION": version,
                            "NATS_TEST_TRAVIS": "yes", "PATH": folder + os.pathsep + os.environ["PATH"]}
        done = subprocess.run(["ctest", "-j1", "--timeout", "60", "--output-on-failure", *select], cwd=build, env=env,
                              capture_output=True, text=True)
    report.write_text(done.stdout)
    return dict(re.findall(r"Test +#\d+: (\S+) \.+[ *]*(Passed|Failed|Timeout|Skipped|Not Run)", done.stdout))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--server", action="append", required=True)
    parser.add_argument("-R", help="only tests whose name matches")
    parser.add_argument("-E", help="leave out tests whose name matches")
    args = parser.parse_args()
    select = [word for flag in ("R", "E") if getattr(args, flag) for word in (f"-{flag}", getattr(args, flag))]
    print(f"{len(test_names(args.build))} tests in {args.build}")
    results = []
    for index, server in enumerate(args.server):
        results.append(run(args.build, server, select, args.build / f"suite-{index}.log"))
        passed = sum(result == "Passed" for result in results[-1].values())
        print(f"{server}: {passed} of {len(results[-1])} passed, log {args.build}/suite-{index}.log", flush=True)
    for name in sorted(results[-1]):
        outcome = [result.get(name, "Not Run") for result in results]
        if len(set(outcome)) > 1 or (len(outcome) == 1 and outcome[0] != "Passed"):
            print(f"    {name}: {', '.join(outcome)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
