#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check-guards.py - take each guard of the MMU out, and see a test fail

A *.guard file names one source, what to replace in it, and the tests that
must fail then:

    Why it is there, in a sentence or two.

    file: src/mmu/protect.c
    fails: hazard_test: K4 *
    <<<<
    the old text, which must be there exactly once
    ====
    the new one
    >>>>

with one or more "fails" (a test program of tests/regress and a pattern for
cmocka's filter) and one or more replacements.  The source is compiled as the
build compiles it for the checked library, and linked in front of that; the
program as it was built must pass, and this one must fail, each within a time.

Usage: check-guards.py BUILD [NAME...]
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

TREE = pathlib.Path(__file__).resolve().parent.parent
GUARDS = TREE / "tests" / "regress" / "guards"
LIBRARY = "tidemark-core-checked"
SECONDS = 100
EDIT = re.compile(r"^<<<<\n(.*?)^====\n(.*?)^>>>>\n", re.DOTALL | re.MULTILINE)
FIELD = re.compile(r"^(file|fails): (.*)$", re.MULTILINE)


class GuardError(Exception):
    """What is wrong with the guard, its test, or our way to build it."""


class Guard:
    def __init__(self, path):
        self.name, text = path.stem, path.read_text(encoding="utf-8")
        self.edits = EDIT.findall(text)
        head = EDIT.sub("", text)
        fields = FIELD.findall(head)
        files = [value for key, value in fields if key == "file"]
        self.fails = [tuple(value.split(": ", 1))
                      for key, value in fields if key == "fails"]
        if len(files) != 1 or not self.edits or not self.fails:
            raise GuardError(f"{path.name}: no file, fails or replacement")
        self.file = files[0]

    def mutated(self):
        text = (TREE / self.file).read_text(encoding="utf-8")
        for old, new in self.edits:
            if text.count(old) != 1:
                raise GuardError(f"{self.file} has this {text.count(old)} "
                                 f"times:\n{old}")
            text = text.replace(old, new)
        return text


class Build:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        commands = json.loads(
            (self.folder / "compile_commands.json").read_text())
        self.compile = {
            os.path.relpath(self.folder / entry["file"], TREE):
            shlex.split(entry["command"])
            for entry in commands if LIBRARY in entry["output"]}

    def run(self, command, **more):
        return subprocess.run(command, cwd=self.folder, check=False,
                              stdout=subprocess.PIPE, encoding="utf-8",
                              stderr=subprocess.STDOUT, **more)

    def must_run(self, command):
        done = self.run(command)
        if done.returncode:
            raise GuardError(f"{shlex.join(command)}\n{done.stdout}")
        return done.stdout

    def object(self, guard, folder):
        """Compile the source without its guard."""
        if guard.file not in self.compile:
            raise GuardError(f"{guard.file} is not in {LIBRARY}")
        source = folder / os.path.basename(guard.file)
        source.write_text(guard.mutated(), encoding="utf-8")
        command, skip = [], False
        for word in self.compile[guard.file]:
            if word in ("-MF", "-MQ", "-o", "-c"):
                skip = True
            elif skip:
                skip = False
            elif word != "-MD" and not word.startswith(("-W", "-O")):
                command.append(word)
        made = folder / "mutated.o"
        self.must_run([*command, "-w", "-O1", "-o", str(made), "-c",
                       str(source)])
        return made

    def program(self, test, made, folder):
        """Link the test with @made in front of the library."""
        steps = self.must_run(["ninja", "-t", "commands",
                               f"tests/regress/{test}"]).splitlines()
        command = shlex.split(steps[-1])
        at = command.index("-o")
        if command[at + 1] != f"tests/regress/{test}":
            raise GuardError(f"{test} is not linked by: {steps[-1]}")
        program = folder / test
        command[at + 1] = str(program)
        first = next(i for i, word in enumerate(command)
                     if word.endswith(".o"))
        command.insert(first + 1, str(made))
        self.must_run(command)
        return program

    def test(self, program, pattern):
        """True: every test of that name passed.  There is at least one."""
        environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
        try:
            done = self.run([str(program), pattern], env=environment,
                            timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return False, f"not over after {SECONDS} s"
        if not re.search(r"^1\.\.[1-9]", done.stdout, re.MULTILINE):
            raise GuardError(f'no test is called "{pattern}"')
        return done.returncode == 0, done.stdout

    def check(self, guard):
        for test, pattern in guard.fails:
            passed, said = self.test(
                self.folder / "tests" / "regress" / test, pattern)
            if not passed:
                raise GuardError(f"{test} fails with its guard in place\n"
                                 f"{said}")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            made = self.object(guard, folder)
            for test, pattern in guard.fails:
                passed, said = self.test(self.program(test, made, folder),
                                         pattern)
                if passed:
                    raise GuardError(f'{test} "{pattern}" passes without it')


def main(arguments):
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    build = Build(arguments[0])
    paths = [path for path in sorted(GUARDS.glob("*.guard"))
             if not arguments[1:] or path.stem in arguments[1:]]
    failed = 0

    def run(path):
        try:
            build.check(Guard(path))
        except GuardError as error:
            return str(error)
        return None

    print(f"1..{len(paths)}")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (path, error) in enumerate(
                zip(paths, pool.map(run, paths)), 1):
            failed += error is not None
            print(f"{'not ' if error else ''}ok {number} - "
                  f"a test fails without: {path.stem}", flush=True)
            for line in (error or "").splitlines():
                print(f"# {line}")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
