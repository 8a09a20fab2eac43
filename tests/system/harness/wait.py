"""Waiting with a deadline. Nothing here sleeps to "give something time"."""

import os
import time

SLOWNESS = float(os.environ.get("TEST_SLOWNESS", "1"))
"""Sanitizers make everything slower; run.sh says by how much."""


def until(what, predicate, deadline_s=5.0):
    """Polls until predicate() is true, and returns its value; fails with `what` if it never is:
    a text, or a function that makes it then."""
    end = time.monotonic() + deadline_s * SLOWNESS
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            what = what() if callable(what) else what
            raise AssertionError(f"not within {deadline_s * SLOWNESS:g} s: {what}")
        time.sleep(0.01)


def holds(what, predicate, duration_s):
    """Checks that predicate() stays true for a while."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        assert predicate(), f"did not last for {duration_s:g} s: {what}"
        time.sleep(0.02)


def took(function):
    """Runs it and returns the seconds that it took."""
    start = time.monotonic()
    function()
    return time.monotonic() - start
