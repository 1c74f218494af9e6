#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""server_test.py - tidemark watch --prometheus: metrics, and a live page

Usage: server_test.py TIDEMARK
"""
import fcntl
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

import browser
import command

PAGE = 4096
# Obeys lines on its standard input, and answers each with one.  Shared
# mappings, since the kernel makes one of private ones that are neighbours.
TARGET = r"""
import mmap, os, sys, threading, time
maps = {}
def new(name, pages):
    maps[name] = mmap.mmap(-1, int(pages) * 4096)
def private(name, pages, path):
    file = os.open(os.fsencode(bytes.fromhex(path)), os.O_RDWR | os.O_CREAT)
    os.truncate(file, int(pages) * 4096)
    maps[name] = mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE,
                           prot=mmap.PROT_READ | mmap.PROT_WRITE)
def write(name, first, count, step="1"):
    memory = maps[name]
    for page in range(int(first), int(first) + int(count) * int(step),
                      int(step)):
        memory[page * 4096] = (memory[page * 4096] + 1) % 256
def keep(name, first, count):
    def again():
        while True:
            write(name, first, count)
            time.sleep(0.005)
    threading.Thread(target=again, daemon=True).start()
def drop(name):
    maps.pop(name).close()
def fork():
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "1"])
def run(path):
    os.execv(sys.executable, [sys.executable, path])
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    globals()[words[0]](*words[1:])
    print("done", flush=True)
"""


def works():
    return "wp" in command.tracker_names() and os.uname().machine == "x86_64"


class Target:
    """A process that does what it is told."""

    living = []

    def __init__(self, text=TARGET):
        self.path = command.fresh("target.py")
        pathlib.Path(self.path).write_text(text, "utf-8")
        self.process = subprocess.Popen(
            [os.path.realpath(sys.executable), self.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        Target.living.append(self)
        assert self.process.stdout.readline() == "ready\n"

    def do(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        if words[0] == "run":
            assert said == "ready\n", said
        else:
            assert said == "done\n", said

    def end(self):
        self.process.kill()
        self.process.wait()


class Watch:
    """tidemark watch with a server."""

    living = []

    def __init__(self, *arguments, address="127.0.0.1:0"):
        self.out = command.fresh("out")
        with open(self.out, "w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                [command.TIDEMARK, "watch", "--prometheus", address,
                 *arguments], stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.PIPE, encoding="utf-8")
        Watch.living.append(self)
        self.line = self.process.stderr.readline()
        where = re.search(r"http://(\S+):(\d+)/,", self.line)
        assert where, self.line
        self.host, self.port = where.group(1).strip("[]"), int(where.group(2))
        self.url = f"http://{where.group(1)}:{self.port}/"

    def lines(self):
        """The JSON lines until now, whole ones."""
        text = pathlib.Path(self.out).read_text("utf-8")
        return [json.loads(line) for line in text.splitlines(True)
                if line.endswith("\n")]

    def ask(self, path, method="GET", headers=None, body=None):
        """(status, headers, text)"""
        connection = http.client.HTTPConnection(self.host, self.port,
                                                timeout=command.TIMEOUT)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        connection.close()
        return answer.status, answer.headers, text

    def metrics(self):
        status, headers, text = self.ask("/metrics")
        assert status == 200
        assert headers["Content-Type"] == \
            "text/plain; version=0.0.4; charset=utf-8"
        return parse(text)

    def data(self, since=0, wait=False):
        status, headers, text = self.ask(
            f"/data?since={since}" + ("&wait=1" if wait else ""))
        assert status == 200 and headers["Content-Type"] == "application/json"
        return json.loads(text)

    def until(self, condition):
        """Metrics for which this is true; the last ones."""
        end = time.monotonic() + command.TIMEOUT
        while True:
            metrics = self.metrics()
            if condition(metrics):
                return metrics
            assert time.monotonic() < end, metrics
            time.sleep(0.02)

    def after(self, count=2):
        """When so many more intervals are over."""
        now = self.metrics()["tidemark_intervals_total"][()]
        return self.until(
            lambda m: m["tidemark_intervals_total"][()] >= now + count)

    def end(self, by=signal.SIGINT):
        self.process.send_signal(by)
        return self.wait()

    def wait(self):
        status = self.process.wait(command.TIMEOUT)
        return status, self.process.stderr.read()


# ---- the text format, strictly ----

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse_labels(text):
    pairs = [(name, re.sub(r"\\.", lambda m: UNESCAPED[m.group()], value))
             for name, value in re.findall(LABEL, text or "")]
    assert len(dict(pairs)) == len(pairs), text
    return tuple(sorted(pairs))


def parse(text):
    """{name: {labels: value}} of text in Prometheus' format, 0.0.4, or an
    assertion that says what is wrong with it."""
    assert text.endswith("\n")
    found, types, helps, current = {}, {}, set(), None
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            kind, name, rest = line[2:].split(" ", 2)
            assert re.fullmatch(NAME, name), line
            if kind == "HELP":
                assert name not in helps and name not in found, line
                assert re.fullmatch(r"(?:[^\\]|\\[\\n])+", rest), line
                helps.add(name)
            else:
                assert kind == "TYPE" and rest in ("counter", "gauge"), line
                assert name not in types and name not in found, line
                types[name] = rest
                assert (rest == "counter") == name.endswith("_total"), line
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels = match.group(1), parse_labels(match.group(2))
        assert name in types and name in helps, line
        # All of a metric in one group, each series once.
        assert name == current or name not in found, line
        current = name
        assert labels not in found.setdefault(name, {}), line
        found[name][labels] = float(match.groups()[-1])
    for name in types:
        assert found.get(name), f"{name} has no sample"
    return found


def of_mapping(metrics, **wanted):
    """The series of one mapping: {labels: value}, of pages."""
    return {labels: value for labels, value in
            metrics["tidemark_mapping_dirty_pages_total"].items()
            if dict(labels).items() >= wanted.items()}


def value_of(metrics, **wanted):
    found = list(of_mapping(metrics, **wanted).values())
    assert len(found) == 1, (wanted, found)
    return found[0]


def ns(metrics, name):
    return round(metrics[name][()] * 1e9)


def mapping_of(target, part, pid=None):
    """The start of the mapping whose name has this, as in the labels."""
    maps = pathlib.Path(f"/proc/{pid or target.process.pid}/maps").read_text(
        "utf-8", errors="replace")
    starts = [line.split("-")[0] for line in maps.splitlines() if part in line]
    assert len(starts) == 1, maps
    return "0x" + starts[0].lstrip("0")


# ---- metrics ----

def test_exact():
    """Fails when a counter has another value than what was written."""
    target = Target()
    target.do("new", "m", 1000)
    start = mapping_of(target, "/dev/zero")
    watch = Watch("-p", str(target.process.pid), "--interval", "100")
    for turn in range(1, 8):
        # Distinct pages: once, whether an interval ends meanwhile or not.
        target.do("write", "m", 10 * turn, 40, 3)
        metrics = watch.after()
        assert value_of(metrics, start=start) == 40 * turn, turn
    sizes = metrics["tidemark_mapping_size_bytes"]
    labels, = of_mapping(metrics, start=start)
    assert sizes[labels] == 1000 * PAGE
    assert dict(labels)["pid"] == str(target.process.pid)
    target.do("drop", "m")
    metrics = watch.after()
    assert not of_mapping(metrics, start=start)
    assert watch.end() == (0, "")


def test_same_as_json():
    """Fails when metrics are not the sums of what --json says of the same
    run."""
    target = Target()
    target.do("new", "m", 4000)
    watch = Watch("-p", str(target.process.pid), "--interval", "50", "--json")
    for turn in range(20):
        target.do("write", "m", turn, 100, 1 + turn % 7)
        time.sleep(0.03)
    metrics = watch.until(lambda m: "tidemark_window_seconds" in m)
    watch.after()
    count = int(metrics["tidemark_intervals_total"][()])
    lines = watch.lines()[:count]
    last = lines[-1]
    assert count == len(lines) >= 10

    def total(key):
        return sum(line[key] for line in lines)
    held = ns(metrics, "tidemark_held_seconds_total")
    assert metrics["tidemark_dirty_pages_total"][()] == total("dirty_pages")
    assert metrics["tidemark_dirty_bytes_total"][()] == total("dirty_bytes")
    assert ns(metrics, "tidemark_watched_seconds_total") == \
        total("interval_ns")
    assert ns(metrics, "tidemark_harvest_seconds_total") == \
        total("harvest_ns")
    assert metrics["tidemark_mapping_changes_total"][()] == \
        total("mapping_changes")
    assert held >= total("held_ns") and 0 < held < 10 ** 9
    assert metrics["tidemark_last_interval_dirty_pages"][()] == \
        last["dirty_pages"]
    assert ns(metrics, "tidemark_last_interval_seconds") == \
        last["interval_ns"]
    assert metrics["tidemark_mappings"][()] == last["mappings_count"]
    window = [line for line in lines if "window_ns" in line][-1]
    assert ns(metrics, "tidemark_window_seconds") == window["window_ns"]
    assert metrics["tidemark_window_dirty_pages"][()] == \
        window["window_dirty_pages"]
    assert metrics["tidemark_window_dirty_bytes"][()] == \
        window["window_dirty_pages"] * PAGE
    sums = {}
    for line in lines:
        for one in line["mappings"]:
            key = f"0x{one['start']:x}"
            sums[key] = sums.get(key, 0) + one["dirty_pages"]
    for start, pages in sums.items():
        assert value_of(metrics, start=start) == pages, (start, pages)
    watch.end()


def test_limited():
    """Fails when a process with many mappings makes many series, or what is
    written in the others is not counted."""
    target = Target()
    for i in range(120):
        target.do("new", f"m{i}", 64)
    watch = Watch("-p", str(target.process.pid), "--interval", "100", "--json")
    for _ in range(5):
        for i in range(120):
            target.do("write", f"m{i}", 0, 60 if i < 60 else 2)
        metrics = watch.after()
    count = int(metrics["tidemark_intervals_total"][()])
    other, = of_mapping(metrics, name="other")
    assert dict(other)["pid"] == ""
    named = {dict(labels)["start"] for labels in of_mapping(metrics)
             if labels != other}
    assert len(named) == 50, len(named)
    missing = sum(one["dirty_pages"] for line in watch.lines()[:count]
                  for one in line["mappings"]
                  if f"0x{one['start']:x}" not in named)
    assert missing >= 5 * (10 * 60 + 60 * 2), missing
    # A moment in which others were the first, at the beginning, aside.
    assert 0 <= value_of(metrics, name="other") - missing <= 3000
    assert metrics["tidemark_mappings"][()] >= 120
    watch.end()


def test_never_down():
    """Fails when a counter falls: by a fork, the end of a child, a mapping
    that comes again, or another program."""
    target = Target()
    watch = Watch("-p", str(target.process.pid), "--interval", "50",
                  "--follow-children")
    before, processes, scrapes, ids = watch.metrics(), set(), 0, set()
    todo = [("new", "a", 50), ("write", "a", 0, 50), ("fork",), ("drop", "a"),
            ("new", "a", 50), ("write", "a", 0, 20), ("fork",),
            ("run", target.path), ("new", "b", 30), ("write", "b", 0, 30)]
    for words in todo:
        target.do(*words)
        for _ in range(6):
            time.sleep(0.04)
            now = watch.metrics()
            scrapes += 1
            processes.add(now["tidemark_processes"][()])
            for name, series in now.items():
                if not name.endswith("_total"):
                    continue
                for labels, value in series.items():
                    old = before[name].get(labels, 0)
                    assert value >= old, (words, name, labels, old, value)
            ids |= {(labels, dict(labels)["mapping"])
                    for labels in of_mapping(now)}
            before = now
    assert max(processes) >= 2, processes
    assert now["tidemark_dirty_pages_total"][()] >= 150
    # The same program again: it was attached to a second time.
    assert now["tidemark_up"][()] == 1 and scrapes == 6 * len(todo)
    watch.end()


def hostile_file():
    """A path whose end no page and no label may take as it is, in hex."""
    # What is no UTF-8: no first byte, one alone, "/" longer than it must be,
    # a surrogate; and one that is.
    name = (b'q"b\\s\n<img src=x onerror=hacked=1>\xff\xc3}\xc0\xaf'
            b'\xed\xa0\x80\xc3\xbc')
    return os.path.join(os.fsencode(command.SCRATCH), name).hex()


def test_names():
    """Fails when the name of a mapping can end its label, or break JSON."""
    target = Target()
    target.do("private", "m", 100, hostile_file())
    watch = Watch("-p", str(target.process.pid), "--interval", "100")
    target.do("write", "m", 0, 30)
    metrics = watch.after()
    # The kernel writes the end of a line as \012.
    name = ('q"b\\s\\012<img src=x onerror=hacked=1>\ufffd\ufffd}'
            '\ufffd\ufffd' '\ufffd\ufffd\ufffd' '\u00fc')
    labels, = (labels for labels in of_mapping(metrics)
               if dict(labels)["name"].endswith(name))
    assert metrics["tidemark_mapping_dirty_pages_total"][labels] == 30
    assert any(one["name"].endswith(name)
               for one in watch.data()["mappings"])
    assert any(one["name"].endswith(name)
               for one in watch.data()["segments"])
    watch.end()


# ---- what the page is made from ----

def runs_of(column):
    runs = column["runs"]
    assert len(runs) % 4 == 0
    return [runs[i:i + 4] for i in range(0, len(runs), 4)]


def test_columns():
    """Fails when a column is lost or comes twice, has other pages than were
    written, or too many runs."""
    target = Target()
    target.do("new", "m", 16384)
    watch = Watch("-p", str(target.process.pid), "--interval", "10", "--json")
    seen, since, segments, first = [], 0, {}, None
    turn = 0
    while since < 700:
        target.do("write", "m", turn % 3, 5000, 3)
        turn += 1
        answer = watch.data(since, wait=True)
        first = first or answer["instance"]
        assert answer["instance"] == first
        assert len(answer["columns"]) <= 60
        for one in answer.get("segments", []):
            segments[one["id"]] = one
        for column in answer["columns"]:
            assert column["number"] == since + 1, (since, column["number"])
            since += 1
            seen.append(column)
            for run, begin, npages, pages in runs_of(column):
                assert 0 < pages <= npages
                assert begin + npages <= segments[run]["npages"]
            assert len(runs_of(column)) <= 400
            assert sum(run[3] for run in runs_of(column)) + \
                column["left_out_pages"] == column["dirty_pages"]
            assert column["left_out_pages"] == 0
    assert max(column["dirty_pages"] for column in seen) >= 5000
    lines = watch.lines()
    for column, line in zip(seen, lines):
        assert column["end_ns"] == line["time_ns"]
        assert column["dirty_pages"] == line["dirty_pages"]
    # The server keeps the last ones only, and gives them in parts.
    answer = watch.data(0)
    assert answer["oldest"] == answer["newest"] - 599, answer["oldest"]
    assert answer["columns"][0]["number"] == answer["oldest"]
    assert len(answer["columns"]) == 60 and answer["more"] is True
    assert watch.data(10 ** 9)["columns"][0]["number"] > 100
    watch.end()


def test_left_out():
    """Fails when what is too much for the map is not counted, or is more than
    it has to be."""
    target = Target()
    for i in range(900):
        target.do("new", f"m{i}", 4)
    watch = Watch("-p", str(target.process.pid), "--interval", "100")
    for i in range(900):
        target.do("write", f"m{i}", 0, 4 if i < 100 else 1)
    target.do("write", "m0", 1, 1)
    watch.after()
    answer = watch.data()
    ids = {one["id"] for one in answer["segments"]}
    left_out = 0
    for column in answer["columns"]:
        runs = runs_of(column)
        left_out += column["left_out_pages"]
        assert {run[0] for run in runs} <= ids
        assert sum(run[3] for run in runs) + column["left_out_pages"] == \
            column["dirty_pages"]
    assert sum(column["dirty_pages"] for column in answer["columns"]) >= 1200
    large = [one for one in answer["segments"] if one["npages"] == 4]
    assert 100 <= len(large) and left_out < 700, (len(large), left_out)
    watch.end()


def wait_for_end(watch, ret):
    """What a page does; and at last why it is over."""
    answer = watch.data()
    while answer["over"] is None:
        answer = watch.data(answer["newest"], wait=True)
    ret.append(answer["over"])


def test_goodbye():
    """Fails when who waits is not told that the process has ended, or that
    watching was stopped."""
    for over, said in (("end", "the process has ended"),
                       ("stop", "watching has been stopped")):
        target = Target()
        watch = Watch("-p", str(target.process.pid), "--interval", "200")
        got = []
        waiting = threading.Thread(target=wait_for_end, args=(watch, got))
        waiting.start()
        watch.after(1)
        if over == "end":
            target.end()
            assert watch.wait() == (0, "")
        else:
            assert watch.end() == (0, "")
        waiting.join(command.TIMEOUT)
        assert got == [said], got


def test_screen():
    """Fails when the server does not go on beside a screen that stays after
    the end, or its line spoils the screen."""
    target = Target()
    port = command.free_port()
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [command.TIDEMARK, "watch", "-p", str(target.process.pid),
         "--interval", "100", "--prometheus", f"127.0.0.1:{port}"],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = []

    def read():
        try:
            while True:
                shown.append(os.read(ours, 65536))
        except OSError:
            pass  # its other end is closed
    reader = threading.Thread(target=read)
    reader.start()
    watch = Watch.__new__(Watch)
    watch.process, watch.host, watch.port = process, "127.0.0.1", port
    Watch.living.append(watch)
    end = time.monotonic() + command.TIMEOUT
    while b"/metrics\r\n" not in b"".join(shown):
        assert time.monotonic() < end, shown
        time.sleep(0.02)
    watch.after()
    target.end()
    watch.until(lambda m: m["tidemark_up"][()] == 0)
    assert watch.data(10 ** 6, wait=True)["over"] == "the process has ended"
    assert process.poll() is None
    os.write(ours, b"q")
    assert process.wait(command.TIMEOUT) == 0
    reader.join(command.TIMEOUT)
    os.close(ours)
    # Before the screen, which then begins on a terminal of its own.
    text = b"".join(shown)
    assert text.index(b"a live page on") < text.index(b"\x1b[?1049h")


# ---- HTTP ----

def test_http():
    """Fails when a request that is not meant for us gets what it wants."""
    target = Target()
    watch = Watch("-p", str(target.process.pid), "--interval", "200")
    watch.after(1)
    for path, kind in (("/", "text/html; charset=utf-8"),
                       ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
                       ("/metrics?a=b", None), ("/data", None)):
        status, headers, text = watch.ask(path)
        assert status == 200 and text, path
        assert kind in (None, headers["Content-Type"]), headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        status, headers, text = watch.ask(path, "HEAD")
        assert status == 200 and text == ""
        assert int(headers["Content-Length"]) > 0
    page = watch.ask("/")[2]
    assert "default-src 'none'" in page and "http://" not in re.sub(
        r"http://www.w3.org/2000/svg", "", page)
    for path in ("/x", "//", "/metrics/", "/../etc/passwd", "/%2e%2e/x",
                 "/index.html", "/" + "x" * 4000):
        assert watch.ask(path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
        status, headers, _ = watch.ask("/metrics", method)
        assert status == 405 and headers["Allow"] == "GET, HEAD", method
    assert watch.ask("/metrics", body="x" * 100000)[0] == 400
    for host, status in (("localhost", 200), ("LOCALHOST:80", 200),
                         ("127.0.0.1", 200), ("[::1]:9", 200),
                         ("192.0.2.77:1", 200), (socket.gethostname(), 200),
                         ("evil.example", 421), ("127.0.0.1.evil.example", 421),
                         ("localhost.evil.example:80", 421), ("", 421),
                         ("127.0.0.1:80@evil.example", 421), ("[::1", 421)):
        for path in ("/", "/metrics", "/data"):
            got = watch.ask(path, headers={"Host": host})[0]
            assert got == status, (host, path, got)
    for since in ("x", "-1", "1e9", "", "99999999999999999999999"):
        status, _, text = watch.ask("/data?since=" + since)
        assert status == 200 and json.loads(text)["columns"], since
    watch.end()


def test_one_connection():
    """Fails when a connection can be used only once."""
    target = Target()
    watch = Watch("-p", str(target.process.pid))
    connection = http.client.HTTPConnection(watch.host, watch.port,
                                            timeout=command.TIMEOUT)
    connection.connect()
    first = connection.sock
    for _ in range(50):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        parse(answer.read().decode("utf-8"))
        assert connection.sock is first
    connection.close()
    watch.end()


def raw(watch, data=b""):
    connection = socket.create_connection((watch.host, watch.port),
                                          timeout=command.TIMEOUT)
    try:
        connection.sendall(data)
    except OSError:
        pass  # it has been thrown out already
    return connection


def closed(connection):
    """Everything until its end, which is waited for."""
    got = b""
    try:
        while True:
            more = connection.recv(65536)
            if not more:
                return got
            got += more
    except ConnectionError:
        return got


def test_garbage():
    """Fails when nonsense is more than an error for who sends it."""
    target = Target()
    watch = Watch("-p", str(target.process.pid), "--interval", "100")
    bad = [b"\0" * 70000, os.urandom(5000) + b"\r\n\r\n", b"GET\r\n\r\n",
           b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 40000,
           b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
           b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
           b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"z" * 100000,
           b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
           b"\r\n\r\nfffffffffffffffff\r\n",
           b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
           b"99999999999999999999\r\n\r\n"]
    for data in bad:
        connection = raw(watch, data)
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        got = closed(connection)
        assert b" 200 " not in got[:20], (data[:40], got[:40])
        connection.close()
        watch.metrics()
    # HTTP 1.0 has no Host.
    assert b" 200 " in closed(raw(watch, b"GET /metrics HTTP/1.0\r\n\r\n"))[:20]
    watch.after()
    assert watch.end() == (0, "")


def test_many():
    """Fails when those who hold connections, ask and do not read, or ask for
    everything all the time keep others or the intervals waiting."""
    target = Target()
    target.do("new", "m", 16384)
    watch = Watch("-p", str(target.process.pid), "--interval", "20", "--json")
    for turn in range(30):
        target.do("write", "m", turn % 3, 5000, 3)
        time.sleep(0.02)
    stop, asked = threading.Event(), [0]

    def everything():
        while not stop.is_set():
            try:
                watch.data(0)
                asked[0] += 1
            except (OSError, http.client.HTTPException):
                pass  # the oldest go

    greedy = [threading.Thread(target=everything) for _ in range(4)]
    for thread in greedy:
        thread.start()
    before = len(watch.lines())
    held = []
    request = b"GET /data?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        for turn in range(300):
            held.append(raw(watch, (b"", b"GET / HT", request * 20)[turn % 3]))
            if turn % 30 == 0:
                parse(watch.ask("/metrics")[2])
        watch.after(20)
    finally:
        stop.set()
        for thread in greedy:
            thread.join()
        for connection in held:
            connection.close()
    lines = watch.lines()
    assert len(lines) >= before + 20 and asked[0] > 0
    # Half of them not much late.  (One that is says nothing: others run here.)
    lengths = sorted(line["interval_ns"] for line in lines[before:])
    assert lengths[len(lengths) // 2] < 200e6, lengths
    assert watch.end() == (0, "")


def is_closed(connection):
    """After one more byte, and a while."""
    try:
        connection.sendall(b"X")
        connection.settimeout(0.2)
        return connection.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_oldest():
    """Fails when those who only hold connections keep others out, or all of
    them have to go for one."""
    target = Target()
    watch = Watch("-p", str(target.process.pid), "--interval", "1000s")
    for part in (b"", b"GET / HT",
                 b"GET /data?wait=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        held = []
        for _ in range(100):
            held.append(raw(watch, part))
            if part:
                time.sleep(0.001)
        parse(watch.ask("/metrics")[2])
        assert closed(held[0]) == b"" and closed(held[1]) == b""
        assert not is_closed(held[99]) and not is_closed(held[80])
        for connection in held:
            connection.close()
    assert watch.end() == (0, "")


def test_slow():
    """Fails when a request that never ends is waited for, or one that waits
    is never answered."""
    target = Target()
    watch = Watch("-p", str(target.process.pid), "--interval", "1000s")
    slow = [raw(watch, b"GET /metrics HTTP/1.1\r\n"), raw(watch)]
    waiting = []
    thread = threading.Thread(
        target=lambda: waiting.append(watch.data(0, wait=True)))
    thread.start()
    end = time.monotonic() + command.TIMEOUT
    while slow:
        assert time.monotonic() < end, "it is still waited for"
        slow = [one for one in slow if not is_closed(one)]
    thread.join(command.TIMEOUT)
    assert waiting and waiting[0]["columns"] == []
    assert waiting[0]["over"] is None
    watch.metrics()
    watch.end()


# ---- where it is served ----

def test_addresses():
    """Fails when a way to write an address does not work."""
    target = Target()
    ways = ["127.0.0.1:0", "localhost:0", ":0"]
    if pathlib.Path("/proc/net/if_inet6").exists():
        ways.append("[::1]:0")
    for address in ways:
        watch = Watch("-p", str(target.process.pid), address=address)
        assert watch.port > 0 and watch.metrics()
        assert watch.end() == (0, "")
    port = command.free_port()
    watch = Watch("-p", str(target.process.pid), address=f"127.0.0.1:{port}")
    assert watch.port == port
    watch.end()
    # At once again.
    watch = Watch("-p", str(target.process.pid), address=f"127.0.0.1:{port}")
    watch.end()


def refused(address, *words):
    """One line, and the command has not been started."""
    mark = command.fresh("mark")
    said = command.one_line(command.run(
        "watch", "--prometheus", address, "--", "touch", mark))
    assert not os.path.exists(mark), "the command was started"
    assert all(word in said for word in words), said


def test_refused():
    """Fails when a port that cannot be had is more than a line, or is
    noticed after the process was touched."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused(f"127.0.0.1:{port}", f"127.0.0.1:{port}", "in use")
        refused(f":{port}", "in use")
        # The port first, and then the process.
        said = command.one_line(command.run(
            "watch", "-p", "4194303", "--prometheus", f"127.0.0.1:{port}"))
        assert "in use" in said
    refused("198.51.100.1:0", "198.51.100.1:0")
    for port in ("65536", "99999", "-1", "0x50", "80x", "4294967376",
                 "99999999999999999999"):
        refused(f"127.0.0.1:{port}", "a port is a number from 0 to 65535")
    for address in ("", "127.0.0.1", "127.0.0.1:", "9090", ":"):
        refused(address, "HOST:PORT")
    refused("256.256.256.256.:1x")
    refused("x" * 300 + ":1", "too long")
    with socket.socket() as other:  # nothing has been left behind
        other.bind(("127.0.0.1", 0))


# ---- the page, in a browser ----

def open_page(dark=False):
    """(target, watch, browser) with a page that has some intervals."""
    target = Target()
    target.do("private", "m", 1024, hostile_file())
    target.do("keep", "m", 256, 256)
    # Which takes a while, in which the map would fill.
    page = browser.Browser(1280, 900, dark=dark)
    try:
        watch = Watch("-p", str(target.process.pid), "--interval", "100")
        page.open(watch.url)
    except BaseException:
        page.close()
        raise
    return target, watch, page


# Colours of the map, read at once: [columns from the newest, page of the
# mapping that is ours], and of the time before the first column.
COLOURS = """(places => {
    const map = page.map, { ratio, left, top, width, height } = map.size;
    const image = map.canvas.getContext("2d").getImageData(
        0, 0, width * ratio, height * ratio);
    const at = (x, y) => Array.from(image.data.slice(
        4 * (Math.round(y * ratio) * image.width + Math.round(x * ratio)))
        .slice(0, 4));
    const place = map.shown.find(one => one.segment.npages === 1024);
    return [...places.map(([back, number]) => {
        const column = map.columns[map.columns.length - back];
        return at(map.x((column.begin + column.end) / 2),
                  map.y(place.top + (number + 0.5) * place.scale));
    }), at(left + 3, top + 40)];
})([[4, 300], [6, 500], [4, 100], [6, 900]])"""


def test_page():
    """Fails when the page complains, asks elsewhere, shows no map, or shows
    heat where nobody wrote."""
    for dark in (False, True):
        target, watch, page = open_page(dark)
        with page:
            page.until("page.map.columns.length >= 12")
            page.settle()
            hot, hot2, none, none2, before = page.run(COLOURS)
            # Hot is above a tenth, if the machine is busy.
            ramp = page.run(f"heatRamp({'true' if dark else 'false'})")
            assert ramp.index(hot[:3]) > 170, (hot, ramp)
            assert ramp.index(hot2[:3]) > 170, (hot2, ramp)
            assert none == none2 and none[:3] not in ramp, (none, none2)
            assert hot[3] == hot2[3] == none[3] == 255
            # Nothing is known of the time before.
            assert before[3] == 0, before
            figures = page.text("#facts")
            for word in ("Dirty rate", "pages/s", "distinct pages in",
                         "Working set", "Watching took", "Process held up"):
                assert word in figures, figures
            page.until("document.querySelector('#facts').textContent !== "
                       + json.dumps(figures))
            assert page.text("#state") == "live"
            assert "python" in page.text("h1")
            # Names are text.
            x, y, _, _ = page.box("#map")
            across, down = page.run("""(() => {
                const place = page.map.shown.find(
                    one => one.segment.npages === 1024);
                return [page.map.size.right - 20,
                        page.map.y(place.top + 300 * place.scale)];
            })()""")
            page.mouse("Moved", x + across, y + down)
            page.settle()
            for names in ("#hot", "#mappings", ".heat-tip"):
                assert "onerror=hacked=1>" in page.text(names), names
            assert page.run("typeof hacked") == "undefined"
            assert page.run("document.images.length") == 0
            assert not page.complaints(), page.complaints()
            assert all(asked.startswith((watch.url, "data:"))
                       for asked in page.requests()), page.requests()
            target.end()
            assert watch.wait() == (0, "")
            page.until("document.querySelector('#state').textContent"
                       ".startsWith('the process has ended')")
            count = page.run("page.map.columns.length")
            assert count >= 12 and page.complaints() == []


def test_page_zoom():
    """Fails when what is zoomed does not go on with the time, or a view of
    the past does."""
    target, watch, page = open_page()
    with page:
        page.until("page.map.columns.length >= 10")
        page.press("#zoom-in")
        before = page.run("page.map.view")
        assert before, "it is not zoomed"
        # To the edge where it is now.
        page.run("page.map.setView(Object.assign({}, page.map.view, {"
                 "t1: page.map.whole().t1, t0: page.map.whole().t1 - 0.5}))")
        page.until("page.map.columns.length >= 16")
        assert page.run("Math.abs(page.map.view.t1 - page.map.whole().t1) "
                        "< 1e-6"), page.run("page.map.view")
        page.run("page.map.setView(Object.assign({}, page.map.view, {"
                 "t0: 0.1, t1: 0.7}))")
        past = page.run("page.map.view.t1")
        page.until("page.map.columns.length >= 22")
        assert page.run("page.map.view.t1") == past
        page.press("#zoom-reset")
        assert page.run("page.map.view") is None
        assert page.complaints() == []
        watch.end()
        page.until("document.querySelector('#state').textContent"
                   ".startsWith('watching has been stopped')")


def test_page_again():
    """Fails when a page does not say that its server is gone, or does not
    go on with the next one."""
    target, watch, page = open_page()
    with page:
        page.until("page.map.columns.length >= 5")
        watch.end(signal.SIGKILL)
        page.until("document.querySelector('#state').textContent"
                   ".startsWith('no connection')")
        assert page.run("page.map.columns.length") >= 5
        first = page.run("page.instance")
        Watch("-p", str(target.process.pid), "--interval", "100",
              address=f"127.0.0.1:{watch.port}")
        page.until("page.map.columns.length >= 5 && "
                   f"page.instance !== {first}")
        assert page.text("#state") == "live"
        assert page.run("page.map.columns[0].begin") == 0


CLAIMS = [("what cannot be served is one line", test_refused)]
REAL = [
    ("counters are what was written", test_exact),
    ("metrics are the sums of --json", test_same_as_json),
    ("many mappings are few series", test_limited),
    ("counters never fall", test_never_down),
    ("names of mappings are quoted", test_names),
    ("each column once, with all its pages", test_columns),
    ("what is left out of a column is counted", test_left_out),
    ("who waits is told of the end", test_goodbye),
    ("beside a screen", test_screen),
    ("requests", test_http),
    ("a connection is used again", test_one_connection),
    ("garbage", test_garbage),
    ("many connections", test_many),
    ("the oldest connections go for new ones", test_oldest),
    ("slow requests, and long waits", test_slow),
    ("addresses", test_addresses),
]
PAGES = [
    ("the page in a browser", test_page),
    ("a view that is zoomed", test_page_zoom),
    ("a page and its next server", test_page_again),
]


def apart(claim):
    """Whatever a claim leaves running ends with it."""
    def wrapped():
        try:
            claim()
        finally:
            for one in Watch.living + Target.living:
                one.process.kill()
                one.process.wait()
            Watch.living.clear()
            Target.living.clear()
    return wrapped


def skipped(claims, why):
    return [(f"{name} # SKIP {why}", lambda: None) for name, _ in claims]


if not works():
    CLAIMS += skipped(REAL + PAGES, "processes cannot be tracked here")
elif not browser.find():
    CLAIMS += REAL + skipped(PAGES, "there is no Chromium")
else:
    CLAIMS += REAL + PAGES
command.main([(name, apart(claim)) for name, claim in CLAIMS])
