#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""record_test.py - tidemark record, on processes that write what we know

What is in a trace is read by report, which has it from the library's reader.

Usage: record_test.py TIDEMARK
"""
import json
import os
import pathlib
import pty
import select
import signal
import stat
import subprocess
import sys
import time

import command

PAGES = 8192   # of the mapping
DATA = 600     # hold something,
ZEROS = 200    # and these zeros only: up to 1,024 are all looked at
HOT = 100      # written again and again
# With an argument: as many random pages at a time, if it is not 0.  With
# another: so often.
TARGET = f"""
import mmap, random, sys, time
memory = mmap.mmap(-1, {PAGES} * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range({DATA}):
    memory[page * 4096] = 1
for page in range({DATA}, {DATA + ZEROS}):
    memory[page * 4096] = 0
print("ready", flush=True)
count, times = [*map(int, sys.argv[1:]), 0, 0][:2]
n = 0
while not times or n < times:
    n += 1
    pages = range(0, {HOT} * 3, 3)
    if count:
        pages = random.sample(range({PAGES}), count)
    for page in pages:
        memory[page * 4096] = n % 255 + 1
    time.sleep(0.01)
"""
# Has another mapping every time that somebody looks; a bit a page of one is
# 32 KiB.
GUESTS = """
import mmap, time
print("ready", flush=True)
while True:
    memory = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    time.sleep(0.015)
    memory.close()
"""
# A file system that has no files without a name.
OLD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = va_arg(args, int);
    va_end(args);
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(
        path, flags, mode);
}
int open64(const char *, int, ...) __attribute__((alias("open")));
"""


def works():
    return "wp" in command.tracker_names() and os.uname().machine == "x86_64"


class Target:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TARGET, *map(str, arguments)],
            stdout=subprocess.PIPE, encoding="utf-8")
        assert self.process.stdout.readline() == "ready\n"
        self.pid = str(self.process.pid)

    def lives(self):
        return self.process.poll() is None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def folder():
    path = pathlib.Path(command.fresh("record"))
    path.mkdir()
    return path


def record(*arguments):
    """Returns the summary."""
    done = command.run("record", "--json", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contents(trace):
    done = command.run("report", str(trace), "-o", command.fresh("page"),
                       "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def own_mapping(trace):
    """That of the target, which may have been joined with another."""
    return max(contents(trace)["mappings"],
               key=lambda mapping: mapping["written_pages"])


def start(*arguments, **options):
    return subprocess.Popen([command.TIDEMARK, "record", *map(str, arguments)],
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding="utf-8", **options)


def attached(target):
    """Waits until somebody has a userfaultfd of its memory."""
    end = time.monotonic() + command.TIMEOUT
    flags = pathlib.Path(f"/proc/{target.pid}/smaps")
    while not any(line.startswith("VmFlags:") and " uw" in line
                  for line in flags.read_text("utf-8").splitlines()):
        assert time.monotonic() < end, "never attached"
        time.sleep(0.01)


def test_pages():
    """Fails when pages are missing, or many come that nobody wrote."""
    trace = folder() / "trace"
    with Target() as target:
        said = record("-p", target.pid, "-o", trace, "--for", "2500ms")
        assert target.lives()
    assert os.listdir(trace.parent) == ["trace"]
    assert said["file_bytes"] == trace.stat().st_size
    assert 3 <= said["intervals"] <= 25, said
    assert said["written_bytes"] == said["written_pages"] * 4096
    assert said["interval_ns"] == 100000000
    assert said["held_ns"] > 0 and said["cpu_ns"] > 0
    seen = contents(trace)
    assert seen["pid"] == int(target.pid) and "memory" in seen["command"]
    assert seen["intervals"] == said["intervals"]
    assert seen["written_pages"] == said["written_pages"]
    own = own_mapping(trace)
    # A machine that is busy may not let it write in an interval.
    assert own["written_pages"] >= HOT * said["intervals"] // 2, own
    assert HOT <= own["distinct_pages"] <= HOT + 64, own
    assert own["npages"] >= PAGES
    assert DATA + ZEROS <= own["populated_pages"] <= DATA + ZEROS + 300, own


def test_zeros():
    """Fails when pages of zeros are not told from others."""
    trace = folder() / "trace"
    with Target() as target:
        record("-p", target.pid, "-o", trace, "--for", "200ms")
    seen = contents(trace)
    zeros = seen["memory_pages"] - seen["data_pages"]
    # Python has some of its own.
    assert ZEROS <= zeros <= ZEROS + 400, zeros
    assert seen["data_pages"] >= DATA, seen["data_pages"]


def test_many_zeros():
    """Fails when an estimate is off by more than it may."""
    trace = folder() / "trace"
    pages = 6000  # each third of them: at most 1,024 are looked at
    holder = f"""
import mmap, time
memory = mmap.mmap(-1, {pages} * 8192, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range({pages}):  # every other page of it has no content
    memory[page * 8192 + 4095] = page * 2654435761 % 2**32 // 2**16 % 3 != 0
print("ready", flush=True)
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", holder],
                          stdout=subprocess.PIPE, encoding="utf-8") as target:
        assert target.stdout.readline() == "ready\n"
        record("-p", target.pid, "-o", trace, "--for", "200ms")
        target.kill()
    seen = contents(trace)
    zeros = seen["memory_pages"] - seen["data_pages"]
    assert pages * 0.28 <= zeros <= pages * 0.38 + 400, zeros


def test_line():
    """Fails when the line for people does not say what it should."""
    trace = folder() / "trace"
    with Target() as target:
        done = command.run("record", "-p", target.pid, "-o", str(trace),
                           "--for", "500ms")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count("\n") == 1, done.stdout
    for part in (f"{trace}: ", " intervals of 100.0 ms; ", " pages (",
                 f"; {trace.stat().st_size} bytes, ", "% of a core"):
        assert part in done.stdout, done.stdout


def test_interrupt():
    """Fails when Ctrl-C breaks the trace, or loses what came before it."""
    trace = folder() / "trace"
    with Target() as target:
        recorder = start("-p", target.pid, "-o", trace, "--interval", "100s",
                         "--json")
        attached(target)
        time.sleep(1)
        assert os.listdir(trace.parent) == []  # it has no name yet
        recorder.send_signal(signal.SIGINT)
        out, err = recorder.communicate(timeout=command.TIMEOUT)
        assert target.lives()
    assert recorder.returncode == 0, err
    assert json.loads(out)["intervals"] == 1
    assert own_mapping(trace)["written_pages"] >= HOT


def test_end():
    """Fails when the end of the process is an error, or is waited for."""
    trace = folder() / "trace"
    said = record("-o", trace, "--", "sleep", "2")
    assert said["intervals"], said
    assert contents(trace)["command"] == "sleep 2"
    with Target() as target:
        recorder = start("-p", target.pid, "-o", trace, "--json")
        attached(target)
        time.sleep(0.5)
        target.process.kill()
        out, err = recorder.communicate(timeout=command.TIMEOUT)
    assert recorder.returncode == 0, err
    said = json.loads(out)
    if said["intervals"]:  # report wants one
        assert contents(trace)["intervals"] == said["intervals"]


def test_command():
    """Fails when a command is not ended with us, or its output is lost."""
    seconds = f"88.{os.getpid()}"  # like nobody else's
    trace = folder() / "trace"
    done = command.run("record", "-o", str(trace), "--for", "500ms", "--",
                       "sh", "-c", f"echo hello; exec sleep {seconds}")
    assert done.returncode == 0 and done.stdout.startswith("hello\n"), done
    assert subprocess.run(["pgrep", "-f", f"^sleep {seconds}"],
                          capture_output=True, check=False).returncode == 1


def test_exec():
    """Fails when a process that executes another program looks quiet."""
    trace = folder() / "trace"
    record("-o", trace, "--", "sh", "-c",
           'sleep 0.5; exec "$0" -c "$1" 0 200 >&2', sys.executable, TARGET)
    assert own_mapping(trace)["distinct_pages"] >= DATA


def test_children():
    """Fails when a child is recorded unasked, or not when asked."""
    for follow in ([], ["--follow-children"]):
        trace = folder() / "trace"
        record("-o", trace, *follow, "--", "sh", "-c",
               '"$0" -c "$1" 0 200 >&2; true', sys.executable, TARGET)
        pids = {mapping["pid"] for mapping in contents(trace)["mappings"]}
        assert (len(pids) > 1) == bool(follow), pids


def test_stdout():
    """Fails when the trace in a pipe is not that of a file."""
    trace = folder() / "trace"
    with Target() as target:
        done = subprocess.run(
            [command.TIDEMARK, "record", "-p", target.pid, "-o", "-", "--for",
             "1s"], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=command.TIMEOUT, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(b"stdout: "), done.stderr
        trace.write_bytes(done.stdout)
        assert own_mapping(trace)["written_pages"] >= HOT
        # What a command prints does not get into it.
        done = subprocess.run(
            [command.TIDEMARK, "record", "-o", "-", "--json", "--", "sh", "-c",
             "echo out; sleep 0.5"], stdin=subprocess.DEVNULL,
            capture_output=True, timeout=command.TIMEOUT, check=False)
        assert done.returncode == 0 and b"out\n" in done.stderr, done.stderr
        trace.write_bytes(done.stdout)
        assert contents(trace)["command"].startswith("sh -c")
        terminal, other = pty.openpty()
        done = subprocess.run(
            [command.TIDEMARK, "record", "-p", target.pid, "-o", "-", "--for",
             "100ms"], stdin=subprocess.DEVNULL, stdout=other,
            stderr=subprocess.PIPE,
            timeout=command.TIMEOUT, check=False)
        assert done.returncode == 2 and b"terminal" in done.stderr, done
        os.close(terminal)
        os.close(other)


def test_file():
    """Fails when a file is not replaced as a whole, or a link is."""
    place = folder()
    old, link = place / "old", place / "link"
    old.write_text("old")
    link.symlink_to("old")
    mask = os.umask(0o027)
    try:
        with Target() as target:
            record("-p", target.pid, "-o", link, "--for", "200ms")
            record("-p", target.pid, "-o", place / "new", "--for", "200ms")
    finally:
        os.umask(mask)
    assert link.is_symlink() and contents(old)["intervals"] >= 1
    assert sorted(os.listdir(place)) == ["link", "new", "old"]
    assert stat.S_IMODE((place / "new").stat().st_mode) == 0o640


def test_old_file_system():
    """Fails when a file needs a name, and something is left behind."""
    place = folder()
    library, trace = place / "old.so", place / "trace"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-w", "-x",
                    "c", "-o", str(library), "-", "-ldl"], input=OLD,
                   encoding="utf-8", check=True)
    names = ["old.so", "trace"]
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    with Target() as target:
        recorder = start("-p", target.pid, "-o", trace, env=environment)
        attached(target)
        assert sorted(os.listdir(place)) == ["old.so", "trace.partial"]
        said = command.one_line(command.run(
            "record", "-p", target.pid, "-o", str(trace), env=environment))
        assert "File exists" in said, said
        recorder.send_signal(signal.SIGTERM)
        recorder.communicate(timeout=command.TIMEOUT)
        assert recorder.returncode == 0
        assert sorted(os.listdir(place)) == names
        assert contents(trace)["pid"] == int(target.pid)
    command.one_line(command.run("record", "-p", target.pid, "-o",
                                 str(place / "other"), env=environment))
    assert sorted(os.listdir(place)) == names


def test_killed():
    """Fails when a recorder that is killed leaves anything behind."""
    place = folder()
    with Target() as target:
        for moment in (0.002, 0.01, 0.05, 0.3):
            recorder = start("-p", target.pid, "-o", place / "trace")
            time.sleep(moment)
            recorder.kill()
            recorder.communicate()
            assert os.listdir(place) == []
        assert target.lives()


def test_full():
    """Fails when a full disk is more than a line, or a file is left."""
    with Target(2000) as target:
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run(
                [command.TIDEMARK, "record", "-p", target.pid, "-o", "-"],
                stdout=full, stderr=subprocess.PIPE, encoding="utf-8",
                timeout=command.TIMEOUT, check=False)
        assert done.returncode == 2, done
        assert done.stderr.count("\n") == 1 and "No space" in done.stderr
        if not can_mount():
            return
        place = folder()
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size="$3" '
             'none "$0" && { "$1" record -p "$2" -o "$0"/trace; status=$?; '
             'ls -A "$0"; exit $status; }', str(place),
             os.path.abspath(command.TIDEMARK), target.pid, "32k"],
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            timeout=command.TIMEOUT, check=False)
        assert "No space" in command.one_line(done)
        assert target.lives()


def can_mount():
    return subprocess.run(["unshare", "--mount", "true"], check=False,
                          capture_output=True).returncode == 0


def read_terminal(terminal, process):
    said = b""
    end = time.monotonic() + command.TIMEOUT
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                said += os.read(terminal, 4096)
            except OSError:
                break
        elif process.poll() is not None:
            break
    return said.decode()


def test_progress():
    """Fails when nobody says how far it is."""
    for limit, parts in ((["--for", "700ms"], ("%", "#")), ([], ())):
        trace = folder() / "trace"
        terminal, other = pty.openpty()
        with Target() as target:
            process = subprocess.Popen(
                [command.TIDEMARK, "record", "-p", target.pid, "-o",
                 str(trace), *limit], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=other,
                env={**os.environ, "TERM": "xterm"})
            os.close(other)
            if not limit:
                attached(target)
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
            said = read_terminal(terminal, process)
            assert process.wait(command.TIMEOUT) == 0, said
        os.close(terminal)
        for part in (" pages, ", "; file ", *parts):
            assert part in said, said
        assert limit or "[" not in said, said


def resident_kib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text("utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])


def test_come_and_go():
    """Fails when something is kept of each mapping that ever was."""
    path = str(folder() / "trace")
    target = subprocess.Popen([sys.executable, "-c", GUESTS],
                              stdout=subprocess.PIPE, encoding="utf-8")
    assert target.stdout.readline() == "ready\n"
    recorder = subprocess.Popen(
        [command.TIDEMARK, "record", "-p", str(target.pid), "-o", path,
         "--interval", "10"], stdout=subprocess.DEVNULL)
    time.sleep(2)
    before = resident_kib(recorder)
    time.sleep(8)
    after = resident_kib(recorder)
    recorder.send_signal(signal.SIGINT)
    assert recorder.wait(timeout=60) == 0
    target.kill()
    target.wait()
    seen = json.loads(command.run("report", path, "--json").stdout)
    assert seen["intervals"] > 20, seen["intervals"]
    # A sanitizer keeps what is freed.
    if os.environ.get("TIDE_SANITIZE", "none") == "none":
        assert after - before < 1024, (before, after)


def test_refused():
    """Fails when what cannot be recorded gets more than a line."""
    place = folder()
    trace = str(place / "trace")
    for arguments, part in (
            (["-p", "4194303", "-o", trace], "process 4194303: "),
            (["-o", trace], "which process"),
            (["-p", "1"], "where to"),
            (["-p", "1", "-o", trace, "--", "true"], "which process"),
            (["-o", trace, "--", "/no/such/command"], "/no/such/command"),
            (["-p", "4194303", "-o", str(place)], "directory"),
            (["-p", "4194303", "-o", "/dev/null"], "not a file"),
            (["-p", "4194303", "-o", "/no/such/trace"], "No such file"),
            (["-p", "4194303", "-o", ""], "no name"),
            (["-p", "4194303", "-o", trace + "/"], "no name"),
            (["-p", "1", "-o", trace, "--interval", "1us"], "--interval")):
        said = command.one_line(command.run("record", *arguments))
        assert part in said, said
        assert os.listdir(place) == [], arguments


CLAIMS = [("what cannot be recorded is one line, and no file", test_refused)]
REAL = [
    ("the pages that a process writes, and no others", test_pages),
    ("pages of zeros", test_zeros),
    ("pages of zeros, where there are many", test_many_zeros),
    ("a line for people", test_line),
    ("Ctrl-C ends a trace", test_interrupt),
    ("we end with the process", test_end),
    ("a command ends with us", test_command),
    ("a program that executes another", test_exec),
    ("children, if asked", test_children),
    ("a trace in a pipe", test_stdout),
    ("a file is replaced as a whole", test_file),
    ("a recorder that is killed leaves nothing behind", test_killed),
    ("a full disk is a line, and no file", test_full),
    ("a line while it runs", test_progress),
    ("mappings that come and go, in little memory", test_come_and_go),
    ("a file system that wants a name", test_old_file_system)
    if os.environ.get("TIDE_SANITIZE", "none") == "none" else
    ("a file system that wants a name # SKIP a sanitizer is loaded first",
     lambda: None),
]
if works():
    CLAIMS += REAL
else:
    CLAIMS += [(name.split(" #")[0] + " # SKIP processes cannot be tracked "
                "here", lambda: None) for name, _ in REAL]
command.main(CLAIMS)
