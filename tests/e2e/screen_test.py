#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""screen_test.py - the terminal view of tidemark watch, in tmux

Usage: screen_test.py TIDEMARK
"""
import itertools
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import command

LIMIT = 30  # seconds until something is on the screen
FOLDER = tempfile.mkdtemp(prefix="tidemark-screen-")
# At the beginning of 4 MiB these pages are written, the rest never.
HOT, PAGES = 200, 1024
TARGET = """
import mmap, os, signal, sys, time
path, hot, pages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "wb+") as file:
    file.truncate(pages * 4096)
    memory = mmap.mmap(file.fileno(), pages * 4096, mmap.MAP_PRIVATE)
def stop(*_):
    global hot
    hot = 0
signal.signal(signal.SIGUSR1, stop)
print("ready", flush=True)
n = 0
while True:
    n = (n + 1) % 256
    for page in range(hot):
        memory[page * 4096] = n
    time.sleep(0.005)
"""
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "TMUX_TMPDIR": FOLDER}
SCRIPT = os.path.join(FOLDER, "target.py")
servers = itertools.count()


def tmux(*arguments, check=True):
    """Of the server that is meant, each of which has one terminal."""
    return subprocess.run(["tmux", "-u", "-L", ENVIRONMENT["SERVER"], "-f",
                           "/dev/null", *arguments], capture_output=True,
                          encoding="utf-8", check=check, timeout=LIMIT,
                          env=ENVIRONMENT)


class Target:
    """A process that writes HOT pages of a mapping with this name."""

    def __init__(self, name="quarry"):
        self.path = os.path.join(FOLDER, name)
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, self.path, str(HOT), str(PAGES)],
            stdout=subprocess.PIPE, encoding="utf-8")
        assert self.process.stdout.readline() == "ready\n"

    def address(self):
        """Where the mapping begins."""
        with open(f"/proc/{self.process.pid}/maps", encoding="utf-8",
                  errors="replace") as maps:
            return next(int(line.split("-")[0], 16) for line in maps
                        if FOLDER in line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Pane:
    """A shell in a terminal of that size; .watch() starts the view in it."""

    def __init__(self, columns=80, rows=24, term="tmux-256color",
                 locale="C.UTF-8"):
        ENVIRONMENT["SERVER"] = f"server{next(servers)}"
        settings = {"LC_ALL": locale, "PS1": "ready> ", "TERM": term,
                    "HISTFILE": ""}
        words = [f"{name}={value}" for name, value in settings.items()]
        tmux("new-session", "-d", "-x", str(columns), "-y", str(rows),
             shlex.join(["env", *words, "bash", "--norc", "--noprofile",
                         "-i"]))
        self.shows(r"^ready>")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        tmux("kill-server", check=False)

    def keys(self, *keys):
        tmux("send-keys", *keys)
        return self

    def run(self, line):
        """Types a line; its status is on the screen afterwards."""
        tmux("send-keys", "-l", f"clear; {line}; echo status-$?")
        return self.keys("Enter")

    def watch(self, target, interval="100", more=""):
        return self.run(shlex.join([
            os.path.abspath(command.TIDEMARK), "watch", "-p",
            str(target.process.pid), "--interval", interval]) + more)

    def watch_command(self, *words, options=()):
        return self.run(shlex.join([
            os.path.abspath(command.TIDEMARK), "watch", "--interval", "100",
            *options, "--", *words]))

    @staticmethod
    def text(*options):
        return tmux("capture-pane", "-p", *options).stdout

    def until(self, condition, *options, what):
        """Waits until the screen is so.  Returns what the condition does."""
        end = time.monotonic() + LIMIT
        while True:
            text = self.text(*options)
            got = condition(text)
            if got:
                return got
            assert time.monotonic() < end, f"never {what}:\n{text}"
            time.sleep(0.05)

    def shows(self, pattern):
        """Waits for it.  Returns the match."""
        return self.until(lambda text: re.search(pattern, text, re.MULTILINE),
                          what=f"showed {pattern!r}")

    def status(self):
        """It has ended, and this is the shell again.  Returns the status."""
        return int(self.shows(r"^status-(\d+)$").group(1))

    def mode(self):
        """What a program may have left of a terminal, but for its size."""
        tmux("send-keys", "-l", "clear; stty -g")
        self.keys("Enter")
        settings = self.shows(r"^([0-9a-f]+:[0-9a-f:]+)").group(1)
        flags = tmux("display-message", "-p", "#{alternate_on} "
                     "#{cursor_flag} #{keypad_flag} #{scroll_region_upper}")
        return settings, flags.stdout

    def resize(self, columns, rows):
        tmux("resize-window", "-x", str(columns), "-y", str(rows))
        return self


def cells_of(line):
    """(colour of the background, character) of each column of a line with
    escapes, in which nothing is wide."""
    cells, now = [], None
    for code, char in re.findall(r"\x1b\[([0-9;]*)m|(.)", line):
        if char:
            cells.append((now, char))
            continue
        numbers = [int(number or 0) for number in code.split(";")]
        while numbers:
            number = numbers.pop(0)
            if number in (38, 48):
                value = numbers[1]
                del numbers[:2]
                now = value if number == 48 else now
            elif 40 <= number < 48:
                now = number - 40
            elif number in (0, 49):
                now = None
    return cells


# Of 256 colours, by heat; what was never written has two.
HEATS = {240: 0, 236: 0, 18: 1, 54: 2, 90: 3, 126: 4, 161: 5, 196: 6, 202: 7,
         214: 8, 228: 9}
TEXTS = ".,:-=+*o#@"


def map_rows(text, of_text=False):
    """(address, heats) of each row of a heat map of 49 columns."""
    rows = []
    for line in text.splitlines():
        cells = cells_of(line)
        plain = "".join(char for _, char in cells)
        # Not what is said about the cursor.
        if not re.match(" [0-9a-f]{12} " + ("[^ ]" if of_text else ""), plain):
            continue
        cells = cells[14:14 + 49]
        if of_text:
            heats = [TEXTS.index(char) for _, char in cells if char in TEXTS]
        else:
            heats = [HEATS[colour] for colour, _ in cells if colour in HEATS]
        rows.append((int(plain[1:13], 16), heats))
    return rows


def quarry_heats(target, rows):
    """Of a map with a page to a cell: heats by page of the mapping, as far as
    it is in rows that begin in it."""
    begin = target.address()
    return {(address - begin) // 4096 + i: heat
            for address, heats in rows for i, heat in enumerate(heats)
            if begin <= address and (address - begin) // 4096 + i < PAGES}


def is_as_written(heats):
    """Many pages can be seen, and the heat of each is right."""
    return (sum(page < HOT for page in heats) > 50
            and sum(page >= HOT for page in heats) > 50
            and all(heat >= 8 if page < HOT else heat == 0
                    for page, heat in heats.items()))


def show_quarry(pane):
    """In the map, a page to a cell, from its beginning on."""
    pane.shows(rf"^ +{HOT} .*quarry")
    pane.keys("Home", "Enter")
    pane.shows("Heat map")
    for _ in range(12):
        pane.keys("+")
    pane.shows("a cell is 1 page, 4 KiB")


# ---- what is on it ----

def test_figures():
    """Fails when what was written is not on the screen, or wrong."""
    with Target() as target, Pane() as pane:
        pane.watch(target)
        pane.shows(rf"^ +{HOT} +{HOT * 4} KiB +19\.5 % +4 MiB +\d+ .*quarry$")
        pages, size = pane.shows(
            r"^ written +(\d+) pages, ([\d.]+) [KM]iB in 1\d\d\.\d ms "
            r". \d+ pages/s, [\d.]+ [KM]iB/s").groups()
        assert int(pages) >= 1 and float(size) > 0
        pane.shows(r"^ working set +\d+ pages, [\d.]+ [KM]iB in 1\.\d\d s")
        pane.shows(r"^ over time +average \d+ pages/s, [\d.]+ .iB/s . "
                   r"peak \d+ pages/s")
        pane.shows(r"^ cost +looking [\d.]+ [um]?s in 1\d\d\.\d ms, "
                   r"[\d.]+ % of a core . held [\d.]+ [um]s")
        pane.shows(r"^ +faults ~[\d.]+ [um]s in 1\d\d\.\d ms, ")
        pane.shows(r"^ +[\d.]+ [KM]iB/s +[▁▂▃▄▅▆▇█ ]*█")
        pane.shows(rf"python.* pid {target.process.pid} .*every 100\.0 ms")


def test_map():
    """Fails when a page that is written is cold, or another one hot."""
    with Target() as target, Pane() as pane:
        pane.watch(target)
        show_quarry(pane)
        pane.until(lambda text: is_as_written(
            quarry_heats(target, map_rows(text))), "-e", what="was the map so")
        pane.shows(rf"^ {target.address():012x}  1 page, 4 KiB  heat .*quarry")


def test_ranges():
    """Fails when what is written most is not among the hottest ranges."""
    with Target() as target, Pane() as pane:
        pane.watch(target).keys("3")
        begin = target.address()
        # In an interval it is written all of it, and nothing else.
        found = pane.shows(rf"^ +([\d.]+) .* (?:9\d\.\d|100) %  {begin:012x} +"
                           rf"{HOT * 4} KiB ")
        assert HOT * 0.9 <= float(found.group(1)) <= HOT + 0.1
        pane.keys("Enter").shows(rf"^ {begin:012x}  .*quarry")


def test_sorted():
    """Fails when a key does not sort by what it is for."""
    with Target() as target, Pane(159, 50) as pane:
        def rows(text, what):
            try:
                return whole_rows(text, what)
            except (ValueError, IndexError, StopIteration):
                return None  # a screen that is half drawn

        def whole_rows(text, what):
            lines = text.splitlines()
            head = next(i for i, line in enumerate(lines)
                        if f", by {what}" in line)
            until = next(i for i, line in enumerate(lines)
                         if "Hottest ranges" in line)
            name = lines[head + 1].index("name")
            found = [(int(line.split()[0]), int(line[39:49]),
                      line[62:74], line[name:])
                     for line in lines[head + 2:until]]
            return found if len(found) > 5 else None

        def sorted_by(what, key):
            pane.until(lambda text: rows(text, what) and rows(text, what)
                       == sorted(rows(text, what), key=key),
                       what="sorted by " + what)

        pane.watch(target).shows(rf"^ +{HOT} .* quarry|/quarry")
        sorted_by("what they wrote", lambda row: -row[0])
        # Then the one with the largest total writes least.
        target.process.send_signal(signal.SIGUSR1)
        pane.until(lambda text: "/quarry" not in (rows(
            text, "what they wrote") or [["/quarry"]])[0][-1], what="moved")
        sorted_by("what they wrote", lambda row: -row[0])
        pane.keys("t")
        sorted_by("their total", lambda row: -row[1])
        pane.until(lambda text: "/quarry" in (rows(
            text, "their total") or [[""]])[0][-1], what="was the largest")
        pane.keys("a")
        sorted_by("address", lambda row: row[2])
        pane.keys("n")
        sorted_by("name", lambda row: row[3])
        pane.keys("s").shows("by address")
        pane.keys("s").shows("by what they wrote")


def test_scrolled():
    """Fails when not all of it can be reached."""
    with Target() as target, Pane(80, 14) as pane:
        pane.watch(target).keys("a").shows("by address")
        pane.keys("End").shows(r"\[(stack|vdso|vvar)\]|sys")
        pane.keys("Home").until(lambda text: "[stack]" not in text,
                                what="went back")
        pane.keys("2")
        pane.keys("+", "+", "+", "+", "+", "+")
        rows = r"; rows (\d+)-(\d+) of (\d+)$"
        pane.keys("Home").shows("; rows 1-")
        begin, end, count = map(int, pane.shows(rows).groups())
        assert begin == 1 and end < count
        pane.keys("NPage").shows(rf"; rows [^1]\d*-\d+ of {count}$")
        pane.keys("End").shows(rf"; rows \d+-{count} of {count}$")
        pane.keys("Home").shows(rf"; rows 1-{end} of {count}$")


def test_zoomed():
    """Fails when zooming does not, or is not said."""
    with Target() as target, Pane() as pane:
        def cell():
            return int(pane.shows(r"a cell is (\d+) pages?,").group(1))

        pane.watch(target).keys("2")
        fits = cell()
        assert fits >= 8
        pane.keys("+").shows(f"a cell is {fits // 2} page")
        pane.keys("-").shows(f"a cell is {fits} page")
        pane.keys("-").shows(f"a cell is {fits * 2} page")
        pane.keys("f").shows(f"a cell is {fits} page")


def test_paused():
    """Fails when what is paused moves, or does not go on."""
    with Target() as target, Pane() as pane:
        pane.watch(target).shows("quarry")
        pane.keys("p").shows("PAUSED")
        time.sleep(0.2)  # until all of it is drawn
        before = pane.text()
        time.sleep(1)
        assert pane.text() == before
        pane.keys("p").until(lambda text: "PAUSED" not in text
                             and text != before, what="went on")


def test_interval():
    """Fails when the interval cannot be changed."""
    with Target() as target, Pane() as pane:
        pane.watch(target).keys("i").shows(r"every 200\.0 ms")
        pane.shows(r"^ written .* in 2\d\d\.\d ms")
        pane.keys("I").shows(r"every 100\.0 ms")
    # Not only when the one that has begun is over.
    with Target() as target, Pane() as pane:
        pane.watch(target, interval="300000").shows("not over yet")
        pane.keys(*"IIIIIIII").shows(r"every 100\.0 ms")
        pane.shows(r"^ written .* in [\d.]+ m?s ")


def test_help():
    """Fails when the keys are nowhere to be found."""
    with Target() as target, Pane(40, 10) as pane:
        pane.watch(target).keys("?").shows("Keys; any of them goes back")
        pane.shows("hottest ranges|mappings, heat")
        pane.keys("x").shows("Mappings:")


# ---- sizes and terminals ----

def test_resized():
    """Fails when it does not follow the terminal, or does not come back."""
    with Target() as target, Pane() as pane:
        # It does not wait until an interval is over.
        pane.watch(target, interval="300000").shows(r"^ +\d+ .*quarry")
        pane.resize(40, 10).shows(r"^ +\d+ .*quarry")
        pane.shows("^ written ")
        pane.resize(39, 10).shows("too small: 39 x 10")
        pane.resize(12, 3).shows("too small:")
        pane.resize(120, 40).shows(r"^ +\d+ .*quarry")
        for pane_head in ("Mappings:", "Heat map:", "Hottest ranges"):
            pane.shows("^ " + pane_head)
        pane.resize(200, 50).shows("Heat map:.*Mappings:")
        pane.keys("q")
        # What was there before is reflowed by tmux, with what is there now.
        pane.shows("^status-0")


def test_too_small():
    """Fails when a terminal that is too small gets more than a line."""
    with Target() as target, Pane(60, 9) as pane:
        pane.watch(target)
        assert pane.status() == 2
        text = "".join(pane.text().split("\n"))
        assert text.startswith("tidemark: watch: the terminal has 60 columns "
                               "and 9 rows, and the view needs 40 and 10;")


def test_terminals():
    """Fails when a terminal that cannot do it gets more than a line."""
    with Target() as target:
        for term, said in (("dumb", "cannot move its cursor"),
                           ("no-such-terminal", "is unknown"),
                           ("", "TERM is not set")):
            with Pane(term=term) as pane:
                pane.watch(target)
                assert pane.status() == 2
                lines = pane.text().strip().split("\nstatus")[0]
                assert lines.count("tidemark: ") == 1, lines
                line = lines[lines.index("tidemark: "):].replace("\n", "")
                assert line.startswith("tidemark: watch: "), line
                assert said in line and "--json" in line, line


def test_few_colours():
    """Fails when the map cannot be read with 8 colours, or with none."""
    with Target() as target:
        for term in ("screen", "vt100"):
            with Pane(term=term) as pane:
                pane.watch(target)
                show_quarry(pane)
                pane.until(lambda text: is_as_written(
                    quarry_heats(target, map_rows(text, of_text=True))),
                    "-e", what="was the map so")
                colours = re.search(r"\x1b\[[34][0-7]m", pane.text("-e"))
                assert bool(colours) == (term == "screen")


def test_no_locale():
    """Fails when a terminal without UTF-8 gets what it does not know."""
    with Target("quarry-\u5e83\u3044") as target, Pane(locale="C") as pane:
        pane.watch(target)
        pane.shows(rf"^ +{HOT} .*quarry-\?\?\?\?\?\?$")
        pane.shows(r"^ written .* ms - \d+ pages/s, ")
        pane.shows(r"^ +[\d.]+ [KM]iB/s +[.:| ]*\|")
        pane.keys("2").shows("Heat map")
        assert pane.text().isascii()
        pane.keys("3").shows("Hottest ranges")
        assert pane.text().isascii()


def test_wide_names():
    """Fails when characters of two columns shift what is beside them."""
    with Target("quarry-" + "\u5e83\u3044" * 9) as target, Pane() as pane:
        pane.watch(target)
        line = pane.shows(rf"^ +{HOT} .*\u5e83\u3044$").group(0)
        assert sum(1 + (char > "\u3000") for char in line) <= 80
        assert "…" in line


def test_hostile_names():
    """Fails when the terminal obeys the name of a file."""
    name = "\x1b[31mquarry\x1b]0;owned\x07\x1b[2J\x9b1m\u202e\x08"
    with Target(name) as target, Pane(150, 40) as pane:
        pane.watch(target)
        pane.shows(rf"^ +{HOT} .*"
                   r"\?\[31mquarry\?\]0;owned\?\?\[2J\?1m\?\?$")
        # In the command line, too.
        pane.shows(r"^ tidemark  python.*/\?\[31mqu.* pid ")
        title = tmux("display-message", "-p", "#{pane_title}").stdout
        assert "owned" not in title


# ---- ends ----

def restored(pane, before):
    """The terminal is as it was."""
    after = pane.mode()
    assert after == before, (before, after)


def test_quit():
    """Fails when the terminal is not as it was before."""
    with Target() as target, Pane() as pane:
        before = pane.mode()
        pane.watch(target).shows("quarry")
        assert tmux("display-message", "-p", "#{alternate_on}").stdout == "1\n"
        pane.keys("q")
        assert pane.status() == 0
        restored(pane, before)


def watcher_of(target):
    """Its process id."""
    found = subprocess.run(["pgrep", "-f", f"watch -p {target.process.pid} "],
                           capture_output=True, encoding="utf-8", check=True)
    return int(found.stdout.split()[0])


def test_interrupted():
    """Fails when a signal leaves the terminal as it was on the screen."""
    with Target() as target, Pane() as pane:
        before = pane.mode()
        pane.watch(target).shows("quarry")
        pane.keys("C-c")
        assert pane.status() == 0
        restored(pane, before)
        pane.watch(target).shows("quarry")
        os.kill(watcher_of(target), signal.SIGTERM)
        assert pane.status() == 0
        restored(pane, before)
        for number in (signal.SIGQUIT, signal.SIGSEGV, signal.SIGABRT):
            pane.watch(target).shows("quarry")
            os.kill(watcher_of(target), number)
            assert pane.status() == 128 + number
            restored(pane, before)
        assert target.process.poll() is None


def test_impatient():
    """Fails when somebody who presses Ctrl-C twice is left without a
    terminal."""
    with Target() as target, Pane() as pane:
        before = pane.mode()
        for _ in range(5):
            pane.watch(target).shows("quarry")
            watcher = watcher_of(target)
            os.kill(watcher, signal.SIGINT)
            os.kill(watcher, signal.SIGTERM)
            assert pane.status() in (0, 130, 143)
            restored(pane, before)


def test_stopped():
    """Fails when Ctrl-Z does not give the terminal, or fg take it again."""
    with Target() as target, Pane() as pane:
        before = pane.mode()
        pane.watch(target).shows("quarry")
        pane.keys("C-z").shows("Stopped")
        restored(pane, before)
        pane.keys("-l", "fg").keys("Enter").shows("^ written ")
        pane.keys("2").shows("Heat map")
        pane.keys("q").until(lambda text: "Heat map" not in text, what="quit")
        restored(pane, before)


def test_hung_up():
    """Fails when a watcher outlives its terminal."""
    with Target() as target:
        with Pane() as pane:
            pane.watch(target).shows("quarry")
            watcher = watcher_of(target)
        end = time.monotonic() + LIMIT
        while os.path.exists(f"/proc/{watcher}"):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert target.process.poll() is None


def test_target_ends():
    """Fails when the last figures are gone with the process."""
    with Pane() as pane:
        before = pane.mode()
        with Target() as target:
            pane.watch(target).shows("quarry")
        pane.shows("The process has ended")
        pane.shows(r"has ended +every 100")
        pane.shows("quarry")
        pane.keys("2").shows("Heat map")
        pane.resize(100, 30).shows("Heat map")
        pane.resize(80, 24).shows("The process has ended").group(0)
        pane.keys("q")
        assert pane.status() == 0
        restored(pane, before)


def test_time_is_up():
    """Fails when somebody has to press a key after --for."""
    with Target() as target, Pane() as pane:
        pane.watch(target, more=" --for 1s")
        assert pane.status() == 0


def test_keys_elsewhere():
    """Fails when keys are read from what is redirected."""
    with Target() as target, Pane() as pane:
        pane.watch(target, more=" </dev/null").shows("quarry")
        pane.keys("q")
        assert pane.status() == 0


# ---- a command ----

def test_command_output():
    """Fails when what a command writes is lost, or on the screen."""
    with Pane() as pane:
        pane.watch_command("sh", "-c", "seq 300; echo '\033[2Jlast' >&2; "
                           "read x; echo end-$x; exec sleep 1000")
        pane.shows(r"^ output +end-$")
        pane.keys("q")
        assert pane.status() == 0
        lines = tmux("capture-pane", "-p", "-S", "-").stdout.splitlines()
        at = lines.index("end-")
        assert "299" in lines or "last" in lines[at - 1], lines
        assert lines[at + 1].startswith("status-0")


def test_command_ends():
    """Fails when a command that ends takes the screen with it."""
    with Pane() as pane:
        pane.watch_command("sh", "-c", "echo one; sleep 1; echo two")
        pane.shows(r"^ output +two$")
        pane.shows("The process has ended")
        pane.keys("q").shows(r"^one\ntwo\nstatus-0$")


def test_messages():
    """Fails when what is said meanwhile is all over the screen, or lost."""
    traced = ("import ctypes, os, time\n"
              "time.sleep(1)\n"
              "if not os.fork():\n"
              "    ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n"
              "time.sleep(1000)\n")
    with Pane() as pane:
        pane.watch_command(sys.executable, "-c", traced,
                           options=["--follow-children"])
        pane.shows(r"^ said +tidemark: watch: process \d+: .*trace")
        pane.keys("q")
        assert pane.status() == 0
        assert re.search(r"^tidemark: watch: process \d+: .*trace",
                         pane.text(), re.MULTILINE)


def test_no_command():
    """Fails when a command that is not there gets a screen."""
    with Pane() as pane:
        pane.watch_command("/no/such/command")
        assert pane.status() == 2
        text = pane.text()
        assert text.startswith("tidemark: watch: /no/such/command: "), text
        assert text.count("tidemark:") == 1


CLAIMS = [
    ("figures of what was written", test_figures),
    ("pages that are written are hot, and no others", test_map),
    ("the hottest range", test_ranges),
    ("mappings are sorted by each key", test_sorted),
    ("all of it can be scrolled to", test_scrolled),
    ("the map is zoomed", test_zoomed),
    ("what is paused stands still", test_paused),
    ("intervals become longer and shorter", test_interval),
    ("keys are explained", test_help),
    ("a terminal that changes its size", test_resized),
    ("a terminal that is too small", test_too_small),
    ("terminals that cannot do it", test_terminals),
    ("8 colours, and none", test_few_colours),
    ("no UTF-8", test_no_locale),
    ("names of wide characters", test_wide_names),
    ("names that are for the terminal", test_hostile_names),
    ("q gives the terminal back", test_quit),
    ("signals give the terminal back", test_interrupted),
    ("two signals give the terminal back", test_impatient),
    ("Ctrl-Z gives the terminal back for a while", test_stopped),
    ("we end with the terminal", test_hung_up),
    ("the end of the process", test_target_ends),
    ("the time is up", test_time_is_up),
    ("keys come from the terminal", test_keys_elsewhere),
    ("a command's output comes afterwards", test_command_output),
    ("the end of a command", test_command_ends),
    ("what is said meanwhile", test_messages),
    ("a command that is not there", test_no_command),
]


def why_not():
    """Why there is nothing to be tested here, or None."""
    if not shutil.which("tmux"):
        return "tmux is not installed"
    if ("wp" not in command.tracker_names()
            or os.uname().machine != "x86_64"):
        return "processes cannot be tracked here"
    return None


WHY_NOT = why_not()
if WHY_NOT:
    CLAIMS = [(f"{name} # SKIP {WHY_NOT}", lambda: None)
              for name, _ in CLAIMS]
pathlib.Path(SCRIPT).write_text(TARGET, encoding="utf-8")
try:
    command.main(CLAIMS)
finally:
    shutil.rmtree(FOLDER, ignore_errors=True)
