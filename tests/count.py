#!/usr/bin/env python3
"""Prints "passed failed skipped" of a file of results: count.py meson|junit FILE."""

import json
import os
import sys
import xml.etree.ElementTree


def of_meson(path):
    """testlog.json of `meson test`: one JSON object a line. Nothing here may be skipped in CI."""
    with open(path, encoding="utf-8") as log:
        results = [json.loads(line)["result"] for line in log]
    passed = sum(result in ("OK", "EXPECTEDFAIL") for result in results)
    skipped = 0 if os.environ.get("MUST_RUN") == "1" else results.count("SKIP")
    return passed, len(results) - passed - skipped, skipped


def of_junit(path):
    """The file of pytest --junitxml."""
    suite = xml.etree.ElementTree.parse(path).getroot().find("testsuite")
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    return total - failed - skipped, failed, skipped


if __name__ == "__main__":
    print(*{"meson": of_meson, "junit": of_junit}[sys.argv[1]](sys.argv[2]))
