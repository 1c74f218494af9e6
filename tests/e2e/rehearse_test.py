#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rehearse_test.py - tidemark rehearse: what arrives is what the process has

Usage: rehearse_test.py TIDEMARK
"""
import json
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import command

PAGE = 4096
PAGES = 2000
# Writes at random for a while, makes and drops memory, and then rests; with
# "forever" it only writes the same pages.
TARGET = f"""
import mmap, random, sys, time
chance = random.Random(int(sys.argv[1]))
memory = mmap.mmap(-1, {PAGES * PAGE}, mmap.MAP_PRIVATE)
for page in range({PAGES}):
    memory[page * {PAGE}] = 1
print("ready", flush=True)
pages = range(600) if sys.argv[2] == "forever" else range({PAGES})
end = time.monotonic() + (1e9 if sys.argv[2] == "forever"
                          else float(sys.argv[2]))
more = []
while time.monotonic() < end:
    for _ in range(200):
        at = chance.choice(pages) * {PAGE}
        memory[at + chance.randrange({PAGE})] = chance.randrange(256)
    if sys.argv[2] == "forever":
        continue
    page = chance.randrange({PAGES - 8})
    memory.madvise(mmap.MADV_DONTNEED, page * {PAGE}, 4 * {PAGE})
    memory[page * {PAGE}:(page + 1) * {PAGE}] = bytes({PAGE})
    more.append(mmap.mmap(-1, 64 * {PAGE}, mmap.MAP_PRIVATE))
    more[-1][chance.randrange(64) * {PAGE}] = 7
    if len(more) > 20:
        more.pop(chance.randrange(20)).close()
    time.sleep(0.002)
time.sleep(1000)
"""
SEED = os.environ.get("TIDE_SEED", str(time.time_ns()))


def works():
    return "wp" in command.tracker_names() and os.uname().machine == "x86_64"


class Target:
    """A process that runs TARGET; gone at the end."""

    def __init__(self, seconds):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TARGET, SEED, str(seconds)],
            stdout=subprocess.PIPE, encoding="utf-8")
        assert self.process.stdout.readline() == "ready\n"
        self.pid = str(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def image_of(data):
    """(pages by number, rounds, rest) of what a sink got."""
    image, rounds, at = {}, 0, 0
    while at < len(data):
        magic, kind, first, count = struct.unpack_from("<4sIQQ", data, at)
        assert magic == b"TMR1", (at, magic)
        at += 40
        if kind == 1:
            rounds += 1
            assert first == rounds
        elif kind == 2:
            for page in range(count):
                image[first + page] = data[at:at + PAGE]
                at += PAGE
        elif kind == 3:
            for page in range(count):
                image[first + page] = bytes(PAGE)
        else:
            assert kind == 4 and first == rounds and at == len(data)
            return image, rounds, count
    raise AssertionError("it has no end")


def has_content(entry, private):
    """Of a page, by what /proc/PID/pagemap says."""
    if entry >> 62 & 1:
        return entry & 31 != 31  # not only a mark that protects it
    return entry >> 63 & 1 and not (private and entry >> 61 & 1)


def compare(pid, image):
    """Of a process that is stopped.  Returns how many pages were equal."""
    equal = 0
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text("utf-8")
    with open(f"/proc/{pid}/mem", "rb", 0) as memory, \
            open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap:
        for line in maps.splitlines():
            words = line.split()
            if words[1][:2] != "rw" or words[-1].startswith("[v"):
                continue
            first, end = (int(word, 16) // PAGE
                          for word in words[0].split("-"))
            pagemap.seek(first * 8)
            entries = struct.unpack(f"<{end - first}Q",
                                    pagemap.read((end - first) * 8))
            for page, entry in zip(range(first, end), entries):
                if page not in image and not has_content(
                        entry, words[1][3] == "p"):
                    continue
                memory.seek(page * PAGE)
                assert memory.read(PAGE) == image.get(page, bytes(PAGE)), \
                    f"page {page:x} of {line} (seed {SEED})"
                equal += 1
    return equal


def rehearse_until_rest(target, to):
    done = command.run("rehearse", "-p", target.pid, "--bandwidth", "60M",
                       "--downtime", "1ns", "--rounds", "1000", "--to", to,
                       "--json")
    assert done.returncode == 0, done.stderr
    *rounds, end = objects(done.stdout)
    assert [one["round"] for one in rounds] == \
        list(range(1, end["rounds"] + 1))
    assert all(one["event"] == "round" for one in rounds)
    assert end["event"] == "end" and end["converged"] is True, end
    assert end["rest_pages"] == 0 and end["memory_pages"] >= PAGES
    assert rounds[0]["pages"] == end["memory_pages"]
    assert rounds[0]["rest_pages"] == rounds[1]["pages"], "it was not seen"
    return end


def test_file():
    """Fails when the file, applied in order, is not the process's memory."""
    path = command.fresh("image")
    for seconds in (0.3, 0.6):
        with Target(seconds) as target:
            end = rehearse_until_rest(target, path)
            target.process.send_signal(signal.SIGSTOP)
            data = pathlib.Path(path).read_bytes()
            assert len(data) == end["bytes_sent"]
            assert os.stat(path).st_mode & 0o777 == 0o600
            image, rounds, rest = image_of(data)
            assert (rounds, rest) == (end["rounds"], 0)
            assert compare(target.pid, image) >= PAGES


def test_sockets():
    """Fails when a listener does not get all of it."""
    path = command.fresh("socket")
    port = command.free_port()
    for family, address, to in (
            (socket.AF_UNIX, path, "unix:" + path),
            (socket.AF_INET, ("127.0.0.1", port), f"127.0.0.1:{port}"),
            (socket.AF_INET, ("127.0.0.1", port), f"tcp:localhost:{port}")):
        got = bytearray()

        def listen(server, got=got):
            connection = server.accept()[0]
            with connection:
                while more := connection.recv(1 << 20):
                    got.extend(more)

        with socket.socket(family) as server, Target(0.2) as target:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
            server.listen()
            thread = threading.Thread(target=listen, args=(server,))
            thread.start()
            end = rehearse_until_rest(target, to)
            thread.join(command.TIMEOUT)
            target.process.send_signal(signal.SIGSTOP)
            assert len(got) == end["bytes_sent"]
            assert compare(target.pid, image_of(bytes(got))[0]) >= PAGES


def test_hopeless():
    """Fails when a process that writes too fast seems to converge, or that is
    taken for an error."""
    with Target("forever") as target:
        done = command.run("rehearse", "-p", target.pid, "--bandwidth", "8M",
                           "--downtime", "10ms", "--rounds", "3")
        assert done.returncode == 0, done.stderr
        assert "does not converge: given up after 3 rounds" in done.stdout
        assert done.stdout.count("\nround ") == 2, done.stdout
        assert "10.0 ms is the goal" in done.stdout, done.stdout
        assert "attaching held one thread for" in done.stdout
        done = command.run("rehearse", "-p", target.pid, "--bandwidth", "1T",
                           "--downtime", "10s", "--json")
        assert objects(done.stdout)[-1]["converged"] is True


def test_command():
    """Fails when a command that was started is not ended, or its output is
    among ours."""
    seconds = f"88.{os.getpid()}"  # like nobody else's
    done = command.run("rehearse", "--bandwidth", "1G", "--json", "--", "sh",
                       "-c", f"echo talk; sleep {seconds} & "
                       f"trap 'kill $!' TERM; wait")
    assert done.returncode == 0, done.stderr
    assert objects(done.stdout)[-1]["converged"] is True
    assert subprocess.run(["pgrep", "-f", f"^sleep {seconds}"],
                          capture_output=True, check=False).returncode == 1


def start_slow(target, to, **options):
    """A rehearsal that would take a minute, in its first round."""
    process = subprocess.Popen(
        [command.TIDEMARK, "rehearse", "-p", target.pid, "--bandwidth", "150K",
         "--to", to], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", **options)
    end = time.monotonic() + command.TIMEOUT
    while not os.path.exists(to) or os.path.getsize(to) < 100000:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def failed(process, text, path):
    out, said = process.communicate(timeout=command.TIMEOUT)
    assert process.returncode == 2 and not out, (process.returncode, out)
    assert said.startswith("tidemark: rehearse: ") and text in said, said
    assert said.count("\n") == 1, said
    assert not os.path.exists(path), "half a file is left"


def test_in_the_middle():
    """Fails when the end of the process, Ctrl-C or a full disk leaves half a
    file, or more than a line."""
    path = command.fresh("image")
    with Target("forever") as target:
        process = start_slow(target, path)
        target.process.kill()
        target.process.wait()
        failed(process, "it has ended", path)
    with Target("forever") as target:
        process = start_slow(target, path)
        process.send_signal(signal.SIGINT)
        failed(process, "interrupted", path)
        done = command.run(
            "rehearse", "-p", target.pid, "--bandwidth", "1G", "--to", path,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                  (300000, 300000)))
        assert "File too large" in command.one_line(done)
        assert not os.path.exists(path)
        done = command.run("rehearse", "-p", target.pid, "--bandwidth", "1G",
                           "--to", "/dev/full")
        assert "No space left" in command.one_line(done)
        assert os.path.exists("/dev/full")
    done = command.run(
        "rehearse", "--bandwidth", "1M", "--to", path, "--", sys.executable,
        "-c", "import os, time; time.sleep(0.7); "
        "os.execvp('sleep', ['sleep', '60'])")
    assert "another program" in command.one_line(done)
    assert not os.path.exists(path)


def test_guest():
    """Fails when a virtual machine cannot be rehearsed, or minds."""
    vm = command.source(workload="random")
    path = command.fresh("image")
    end = {"memory_bytes": 0}
    stop = time.monotonic() + command.TIMEOUT
    while end["memory_bytes"] < 30 << 20:  # the guest has come round
        assert time.monotonic() < stop, end
        done = command.run("rehearse", "-p", str(vm.process.pid),
                           "--bandwidth", "200M", "--to", path, "--json")
        assert done.returncode == 0, done.stderr
        end = objects(done.stdout)[-1]
    data = pathlib.Path(path).read_bytes()
    assert len(data) == end["bytes_sent"] > 16 << 20
    image_of(data)
    command.right_here(vm)


def test_refused():
    """Fails when a rehearsal that cannot begin gets more than a line, or leaves
    a file."""
    path = command.fresh("image")
    fast = ["--bandwidth", "1G"]

    def said(*arguments):
        return command.one_line(command.run("rehearse", *arguments))

    assert "no such process" in said("-p", "4194303", *fast, "--to", path)
    assert not os.path.exists(path)
    assert "which process" in said(*fast)
    assert "which process" in said("-p", "1", *fast, "--", "true")
    assert "--bandwidth" in said("-p", "1")
    for bad in ("0", "-1", "fast", ""):
        assert "--bandwidth" in said("-p", "1", "--bandwidth", bad)
    assert "--downtime" in said("-p", "1", *fast, "--downtime", "0")
    assert "--rounds" in said("-p", "1", *fast, "--rounds", "0")
    port = command.free_port()
    assert "refused" in said("-p", "1", *fast, "--to", f"127.0.0.1:{port}")
    assert "unix:" in said("-p", "1", *fast, "--to", "unix:/no/such/socket")
    assert "/no/such" in said("-p", "1", *fast, "--to", "/no/such/file")
    assert "/no/such" in said(*fast, "--", "/no/such/command")


CLAIMS = [("what cannot be rehearsed is one line", test_refused)]
REAL = [
    ("a file has the process's memory", test_file),
    ("so has who listens", test_sockets),
    ("a process that writes too fast does not converge", test_hopeless),
    ("a command ends with us", test_command),
    ("nothing is left when it ends in the middle", test_in_the_middle),
]
if not works():
    REAL = [(name + " # SKIP processes cannot be tracked here", lambda: None)
            for name, _ in REAL]
GUEST = "a virtual machine, from outside"
if works() and os.access("/dev/kvm", os.R_OK | os.W_OK):
    REAL.append((GUEST, test_guest))
else:
    REAL.append((GUEST + " # SKIP needs KVM, and wp", lambda: None))
command.main(CLAIMS + REAL)
