#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""watch_test.py - tidemark watch, on processes that write what we know

Usage: watch_test.py TIDEMARK
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import command

PAGES = 40
LAST_PID = "/proc/sys/kernel/ns_last_pid"
# Writes the same pages of a mapping of its own every 10 ms, and counts the
# times that a sleep of its own was cut short.
TARGET = f"""
import mmap, time
memory = mmap.mmap(-1, {1024 * 4096}, mmap.MAP_PRIVATE)
print("ready", flush=True)
n = 0
while True:
    n = (n + 1) % 256
    for page in range(0, {PAGES} * 3, 3):
        memory[page * 4096] = n
    time.sleep(0.01)
"""


# Forks a child that writes other pages of the same mapping, and maps memory of
# which it writes a part.
FAMILY = """
import mmap, os, time
memory = mmap.mmap(-1, 1024 * 4096, mmap.MAP_PRIVATE)
time.sleep(1)
new = mmap.mmap(-1, 65536 * 4096, mmap.MAP_PRIVATE)
for page in range(30):
    new[page * 2 * 4096] = 1
pages = range(60) if os.fork() else range(100, 170)
n = 0
while True:
    n = (n + 1) % 256
    for page in pages:
        memory[page * 4096] = n
    time.sleep(0.01)
"""


# Writes files whose names are their own business.
NAMED = """
import mmap, os, sys, time
memory = []
for name in sys.argv[1:]:
    file = os.open(os.fsencode(name), os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 4096)
    memory.append(mmap.mmap(file, 4096))
print("ready", flush=True)
n = 0
while True:
    n = (n + 1) % 256
    for one in memory:
        one[0] = n
    time.sleep(0.01)
"""


def works():
    return "wp" in command.tracker_names() and os.uname().machine == "x86_64"


def target():
    process = subprocess.Popen([sys.executable, "-c", TARGET],
                               stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout.readline() == "ready\n"
    return process


def descriptors(process):
    return sorted(os.listdir(f"/proc/{process.pid}/fd"))


def objects(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_pages():
    """Fails when pages are missing, or many come that nobody wrote."""
    process = target()
    before = descriptors(process)
    watcher = subprocess.Popen(
        [command.TIDEMARK, "watch", "-p", str(process.pid), "--interval",
         "100", "--json"], stdout=subprocess.PIPE, encoding="utf-8")
    seen = [json.loads(watcher.stdout.readline()) for _ in range(22)]
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=60)
    assert watcher.returncode == 0, watcher.returncode
    # A machine that is busy may not let it write in an interval.
    assert any(mapping["dirty_pages"] == PAGES
               for one in seen for mapping in one["mappings"]), seen
    windows = [one for one in seen if "window_dirty_pages" in one]
    assert windows and all(
        one["window_dirty_pages"] >= PAGES for one in windows), windows
    assert all(one["dirty_bytes"] == one["dirty_pages"] * 4096
               for one in seen)
    assert process.poll() is None and descriptors(process) == before
    process.kill()
    process.wait()


def test_left_out():
    """Fails when nobody is told of memory that cannot be looked at."""
    process = subprocess.Popen(
        [sys.executable, "-c",
         "import mmap, sys\n"
         "big = mmap.mmap(-1, 2 << 40, mmap.MAP_SHARED | 0x4000)\n"
         "print('ready', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout.readline() == "ready\n"
    watch = ["watch", "-p", str(process.pid), "--interval", "50", "--for",
             "1s"]
    seen = objects(command.run(*watch, "--json"))
    said = command.run(*watch).stdout
    process.kill()
    process.wait()
    assert {(one["left_out_mappings"], one["left_out_bytes"])
            for one in seen} == {(1, 2 << 40)}, seen
    assert "not looked at: 1 mappings, 2 TiB" in said, said


def test_lines():
    """Fails when the lines for people do not say what they should."""
    process = target()
    done = command.run("watch", "-p", str(process.pid), "--interval", "200",
                       "--for", "1s")
    process.kill()
    process.wait()
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0].startswith("attached: one thread")
    assert any(" pages dirty in " in line for line in lines), lines
    assert any("anonymous" in line or "/" in line for line in lines), lines


def test_names():
    """Fails when a name does something to a terminal, or is not UTF-8."""
    ends = (b"\x1b[2Jred", b"\xff broken", b"\x9b3",
            "\u65e5".encode() * 21 + b"x")
    names = [os.fsdecode(command.fresh("name").encode() + end)
             for end in ends]
    process = subprocess.Popen([sys.executable, "-c", NAMED, *names],
                               stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout.readline() == "ready\n"
    watch = ("watch", "-p", str(process.pid), "--interval", "200", "--for",
             "1s")
    lines = command.run(*watch).stdout
    seen = objects(command.run(*watch, "--json"))
    process.kill()
    process.wait()
    assert not [one for one in lines if not one.isprintable() and one != "\n"]
    found = {mapping["name"].rpartition("/")[2]
             for one in seen for mapping in one["mappings"]}
    for end in ("\ufffd[2Jred", "\ufffd broken", "\ufffd3",
                "\u65e5" * 20 + "x"):
        assert any(name.endswith(end) for name in found), (end, found)


def test_nobody_reads():
    """Fails when a process is watched on after the last who looked is gone."""
    process = target()
    for form in ((), ("--json",)):
        watch = [command.TIDEMARK, "watch", "-p", str(process.pid),
                 "--interval", "50", *form]
        watcher = subprocess.Popen(watch, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        assert watcher.stdout.readline()
        watcher.stdout.close()
        assert watcher.wait(timeout=60) == 2
        with open("/dev/full", "w", encoding="utf-8") as full:
            assert subprocess.run(watch, stdout=full, timeout=60,
                                  stderr=subprocess.DEVNULL,
                                  check=False).returncode == 2
        assert subprocess.run(["sh", "-c", '"$0" "$@" >&-', *watch],
                              stderr=subprocess.DEVNULL, timeout=60,
                              check=False).returncode == 2
    process.kill()
    process.wait()


def test_too_short():
    """Fails when a time in which nothing can be seen is taken all the same."""
    sleeper = subprocess.Popen(["sleep", "60"])
    path = command.fresh("trace")
    for words in (("watch",), ("record", "-o", path), ("plan",)):
        said = command.one_line(command.run(
            *words, "-p", str(sleeper.pid), "--interval", "200ms", "--for",
            "150ms"))
        assert "--for" in said, said
    assert not os.path.exists(path) and sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()


def test_command():
    """Fails when a command that is watched is not ended with us."""
    seconds = f"77.{os.getpid()}"  # like nobody else's
    done = command.run("watch", "--interval", "100", "--for", "500ms",
                       "--json", "--", "sleep", seconds)
    assert objects(done)
    assert subprocess.run(["pgrep", "-f", f"^sleep {seconds}"],
                          capture_output=True, check=False).returncode == 1


def test_exec():
    """Fails when a process that executes another program looks quiet."""
    seen = objects(command.run(
        "watch", "--interval", "100", "--for", "6s", "--json", "--", "sh",
        "-c", 'sleep 0.5; exec "$0" -c "$1" >&2', sys.executable, TARGET))
    assert any(one["dirty_pages"] >= PAGES for one in seen[5:]), seen[-3:]


def test_family():
    """Fails when a child is missed, or a new mapping counts as written."""
    seen = objects(command.run(
        "watch", "--interval", "100", "--for", "6s", "--json",
        "--follow-children", "--", sys.executable, "-c", FAMILY))
    seen = seen[1:]  # what was there before its first line
    parent = seen[0]["mappings"][0]["pid"] if seen[0]["mappings"] else 0
    last = seen[-5:]
    pids = {mapping["pid"] for one in last for mapping in one["mappings"]}
    assert len(pids) == 2 and all(one["processes"] == 2 for one in last), last
    found = {(mapping["pid"] == parent, mapping["dirty_pages"])
             for one in last for mapping in one["mappings"]
             if mapping["end"] - mapping["start"] == 1024 * 4096}
    assert {pages for _, pages in found} & {60, 70} == {60, 70}, found
    for _ in range(100):  # the child has been asked to end
        if subprocess.run(["pgrep", "-f", r"range.100, 170\)"],
                          capture_output=True, check=False).returncode == 1:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the child is left behind")
    new = [mapping["dirty_pages"] for one in seen
           for mapping in one["mappings"]
           if mapping["end"] - mapping["start"] == 65536 * 4096]
    assert sum(new) == 30, new


# Has a child that ends, and says so.
PARENT = """
import os, time
pid = os.fork()
if pid:
    print(pid, flush=True)
    os.wait()
    print("gone", flush=True)
time.sleep(60 if pid else 1)
"""


def take_number(pid):
    """A process of ours with this number, and its child: their numbers."""
    for _ in range(1000):
        pathlib.Path(LAST_PID).write_text(str(pid - 1), "utf-8")
        process = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"],
                                   stdout=subprocess.PIPE, encoding="utf-8")
        child = int(process.stdout.readline())
        if process.pid == pid:
            return process, child
        os.kill(child, signal.SIGKILL)
        process.wait()
    raise AssertionError("others were always faster")


def test_number_again():
    """Fails when who gets the number of a child that has ended is taken for
    it, and that one's children are watched."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT],
                              stdout=subprocess.PIPE, encoding="utf-8")
    pid = int(parent.stdout.readline())
    watcher = subprocess.Popen(
        [command.TIDEMARK, "watch", "-p", str(parent.pid), "--interval", "50",
         "--json", "--follow-children"],
        stdout=subprocess.PIPE, encoding="utf-8")
    lines = (json.loads(line) for line in watcher.stdout)
    assert next(lines)["processes"] == 2
    assert parent.stdout.readline() == "gone\n"
    assert any(one["processes"] == 1 for one in lines)
    next(lines)
    stranger, child = take_number(pid)
    try:
        assert {next(lines)["processes"] for _ in range(20)} == {1}
    finally:
        os.kill(child, signal.SIGKILL)
        stranger.wait()
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=60)
        parent.kill()
        parent.wait()


def test_end():
    """Fails when the end of the process is an error, or is waited for."""
    done = command.run("watch", "--interval", "100", "--json", "--", "sleep",
                       "3")
    assert len(objects(done)) >= 5


def test_killed():
    """Fails when a watcher that is killed leaves anything behind."""
    process = target()
    before = descriptors(process)
    for moment in (0.002, 0.01, 0.05, 0.3):
        watcher = subprocess.Popen(
            [command.TIDEMARK, "watch", "-p", str(process.pid), "--json"],
            stdout=subprocess.DEVNULL)
        time.sleep(moment)
        watcher.send_signal(signal.SIGKILL)
        watcher.wait()
    for _ in range(100):  # a helper may not be done yet
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text("utf-8")
        if "TracerPid:\t0\n" in status:
            break
        time.sleep(0.1)
    assert process.poll() is None and descriptors(process) == before
    assert objects(command.run("watch", "-p", str(process.pid), "--interval",
                               "100", "--for", "500ms", "--json"))
    process.kill()
    process.wait()


def test_refused():
    """Fails when a process that cannot be watched gets more than a line."""
    said = command.one_line(command.run("watch", "-p", "4194303"))
    assert "no such process" in said
    said = command.one_line(command.run("watch"))
    assert "which process" in said
    command.one_line(command.run("watch", "-p", "0"))
    command.one_line(command.run("watch", "-p", "1", "--", "true"))
    said = command.one_line(command.run("watch", "--", "/no/such/command"))
    assert "/no/such/command" in said
    command.one_line(command.run("watch", "-p", "1", "--interval", "1us"))


CLAIMS = [("what cannot be watched is one line", test_refused)]
REAL = [
    ("the pages that a process writes, and no others", test_pages),
    ("memory that cannot be looked at", test_left_out),
    ("lines for people", test_lines),
    ("names that would move the cursor, or are no text", test_names),
    ("nobody reads what it prints", test_nobody_reads),
    ("less than an interval is no time", test_too_short),
    ("a command ends with us", test_command),
    ("a program that executes another", test_exec),
    ("a child is watched, a new mapping where it was written", test_family),
    ("we end with the process", test_end),
    ("a watcher that is killed leaves nothing behind", test_killed),
]
NUMBER = "the number of a child that has ended is another's"
if os.geteuid() == 0 and os.access(LAST_PID, os.W_OK):
    REAL.append((NUMBER, test_number_again))
else:
    CLAIMS.append((NUMBER + " # SKIP numbers cannot be chosen here",
                   lambda: None))
if works():
    CLAIMS += REAL
else:
    CLAIMS += [(name + " # SKIP processes cannot be tracked here",
                lambda: None) for name, _ in REAL]
command.main(CLAIMS)
