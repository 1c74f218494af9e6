#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill_test.py - either side is killed at any moment of a migration

There is one guest before and one after, unless both sides of it were killed,
and its memory is right.  A destination that is killed before the hand-over
costs nothing: the guest runs on at the source and a second attempt moves it.
A source that is killed before the hand-over never makes the destination run
what is only half there.

Usage: kill_test.py TIDEMARK
"""
import json
import signal
import time

import command

SLOW = 24 << 20  # bytes a second: 32 MiB take over a second
# Late ones are about the last round and the hand-over, at full speed.
EARLY_S = [0.0, 0.05, 0.3, 0.7, 1.2]
LATE_STEPS = 14


def begin(vm, there, bandwidth):
    """Asks for a migration; returns the connection that will tell."""
    connection = vm.connect()
    connection.sendall(json.dumps(
        {"command": "migrate", "to": there.address,
         "bandwidth": bandwidth}).encode() + b"\n")
    return connection


def outcome(connection):
    """How the migration ended, or None if the vm is gone."""
    try:
        for line in connection.makefile(encoding="utf-8"):
            answer = json.loads(line)
            if answer["event"] in ("done", "failed"):
                return answer
    except OSError:
        pass
    return None


def guest(**options):
    return command.source("--vcpus", "2", "--device", workload="walker",
                          memory="32M", **options)


def quick_ns():
    """How long the same migration takes when nobody is killed."""
    vm, there = guest(), command.destination()
    done = vm.migrate(there.address)
    command.right_here(there)
    return done["total_ns"]


def after_destination_died(vm, answer):
    """What must be true at the source, whenever it was."""
    if answer["event"] == "done":  # it had run there already
        assert vm.wait() == 0
        return "done"
    if answer["state"] == "unknown":  # nobody knows, so it stays stopped
        assert vm.state() == "unknown"
        assert vm.migrate("unix:x")["event"] == "failed"
        assert vm.end() == 2
        return "unknown"
    assert vm.state() == "running", vm.said()
    there = command.destination()
    second = vm.migrate(there.address)
    assert second["event"] == "done", second
    assert vm.wait() == 0
    command.right_here(there)
    return "again"


def kill_destination(delay_s, bandwidth):
    vm, there = guest(), command.destination()
    connection = begin(vm, there, bandwidth)
    vm.until("moving the guest")
    time.sleep(delay_s)
    there.end(signal.SIGKILL)
    with connection:
        return after_destination_died(vm, outcome(connection))


def kill_source(delay_s, bandwidth):
    vm, there = guest(), command.destination()
    connection = begin(vm, there, bandwidth)
    vm.until("moving the guest")
    time.sleep(delay_s)
    vm.end(signal.SIGKILL)
    connection.close()
    end = time.monotonic() + 5
    while there.process.poll() is None:
        if "the guest runs" in there.said():  # the hand-over was done
            command.right_here(there)
            return "done"
        if "the guest did not arrive" in there.said():
            break  # and a sanitizer may keep it busy at its exit
        if time.monotonic() > end:  # it died before its first word
            second = guest().migrate(there.address)
            assert second["event"] == "done", (second, there.said())
            command.right_here(there)
            return "unnoticed"
        time.sleep(0.01)
    assert there.wait() == 2, there.said()
    assert "the guest did not arrive" in there.said(), there.said()
    assert "the guest runs" not in there.said(), there.said()
    return "refused"


def test_early_destination():
    for delay_s in EARLY_S:
        assert kill_destination(delay_s, SLOW) == "again", delay_s


def test_early_source():
    for delay_s in EARLY_S:
        how = kill_source(delay_s, SLOW)
        assert how == "refused" or (how == "unnoticed" and delay_s == 0), how


def late(kill, allowed):
    whole_s = quick_ns() / 1e9
    seen = [kill(whole_s * step / (LATE_STEPS - 3), 0)
            for step in range(LATE_STEPS)]
    print(f"# {' '.join(seen)}")
    assert set(seen) <= allowed, seen


def test_late_destination():
    late(kill_destination, {"again", "unknown", "done"})


def test_late_source():
    late(kill_source, {"refused", "done", "unnoticed"})


def test_stopped_destination():
    """One that only hangs: the deadline ends it, and the guest runs on."""
    vm, there = guest(), command.destination()
    there.process.send_signal(signal.SIGSTOP)
    answer = vm.migrate(there.address, deadline_ns=300000000)
    there.end(signal.SIGKILL)
    assert after_destination_died(vm, answer) == "again"


command.main([
    ("a destination killed early costs nothing", test_early_destination),
    ("a source killed early leaves nothing running", test_early_source),
    ("a destination killed late leaves one guest at most",
     test_late_destination),
    ("a source killed late leaves one guest at most", test_late_source),
    ("a destination that hangs costs nothing", test_stopped_destination),
])
