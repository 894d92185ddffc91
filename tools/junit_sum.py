#!/usr/bin/env python3
"""Adds up JUnit files of ctest: prints the failed tests with the ends of their output, then
"N passed, N failed"; fails when none passed or one failed."""
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

SHOWN_LINES = 25  # the end of a failed test's output
SHOWN_TESTS = 20


def tell(path: str, case: xml.Element) -> None:
    """Prints which test of which run failed, how, and the last it said."""
    failure = case.find("failure")
    how = failure.get("message", "") if failure is not None else case.get("status", "")
    print(f"-- failed in {Path(path).stem}: {case.get('name')}: {how} after {case.get('time')} s")
    for line in (case.findtext("system-out") or "").splitlines()[-SHOWN_LINES:]:
        print(f"   {line}")


def main(paths: list[str]) -> int:
    passed = failed = skipped = told = 0
    for path in paths:
        try:
            suite = xml.parse(path).getroot()
        except (OSError, xml.ParseError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed += 1
            continue
        tests = int(suite.get("tests", 0))
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        unrun = int(suite.get("skipped", 0)) + int(suite.get("disabled", 0))
        passed += tests - bad - unrun
        failed += bad
        skipped += unrun
        for case in suite.iter("testcase"):
            if case.get("status") == "fail" and told < SHOWN_TESTS:
                tell(path, case)
                told += 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
