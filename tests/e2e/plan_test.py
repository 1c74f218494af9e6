#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""plan_test.py - tidemark plan, on processes that write what we know

Usage: plan_test.py TIDEMARK
"""
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

import command

MIB = 1 << 20
MEMORY = 32 * MIB  # all of it with content
# Writes the first HOT pages every 20 ms, or nothing.
TARGET = f"""
import mmap, sys, time
memory = mmap.mmap(-1, {MEMORY}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, {MEMORY}, 4096):
    memory[page] = 1
print("ready", flush=True)
n = 0
while True:
    n = (n + 1) % 255
    for page in range(int(sys.argv[1])):
        memory[page * 4096] = n + 1
    time.sleep(0.02)
"""
HOT = 2000
SHORT = ("--for", "2s", "--interval", "40ms")


def works():
    return "wp" in command.tracker_names() and os.uname().machine == "x86_64"


class Target:
    def __init__(self, hot):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TARGET, str(hot)], stdout=subprocess.PIPE,
            encoding="utf-8")
        assert self.process.stdout.readline() == "ready\n"
        self.pid = str(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def plan(*arguments):
    done = command.run("plan", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


def test_hot_set():
    """Fails when what is predicted of a hot set is not what is clear."""
    with Target(HOT) as target:
        said = plan("-p", target.pid, *SHORT, "--bandwidth", "16M,32M",
                    "--downtime", "5ms,10s")
        assert target.process.poll() is None
    trace = said["trace"]
    assert trace["memory_bytes"] >= MEMORY
    assert trace["memory_bytes"] < 2 * MEMORY
    assert trace["data_pages"] <= trace["memory_pages"]
    # It may be held up, but it cannot write more than there is.
    longest = said["curve"][-1]
    assert HOT <= longest["pages"] < HOT + 1000, said["curve"]
    for one in said["plans"]:
        assert one["converges"] == (one["downtime_goal_ns"] == 10**10), one
        assert one["certain"]
        assert one["bytes"] > MEMORY
        assert one["total_ns"] >= MEMORY * 10**9 // one["bandwidth"] // 2
        assert one["bytes_low"] <= one["bytes"] <= one["bytes_high"]
    assert [one["rounds"] for one in said["plans"]][2:] == [1, 1]
    # 32 MiB at 16 MiB a second, and 2 s were looked at
    slow = said["plans"][2]
    assert slow["extrapolated"] == (slow["total_ns"] > 2 * 10**9)
    border = said["smallest_bandwidths"]
    assert [one["downtime_goal_ns"] for one in border] == [5000000, 10**10]
    # 8 MB in 5 ms, and about that in 10 s
    assert border[0]["bandwidth"] > 32 * MIB
    assert border[1]["bandwidth"] < 2 * MIB


def test_idle():
    """Fails when nothing that is written does not converge."""
    with Target(0) as target:
        said = plan("-p", target.pid, *SHORT, "--bandwidth", "1M",
                    "--downtime", "2s")
    (one,) = said["plans"]
    assert one["converges"] and one["rounds"] <= 2, one
    assert MEMORY <= one["bytes"] < MEMORY * 1.5, one
    assert one["extrapolated"]


def test_lines():
    """Fails when the lines for people lack what they are there for."""
    with Target(HOT) as target:
        done = command.run("plan", "-p", target.pid, *SHORT)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for text in ("memory with content: ", " of a processor", "1 Gbit/s",
                 "10 Gbit/s", "100 Gbit/s", " 50.0 ms ", "300.0 ms ",
                 " 1.00 s ", "converges", "How sure is that?",
                 "smallest bandwidth", "first write"):
        assert text in done.stdout, (text, done.stdout)
    assert done.stdout.count(" Gbit/s  ") == 12, done.stdout


def test_interrupted():
    """Fails when Ctrl-C throws away what was seen, or leaves something."""
    with Target(HOT) as target:
        before = sorted(os.listdir(f"/proc/{target.pid}/fd"))
        process = subprocess.Popen(
            [command.TIDEMARK, "plan", "-p", target.pid, "--json"],
            stdout=subprocess.PIPE, encoding="utf-8")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=command.TIMEOUT)
        assert process.returncode == 0
        assert json.loads(out)["trace"]["trace_ns"] < 25 * 10**9
        assert target.process.poll() is None
        assert sorted(os.listdir(f"/proc/{target.pid}/fd")) == before


def test_filled():
    """Fails when memory that is filled meanwhile is not known afterwards."""
    script = f"""
import mmap, time
memory = mmap.mmap(-1, {MEMORY}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, {MEMORY // 2}, 4096):
    memory[page] = 1
print("ready", flush=True)
time.sleep(1.5)
for page in range({MEMORY // 2}, {MEMORY}, 4096):
    memory[page] = 1
print("filled", flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], encoding="utf-8",
                          stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        said = plan("-p", str(process.pid), "--for", "4s")
        filled = select.select([process.stdout], [], [], 0)[0]
        process.kill()
    assert not filled or said["trace"]["memory_bytes"] >= MEMORY, said


def test_ended():
    """Fails when a process that ends has no plan, or is waited for."""
    with subprocess.Popen(["sleep", "1.5"]) as process:
        said = plan("-p", str(process.pid), "--bandwidth", "1M")
    assert said["trace"]["ended"]
    assert said["trace"]["trace_ns"] < 10 * 10**9
    assert said["trace"]["memory_pages"] > 0
    assert all(one["converges"] for one in said["plans"])


def resident(pid):
    """Bytes of a process that are in memory."""
    pages = pathlib.Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]
    return int(pages) * 4096


def test_guest():
    """Fails when the process of a virtual machine cannot be planned."""
    vm = command.source("--tracker", "kvm-get", workload="walker",
                        memory="64M")
    end = time.monotonic() + command.TIMEOUT
    while resident(vm.process.pid) < 40 * MIB:
        assert vm.process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    said = plan("-p", str(vm.process.pid), *SHORT, "--bandwidth",
                "1M,10000M", "--downtime", "1ms,10s")
    assert vm.process.poll() is None
    command.right_here(vm)
    assert said["trace"]["memory_bytes"] >= 32 * MIB
    assert said["trace"]["dirty_pages"] > 1
    assert said["plans"][-1]["converges"]
    assert not said["plans"][0]["converges"]


def test_bench():
    """Fails when plans are not held against rehearsals.  How near they come
    is measured, and not tested."""
    done = command.run("bench", "plan", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    one, error, right = map(json.loads, done.stdout.splitlines())
    assert one["name"] == "plan-of-sequential"
    for name in ("converges", "rounds", "total_ns", "bytes"):
        assert len(one[name]) == 2, one
    assert min(one["bytes"]) >= 64 * MIB, one
    assert error["name"] == "plan-median-error-percent" and error["n"] == 1
    assert error["goal_at_most"] == 15
    assert abs(abs(one["value"]) - error["value"]) < 0.01, (one, error)
    assert right["name"] == "plan-verdicts-right"
    assert right["value"] == (one["converges"][0] == one["converges"][1])


def test_files():
    """Fails when a file that is no trace gets more than a line."""
    path = pathlib.Path(command.fresh("trace"))
    said = command.one_line(command.run("plan", str(path)))
    assert str(path) in said
    for content in (b"", b"no trace at all, " * 100):
        path.write_bytes(content)
        said = command.one_line(command.run("plan", str(path)))
        assert str(path) in said
    command.one_line(command.run("plan", "/"))


def test_refused():
    """Fails when bad usage gets more than a line."""
    def refused(text, *arguments):
        said = command.one_line(command.run("plan", *arguments))
        assert text in said, said

    refused("-p PID")
    refused("-p PID", "-p", "1", "file")
    refused("unexpected", "a", "b")
    refused("no such process", "-p", "4194303")
    refused("too little", "file", "--bandwidth", "0")
    refused("too little", "file", "--bandwidth", "10M,0")
    refused("not a size", "file", "--bandwidth", "fast")
    refused("not a size", "file", "--bandwidth", "")
    refused("not a size", "file", "--bandwidth", "1M,,2M")
    refused("not a size", "file", "--bandwidth", "1" * 500)
    refused("at most", "file", "--bandwidth", ",".join(["1M"] * 17))
    refused("too little", "file", "--downtime", "0ms")
    refused("not a time", "file", "--downtime", "soon")
    refused("too little", "-p", "1", "--interval", "1us")


CLAIMS = [
    ("a file that is no trace is one line", test_files),
    ("bad usage is one line", test_refused),
]
REAL = [
    ("a hot set, and what is clear of it", test_hot_set),
    ("an idle process converges", test_idle),
    ("lines for people", test_lines),
    ("Ctrl-C ends the recording, and leaves nothing", test_interrupted),
    ("memory that is filled meanwhile", test_filled),
    ("a process that ends has a plan", test_ended),
    ("a plan is held against a rehearsal", test_bench),
]
if works():
    CLAIMS += REAL
else:
    CLAIMS += [(name + " # SKIP processes cannot be tracked here",
                lambda: None) for name, _ in REAL]
GUEST = "the process of a virtual machine"
if works() and "kvm-get" in command.tracker_names():
    CLAIMS.append((GUEST, test_guest))
else:
    CLAIMS.append((GUEST + " # SKIP needs /dev/kvm, and processes that can be "
                   "tracked", lambda: None))
command.main(CLAIMS)
