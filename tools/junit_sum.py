#!/usr/bin/env python3
"""Adds up JUnit files of ctest: prints "N passed, N failed" and fails when none passed or one failed."""
import sys
import xml.etree.ElementTree as xml


def main(paths: list[str]) -> int:
    passed = failed = skipped = 0
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
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
