#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""boot_test.py - tests on a kernel that has what this machine's may lack

Usage: boot_test.py KERNEL INIT PROGRAM... [--long PROGRAM...]

KERNEL is a directory that scripts/guest-kernel made, INIT the program that
tests/boot/init.c is.  A PROGRAM is a path with words after it, arguments and
VARIABLE=VALUE, all in one argument.  qemu boots the kernel without KVM,
with the programs and their libraries in an initramfs, and their TAP comes out
here, all in one plan.  Those after --long are run if TIDE_LONG is set.

The command among them is not a test: its probe must say of each tracker what
is known of this kernel.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

SECONDS = 850  # for all of it, and
PER_PROGRAM = 400  # for one: no claims, only an end to what hangs
QEMU = "qemu-system-x86_64"
# Linux 6.1 as Debian builds it: no WP_ASYNC and no PAGEMAP_SCAN before 6.7.
WORKS = {"soft-dirty": True, "sigsegv": True, "wp": False,
         "soft-bitmap": True, "soft-ring": True}

RESULT = re.compile(r"(not )?ok\b(?: \d+)?(?: -)? ?(.*)")
PLAN = re.compile(r"1\.\.(\d+)")
SKIP = re.compile(r"^(.*?)\s*# *SKIP\S*\s*(.*)$")
REASON = re.compile(r"# *SKIP [^:]*: (.*)")


class Archive:
    """A cpio archive in the form "newc", as the kernel wants it."""

    def __init__(self):
        self.parts, self.names = [], set()

    def _entry(self, name, mode, data=b""):
        if name in self.names:
            return
        self.names.add(name)
        path = name.encode() + b"\0"
        fields = [len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                  len(path), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        for part in (head, data):
            self.parts += [part, b"\0" * (-len(part) % 4)]

    def _folders_of(self, name):
        at = ""
        for folder in name.split("/")[:-1]:
            at = f"{at}/{folder}" if at else folder
            self._entry(at, 0o040755)

    def add(self, name, data):
        name = name.lstrip("/")
        self._folders_of(name)
        self._entry(name, 0o100755, data)

    def add_file(self, path, name=None):
        with open(path, "rb") as file:
            self.add(name or path, file.read())

    def device(self, name, major, minor):
        self._folders_of(name)
        path = name.encode() + b"\0"
        fields = [0, 0o020600, 0, 0, 1, 0, 0, 0, 0, major, minor, len(path), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self.parts += [head, b"\0" * (-len(head) % 4)]

    def bytes(self):
        self._entry("TRAILER!!!", 0)
        return b"".join(self.parts)


def libraries(path):
    """What the dynamic linker would load, itself included."""
    done = subprocess.run(["ldd", path], stdout=subprocess.PIPE,
                          encoding="utf-8", check=True)
    return re.findall(r"(/\S+) \(0x", done.stdout)


def initramfs(kernel, init, programs):
    archive = Archive()
    archive.device("dev/console", 5, 1)
    archive.add_file(init, "init")
    for module in os.listdir(kernel):
        if module.endswith(".ko"):
            archive.add_file(os.path.join(kernel, module), module)
    for path in [init] + [words[0] for _, words in programs]:
        archive.add_file(path)
        for library in libraries(path):
            archive.add_file(library)
    archive.add("programs", "".join(
        f"{PER_PROGRAM} {name} {' '.join(words)}\n"
        for name, words in programs).encode())
    return archive.bytes()


def boot(kernel, image, folder):
    """Returns what the programs printed, and the kernel's last words."""
    output = os.path.join(folder, "output")
    console = os.path.join(folder, "console")
    with open(os.path.join(folder, "initramfs"), "wb") as file:
        file.write(image)
    command = [QEMU, "-accel", "tcg", "-smp", "2", "-m", "1024", "-no-reboot",
               "-nodefaults", "-display", "none",
               "-kernel", os.path.join(kernel, "vmlinuz"),
               "-initrd", os.path.join(folder, "initramfs"),
               "-append", "console=ttyS0 panic=-1 loglevel=4",
               "-serial", f"file:{console}", "-serial", f"file:{output}"]
    try:
        end = subprocess.run(command, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, timeout=SECONDS,
                             stderr=subprocess.STDOUT, check=False)
        last = end.stdout.decode(errors="replace").splitlines()
    except subprocess.TimeoutExpired:
        last = [f"no end after {SECONDS} s"]
    texts = []
    for path in (output, console):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        except FileNotFoundError:
            texts.append("")
    return texts[0], texts[1].splitlines()[-20:] + last


class Tap:
    """One plan of many."""

    def __init__(self):
        self.count = self.failed = 0

    def result(self, good, name, notes=(), reason=None):
        self.count += 1
        self.failed += not good
        skip = f" # SKIP {reason}" if reason is not None else ""
        print(f"{'' if good else 'not '}ok {self.count} - {name}{skip}")
        if not good:
            for note in notes:
                print(f"# {note}")

    def section(self, name, lines, status, last):
        """What one program printed; @status: None if it did not end."""
        seen, plan, failures, notes = 0, None, 0, []
        for line in lines:
            found = RESULT.match(line)
            if not found:
                planned = PLAN.match(line)
                plan = int(planned.group(1)) if planned else plan
                notes.append(line)
                continue
            seen += 1
            skip = SKIP.match(found.group(2))
            if skip:
                reasons = [REASON.match(note) for note in notes]
                reasons = [hit.group(1) for hit in reasons if hit]
                title = skip.group(1) or skip.group(2)
                self.result(True, f"{name}: {title}", reason=reasons[-1]
                            if reasons else "no reason given")
            else:
                failures += bool(found.group(1))
                self.result(not found.group(1), f"{name}: {found.group(2)}",
                            notes[-40:])
            notes = []
        if status is None:
            self.result(False, f"{name}: it ends", notes[-20:] + last)
        elif plan is None or seen < plan:
            self.result(False, f"{name}: all of its tests run",
                        [f"{seen} of {plan}, status {status}"] + notes[-40:])
        elif bool(status) != bool(failures):
            self.result(False, f"{name}: its status fits its tests",
                        [f"status {status}, {failures} failed"])


def sections(text):
    """(name, lines, status) of each program."""
    name, lines = None, []
    for line in text.splitlines():
        words = line.split(" ")
        if line.startswith("== begin "):
            name, lines = words[2], []
        elif line.startswith("== end ") and words[2] == name:
            yield name, lines, int(words[3])
            name = None
        elif name is not None:
            lines.append(line)
    if name is not None:
        yield name, lines, None


def check_probe(tap, lines):
    try:
        probes = {probe["tracker"]: probe
                  for probe in json.loads("\n".join(lines))}
    except ValueError:
        tap.result(False, "probe: its output is JSON", lines)
        return
    for name, works in WORKS.items():
        probe = probes.get(name, {"works": None, "why": "it is not there"})
        # It says why if and only if it does not work.
        good = probe["works"] == works and bool(probe["why"]) != works
        tap.result(good, f"probe: {name} {'works' if works else 'does not'}",
                   [f"works: {probe['works']}, why: {probe['why']}"])


def skip_all(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def main(kernel, init, *commands):
    programs = []
    if "--long" in commands:
        at = commands.index("--long")
        commands = commands[:at] + (commands[at + 1:]
                                    if "TIDE_LONG" in os.environ else ())
    for command in commands:
        words = command.split(" ")
        name = os.path.basename(words[0])
        for word in words[1:]:
            if word.startswith("TIDE_"):
                name += "-" + word.split("=")[1]
        programs.append((name, words + ["CMOCKA_MESSAGE_OUTPUT=TAP"]))
    if not os.path.exists(os.path.join(kernel, "stamp")):
        why = os.path.join(kernel, "why")
        if not os.path.exists(why):
            skip_all("no kernel to boot: scripts/guest-kernel was not run")
        with open(why, encoding="utf-8") as file:
            skip_all(f"no kernel to boot: {file.read().strip()}")
    if not shutil.which(QEMU):
        skip_all(f"no {QEMU}")
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        text, last = boot(kernel, initramfs(kernel, init, programs), folder)
    expected = [name for name, _ in programs]
    for name, lines, status in sections(text):
        if name.startswith("tidemark"):
            check_probe(tap, lines)
        else:
            tap.section(name, lines, status, last)
        expected.remove(name)
    for name in expected:
        tap.result(False, f"{name}: it is run", last)
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
