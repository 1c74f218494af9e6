#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutants.py - does a litmus program notice when the shipped code is weaker?

Makes one mistake at a time in a copy of a source that litmus programs explore,
compiles what holds it as the build does, links it in front of the program's
libraries, and runs programs until one finds a violation.  The mistakes are
generated, or written in check/mutants, whose README.md has the formats and says
what counts as a kill:

  order     acquire, release, acq_rel and seq_cst, each to what is weaker
  fence     a fence is left out
  lock      a lock is not taken, and not released
  section   an RCU read section; a grace period
  flush     a TLB flush, and a request for one

Ends with "N killed, N argued, N survived, N timed out".  Exit status: 1 if one
survived, if an argument does not hold or a *.mutant is not killed by what it
names; 2 if it could not be found out.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import textwrap
import threading
import time

BEGIN, END = "<!-- mutants -->\n", "<!-- end of mutants -->\n"
EDIT = re.compile(r"^<<<<\n(.*?)^====\n(.*?)^>>>>\n", re.DOTALL | re.MULTILINE)
ATOMIC = re.compile(r"\b(?:atomic_\w+_explicit|atomic_(?:thread|signal)_fence)"
                    r"\s*\(")
ORDER = re.compile(r"memory_order_(\w+)")
# What is weaker, the least of it first: whatever notices that notices more.
WEAKER = {
    "load": {"acquire": ["relaxed"], "seq_cst": ["acquire", "relaxed"]},
    "store": {"release": ["relaxed"], "seq_cst": ["release", "relaxed"]},
    "rmw": {"acquire": ["relaxed"], "release": ["relaxed"],
            "acq_rel": ["acquire", "release", "relaxed"],
            "seq_cst": ["acq_rel", "acquire", "release", "relaxed"]},
}
# Calls that are left out: what they are called, and what stands there then,
# with their argument for {}.
CALLS = [
    (r"tide_lock_acquire", "no lock",
     "({{ extern void left_out_lock(struct tide_lock *); "
     "left_out_lock({}); }})"),
    (r"tide_rcu_lock", "no read section", "(void)0"),
    (r"tide_rcu_wait", "no grace period", "(void)({})"),
    (r"tide_fence_light", "no fence", "(void)({})"),
    (r"tide_fence_heavy", "no fence", "((void)({}), 0)"),
    (r"mmu_flush|mmu_flush_owed|mmu_flush_all|[\w>.-]+->flush", "no flush",
     "((void)({}), 0)"),
    (r"mmu_is_flush_owed", "no flush", "((void)({}), false)"),
    (r"mmu_unlock_flush", "no flush",
     "(({0})->need_flush = false, tide_lock_release(&({0})->mmu_lock), 0)"),
    (r"mmu_vcpu_flush_own", "no flush", "(void)({})"),
]
REQUEST = re.compile(r"\b\w+->need_flush = true")
SLOWER = 30  # times the limit, for a program that is slow or must notice


class MutantError(Exception):
    """It cannot be found out."""


# The text of a source -------------------------------------------------------

def blank(source):
    """The code alone, every character where it was."""
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\""
                  r"|'(?:\\.|[^'\\\n])*'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
                  lambda match: re.sub(r"[^\n]", " ", match.group(0)),
                  source, flags=re.DOTALL | re.MULTILINE)


def functions(code):
    """(begin, end, name) of each body."""
    found = []
    for match in re.finditer(r"^\{\n.*?^\}", code, re.DOTALL | re.MULTILINE):
        head = re.split(r"[;}]|\n[ \t]*\n", code[:match.start()].rstrip())[-1]
        name = re.search(r"(\w+)\s*\(", head)
        if name:
            found.append((match.start(), match.end(), name.group(1)))
    return found


def closing(code, opening):
    depth = 0
    for at in range(opening, len(code)):
        depth += (code[at] in "([{") - (code[at] in ")]}")
        if not depth:
            return at
    raise MutantError("a parenthesis does not close")


def arguments(code, opening):
    """(begin, end) of each of a call's arguments."""
    found, at, end = [], opening + 1, closing(code, opening)
    begin = at
    while at < end:
        if code[at] in "([{":
            at = closing(code, at)
        elif code[at] == ",":
            found.append((begin, at))
            begin = at + 1
        at += 1
    return [*found, (begin, end)]


def weaker_orders(code, opening, name):
    """(begin, end, kind, new text) of each order of the call."""
    orders = [(begin, ORDER.fullmatch(code[begin:end].strip()))
              for begin, end in arguments(code, opening)]
    orders = [(code.index("memory_order_", begin), match.group(1))
              for begin, match in orders if match]
    kind = "load" if "_load_" in name else \
        "store" if "_store_" in name else "rmw"
    for index, (begin, order) in enumerate(orders):
        for weak in WEAKER["load" if index else kind].get(order, []):
            yield (begin, begin + len("memory_order_" + order),
                   f"{'failure ' if index else ''}{order} to {weak}",
                   "memory_order_" + weak)


def weaker_fences(code, begin, opening):
    end = closing(code, opening) + 1
    order = ORDER.search(code, opening, end).group(1)
    for weak in WEAKER["rmw"].get(order, [])[:-1]:
        yield (begin, end, f"fence {order} to {weak}",
               code[begin:end].replace(order, weak))
    yield begin, end, "no fence", "(void)0"


def weaker_calls(code, match, kind, instead):
    opening = match.end() - 1
    end = closing(code, opening) + 1
    argument = code[opening + 1:end - 1].strip()
    yield match.start(), end, kind, instead.format(argument)


class Mutant:
    """One mistake: a file and what its text becomes."""

    def __init__(self, path, key, text, place=None):
        self.path, self.key, self.text, self.place = path, key, text, place
        self.killers = []  # (programs' file, program) that must notice
        self.argument = self.status = self.killer = None
        self.seconds, self.runs = 0.0, []


def sites(path, source):
    """Yields (begin, end of the call, function, [(begin, end, kind, new)])."""
    code = blank(source)
    for begin, end, name in functions(code):
        found = []
        for match in ATOMIC.finditer(code, begin, end):
            opening = match.end() - 1
            found.append((match.start(), opening, list(
                weaker_fences(code, match.start(), opening)
                if "fence" in match.group(0)
                else weaker_orders(code, opening, match.group(0)))))
        for what, kind, instead in CALLS:
            for match in re.finditer(rf"(?<![\w>.])(?:{what})\s*\(",
                                     code[:end]):
                if match.start() > begin:
                    found.append((match.start(), match.end() - 1, list(
                        weaker_calls(code, match, kind, instead))))
        for at, opening, changes in sorted(found):
            if changes:
                yield at, closing(code, opening) + 1, name, changes
        for match in REQUEST.finditer(code, begin, end):
            yield match.start(), match.end(), name, [
                (match.start(), match.end(), "no flush request", "(void)0")]


def generate(path, source, first_place):
    """The mutants of a file, and its text with its places marked, which are
    numbered from @first_place."""
    mutants, marks, times = [], [], collections.Counter()
    for place, (begin, end, name, changes) in enumerate(
            sorted(sites(path, source)), first_place):
        access = " ".join(source[begin:end].split()).replace("( ", "(")
        marks += [(begin, f"({{ extern void left_out_come_by(unsigned int); "
                          f"left_out_come_by({place}u); "), (end, "; })")]
        for at, to, kind, new in changes:
            key = f"{path} {name}: {kind}: {access}"
            times[key] += 1
            if times[key] > 1:
                key += f" ({times[key]})"
            mutants.append(Mutant(path, key, source[:at] + new + source[to:],
                                  place))
    for at, text in sorted(marks, reverse=True):
        source = source[:at] + text + source[at:]
    return mutants, source


def hand_written(tree, path):
    text = path.read_text(encoding="utf-8")
    head = EDIT.sub("", text)
    files = re.findall(r"^file: (\S+)$", head, re.MULTILINE)
    if len(files) != 1 or not EDIT.search(text):
        raise MutantError(f"{path.name}: no file or no replacement")
    source = (tree / files[0]).read_text(encoding="utf-8")
    for old, new in EDIT.findall(text):
        if source.count(old) != 1:
            raise MutantError(f"{path.name}: {files[0]} has this "
                              f"{source.count(old)} times:\n{old}")
        source = source.replace(old, new)
    mutant = Mutant(files[0], f"mutant {path.stem}", source)
    mutant.killers = re.findall(r"^killed by: (\w+): (\S+)$", head,
                                re.MULTILINE)
    return mutant


def arguments_made(tree):
    """{key: name of the argument}, {name: its prose}."""
    keys, prose = {}, {}
    for path in sorted((tree / "check/mutants").glob("*.argued")):
        text = path.read_text(encoding="utf-8")
        prose[path.stem] = re.sub(r"^survives: .*\n?", "", text,
                                  flags=re.MULTILINE).strip()
        named = re.findall(r"^survives: (.*\S)\s*$", text, re.MULTILINE)
        if not named or not prose[path.stem]:
            raise MutantError(f"{path.name}: no key or no argument")
        for key in named:
            if key in keys:
                raise MutantError(f"{path.name} and {keys[key]}.argued argue "
                                  f"about {key}")
            keys[key] = path.stem
    return keys, prose


# The build ------------------------------------------------------------------

class Program:
    """One executable: its objects, how it is linked, what it can run."""

    def __init__(self, name, link):
        self.name, self.link = name, link
        self.objects = {}  # object -> (source, command)
        self.archives = collections.defaultdict(list)  # all their objects
        self.covers = set()
        self.all = []  # every object that is ours, explored or not
        self.fast, self.slow = [], []


class Build:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        info = json.loads((self.folder / "meson-info/meson-info.json")
                          .read_text(encoding="utf-8"))
        self.tree = pathlib.Path(info["directories"]["source"])
        self.scratch = self.folder / "mutants"
        self.scratch.mkdir(exist_ok=True)
        self.programs, self.contents = [], {}
        self.find_programs()
        self.headers = self.find_headers()
        self.memo_path = self.scratch / "memo.json"
        self.memo = json.loads(self.memo_path.read_text(encoding="utf-8")) \
            if self.memo_path.exists() else {}

    def output(self, command, check=True):
        done = subprocess.run(command, cwd=self.folder, check=False,
                              stdout=subprocess.PIPE, encoding="utf-8",
                              stderr=subprocess.STDOUT)
        if check and done.returncode:
            raise MutantError(f"{shlex.join(command)}\n{done.stdout}")
        return done.stdout

    def find_programs(self):
        self.output(["ninja", "build.ninja"])
        said = self.output(["ninja", "-t", "targets", "all"])
        targets = re.findall(r"^(check/(\w+_litmus)): c_LINKER", said,
                             re.MULTILINE)
        library = re.findall(r"^(check/\S*left-out\.a): ", said,
                             re.MULTILINE)
        if len(library) != 1:
            raise MutantError("no library of what is left out")
        self.library = library[0]
        self.output(["ninja", *(path for path, _ in targets), self.library])
        entries = json.loads((self.folder / "compile_commands.json")
                             .read_text(encoding="utf-8"))
        for path, name in targets:
            link = shlex.split(self.output(
                ["ninja", "-t", "commands", path]).splitlines()[-1])
            program = Program(name, link)
            for word in link:  # the linker takes what it finds first
                for entry in entries:
                    if word in (entry["output"],
                                entry["output"].split(".p/")[0]):
                        self.add_object(program, entry)
            if program.covers:
                self.list_programs(program, path)
                self.programs.append(program)

    def add_object(self, program, entry):
        program.all.append(os.path.relpath(self.folder / entry["output"],
                                           self.tree))
        if entry["output"] not in program.link:
            program.archives[entry["output"].split(".p/")[0]].append(
                entry["output"])
        source = os.path.relpath(self.folder / entry["file"], self.tree)
        command = shlex.split(entry["command"])
        subject = source.startswith("src/") and "-fsanitize=thread" in command
        if subject and source in program.covers:
            return
        if subject:
            program.covers.add(source)
        if subject or entry["output"] in program.link:
            program.objects[entry["output"]] = (source, command)

    def list_programs(self, program, path):
        for line in self.output([f"./{path}", "--list"]).splitlines():
            name, *how = line.split()
            if "violates" not in how:
                (program.slow if "slow" in how else program.fast).append(name)

    def find_headers(self):
        """{object: headers of the tree}; what programs cover grows by them."""
        headers = collections.defaultdict(set)
        into = None
        for line in self.output(["ninja", "-t", "deps"]).splitlines():
            if line.startswith(" "):
                path = os.path.relpath(self.folder / line.strip(), self.tree)
                if path.endswith(".h") and path.startswith(("src/",
                                                            "include/")):
                    headers[into].add(path)
            else:
                into = line.split(": #deps")[0]
        for program in self.programs:
            for into in program.objects:
                program.covers |= headers[into]
        return headers

    def compile_words(self, command, folder, *more):
        """Like the build, but into @folder, and its headers come first."""
        words, skip = [], False
        for word in command[1:]:
            if skip or word in ("-MF", "-MQ", "-o", "-c"):
                skip = not skip
            elif word != "-MD" and not word.startswith("-W"):
                words.append(word)
        return [command[0], f"-I{folder}/src", f"-I{folder}/include", *words,
                f"-ffile-prefix-map={folder}={self.tree}", "-w", *more]

    def changed(self, program, texts):
        """(object, source, command) of what has to be compiled anew."""
        for into, (source, command) in program.objects.items():
            if source in texts or self.headers[into] & texts.keys():
                yield into, source, command

    def digest(self, *words, paths=(), texts=()):
        """Of words, and of files as they are or as @texts has them."""
        whole = hashlib.sha256("\0".join(words).encode())
        for path in sorted(paths):
            if path in texts:
                whole.update(texts[path].encode())
            else:
                if path not in self.contents:
                    self.contents[path] = hashlib.sha256(
                        (self.tree / path).read_bytes()).digest()
                whole.update(self.contents[path])
        return whole.hexdigest()

    def write(self, texts, folder):
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")

    def run(self, executable, name, seconds, more=()):
        """Returns [what came of it, seconds, places].  The same executable
        does the same again, so it is run once, even in another call of this
        tool; only for a time-out there may be another reason."""
        key = self.digest(executable.digest, name, *more)
        if key in self.memo:
            return self.memo[key]
        path = executable.link()
        begin = time.monotonic()
        try:
            done = subprocess.run([str(path), name, *more], check=False,
                                  stdout=subprocess.PIPE, encoding="utf-8",
                                  errors="replace", stderr=subprocess.STDOUT,
                                  timeout=seconds)
        except subprocess.TimeoutExpired:
            return ["timeout", time.monotonic() - begin, ""]
        came_by = re.findall(r"^# came by (.*)$", done.stdout, re.MULTILINE)
        self.memo[key] = [outcome(done), time.monotonic() - begin,
                          " ".join(came_by)]
        return self.memo[key]

    def save(self):
        part = self.memo_path.with_suffix(".part")
        part.write_text(json.dumps(dict(self.memo)), encoding="utf-8")
        part.rename(self.memo_path)


class Executable:
    """A program with some texts in the place of its own, in a folder that has
    them already; linked when it is first needed."""

    def __init__(self, build, program, texts, folder):
        self.build, self.program, self.folder = build, program, folder
        self.lock, self.path = threading.Lock(), None
        self.objects = {}  # object of the build -> (ours, command)
        for into, source, command in build.changed(program, texts):
            words = build.compile_words(command, folder)
            key = build.digest(*command, paths={source}
                               | build.headers[into], texts=texts)
            path = (folder if source in texts else build.tree) / source
            self.objects[into] = (folder / f"{key}.o", [*words, "-c",
                                                        str(path)])
        self.digest = build.digest(
            "whole archives", *program.link, *sorted(str(ours.name) for ours, _
                                   in self.objects.values()),
            paths=program.all)

    def link(self):
        with self.lock:
            if not self.path:
                self.path = self.folder / self.program.name
                self.link_now()
        return self.path

    def link_now(self):
        for ours, command in self.objects.values():
            if not ours.exists():  # another program's, the same
                part = ours.with_suffix(f".{self.program.name}")
                self.build.output([*command, "-o", str(part)])
                part.rename(ours)
        link = self.program.link
        words = [str(self.objects[word][0]) if word in self.objects else word
                 for word in link]
        words[words.index("-o") + 1] = str(self.path)
        for archive, members in self.program.archives.items():
            if not self.objects.keys() & set(members):
                continue
            # With every member, so that the linker takes the same ones: a
            # program may have a model of some.
            ours = self.folder / f"{self.program.name}-{words.index(archive)}.a"
            ours.unlink(missing_ok=True)
            self.build.output(["ar", "rcsDT", str(ours), *(
                str(self.objects[into][0] if into in self.objects
                    else self.build.folder / into)
                for into in members)])
            words[words.index(archive)] = str(ours)
        first = next(at for at, word in enumerate(words)
                     if word.endswith(".a"))
        words[first:first] = [
            self.build.library, "-Wl,--wrap=tide_lock_release",
            "-Wl,--wrap=tide_lock_wait", "-Wl,--wrap=explore"]
        self.build.output(words)


def outcome(done):
    if not done.returncode:
        return "passed"
    if re.search(r"^# again: ", done.stdout, re.MULTILINE):
        return "violation"
    if done.returncode > 0:
        return "timeout" if "# error -7" in done.stdout else "other"
    # It died.  An assertion of the explorer or of a program's set-up is none
    # of the source's.
    stopped = re.search(r"(\S+):\d+: \w+: Assertion", done.stdout)
    if stopped:
        return "violation" if re.search(r"(?:^|/)(?:src|include)/",
                                        stopped.group(1)) else "other"
    return "other" if done.returncode == -6 else "violation"


# The run --------------------------------------------------------------------

class Campaign:
    def __init__(self, build, options):
        self.build, self.options = build, options
        self.lock = threading.Lock()
        self.sources = sorted(set().union(
            *(program.covers for program in build.programs)))
        self.mutants, self.marked = [], {}
        self.generate()
        self.arguments, self.prose = arguments_made(build.tree)
        self.errors = []
        for mutant in self.mutants:
            mutant.argument = self.arguments.get(mutant.key)
        for key in self.arguments.keys() - {m.key for m in self.mutants}:
            self.errors.append(f"{self.arguments[key]}.argued: there is no "
                               f"mutant {key}")
        self.reached = {}  # (file of programs, program) -> places, seconds
        self.unchanged = {program.name: Executable(
            build, program, {}, build.scratch) for program in build.programs}
        self.failing, self.kills = set(), collections.Counter()

    def generate(self):
        place = 1
        for path in self.sources:
            source = (self.build.tree / path).read_text(encoding="utf-8")
            found, marked = generate(path, source, place)
            if found:
                place = found[-1].place + 1
                self.mutants += found
                self.marked[path] = marked
        self.drop_not_compiled()
        for path in sorted((self.build.tree / "check/mutants")
                           .glob("*.mutant")):
            self.mutants.append(hand_written(self.build.tree, path))

    def drop_not_compiled(self):
        """What the preprocessor leaves out is no mutant of this build."""
        folder = self.build.scratch / "marked"
        self.build.write(self.marked, folder)
        todo = {}
        for program in self.build.programs:
            for into, source, command in self.build.changed(program,
                                                            self.marked):
                key = self.build.digest(
                    "preprocessed", *command, texts=self.marked,
                    paths={source} | self.build.headers[into])
                path = (folder if source in self.marked
                        else self.build.tree) / source
                todo[key] = self.build.compile_words(
                    command, folder, "-E", "-P", str(path))

        def look(key):
            if key not in self.build.memo:
                self.build.memo[key] = sorted(set(map(int, re.findall(
                    r"left_out_come_by\((\d+)u\)",
                    self.build.output(todo[key])))))
            return self.build.memo[key]

        places = set().union(*self.parallel(look, todo))
        self.mutants = [m for m in self.mutants if m.place in places]

    def parallel(self, function, items):
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            return list(pool.map(function, items))

    def selected(self):
        return [mutant for mutant in self.mutants
                if (not self.options.file
                    or mutant.path == self.options.file)
                and (not self.options.only
                     or re.search(self.options.only, mutant.key))]

    def say(self, text):
        print(text, file=sys.stderr if self.options.json else sys.stdout,
              flush=True)

    def survey(self, mutants):
        """Which program comes by which place, on the unchanged source, and
        does it pass there?"""
        wanted = {mutant.path for mutant in mutants}
        folder, todo = self.build.scratch / "marked", []
        for program in self.build.programs:
            if program.covers & wanted:
                executable = Executable(self.build, program, self.marked,
                                        folder)
                todo += [(program, executable, name, False)
                         for name in program.fast]
                if self.options.long:
                    todo += [(program, executable, name, True)
                             for name in program.slow]
        self.say(f"# {len(todo)} programs, on the unchanged source first")
        self.parallel(self.survey_one, todo)

    def survey_one(self, what):
        program, executable, name, slow = what
        # Some executions of a slow program show nearly all its places.
        result, seconds, places = self.build.run(
            executable, name, self.options.seconds * SLOWER,
            ["--random=3000"] if slow else [])
        if result != "passed":
            self.fails(program, name, result)
            return
        self.reached[program.name, name] = (set(map(int, places.split())),
                                            seconds + 1e6 * slow)

    def candidates(self, mutant):
        """Programs that may notice, the likely and the fast ones first."""
        found = []
        for program in self.build.programs:
            if mutant.path not in program.covers:
                continue
            for name in program.fast + program.slow:
                places, seconds = self.reached.get((program.name, name),
                                                   ((), 0))
                if mutant.killers:
                    if (program.name, name) in mutant.killers:
                        found.append((0, seconds, program, name))
                elif mutant.place in places or (
                        mutant.place is None
                        and (program.name, name) in self.reached):
                    likely = self.kills[mutant.place, program.name, name]
                    found.append((-likely, seconds, program, name))
        return [entry[2:] for entry in sorted(
            found, key=lambda entry: entry[:2])]

    def known_killer(self, mutant):
        """What killed it the last time, as [(program, name)]."""
        known = self.build.memo.get(f"killer of {mutant.key}")
        return [(program, known[1]) for program in self.build.programs
                if known and program.name == known[0]
                and known[1] in program.fast + program.slow]

    def try_out(self, mutant, candidates):
        folder = self.build.scratch / hashlib.sha256(
            (mutant.key + mutant.text).encode()).hexdigest()[:16]
        texts = {mutant.path: mutant.text}
        self.build.write(texts, folder)
        executables, missed = {}, []
        try:
            for program, name in candidates:
                if program.name not in executables:
                    executables[program.name] = Executable(
                        self.build, program, texts, folder)
                patient = name in program.slow or mutant.killers
                result, seconds, _ = self.build.run(
                    executables[program.name], name,
                    self.options.seconds * (SLOWER if patient else 1))
                mutant.runs.append((program.name, name, result))
                if result == "violation" and self.passes(program, name):
                    self.killed(mutant, program, name, seconds)
                    if not mutant.killers:
                        break
                else:
                    missed.append((program.name, name))
        finally:
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            folder.rmdir()
        self.judge(mutant, missed)

    def killed(self, mutant, program, name, seconds):
        with self.lock:
            self.kills[mutant.place, program.name, name] += 1
        if not mutant.killer or seconds < mutant.seconds:
            mutant.killer, mutant.seconds = (program.name, name), seconds
        self.build.memo[f"killer of {mutant.key}"] = mutant.killer

    def passes(self, program, name):
        """On the unchanged source."""
        which = program.name, name
        if which not in self.reached and which not in self.failing:
            result = self.build.run(self.unchanged[program.name], name,
                                    self.options.seconds * SLOWER)[0]
            if result == "passed":
                return True
            self.fails(program, name, result)
        return which in self.reached

    def fails(self, program, name, result):
        with self.lock:
            if (program.name, name) not in self.failing:
                self.errors.append(f"{program.name} {name}: {result} without "
                                   "a mutant, so it is not counted")
            self.failing.add((program.name, name))

    def judge(self, mutant, missed):
        ran = {(program, name) for program, name, _ in mutant.runs}
        for killer in mutant.killers:
            if killer in missed or killer not in ran:
                self.error(f"{mutant.key} is not killed by {killer[0]}: "
                           f"{killer[1]}" + ("" if killer in ran else
                                             ", which did not run"))
        if mutant.killer:
            mutant.status = "killed"
            if mutant.argument:
                self.error(f"{mutant.argument}.argued: {mutant.key} is killed "
                           f"by {' '.join(mutant.killer)}")
        elif mutant.argument:
            mutant.status = "argued"
        elif any(result == "timeout" for _, _, result in mutant.runs):
            mutant.status = "timed out"
        else:
            mutant.status = "survived"

    def error(self, text):
        with self.lock:
            self.errors.append(text)

    def run(self, mutants):
        """First those of which it is known, or said, what kills them; then
        all that may notice the others."""
        done, rest = 0, []

        def tell(mutant):
            nonlocal done
            with self.lock:
                done += 1
                if done % 10 == 0:
                    self.build.save()
                self.say(f"{done}/{len(mutants)} {result_of(mutant)}: "
                         f"{mutant.key}")

        def first(mutant):
            if mutant.killers:
                self.try_out(mutant, self.candidates(mutant))
            else:
                self.try_out(mutant, self.known_killer(mutant))
            if mutant.killers or mutant.status == "killed":
                tell(mutant)
            else:
                mutant.runs = []
                rest.append(mutant)

        def then(mutant):
            self.try_out(mutant, self.candidates(mutant))
            tell(mutant)

        self.parallel(first, mutants)
        rest = [mutant for mutant in mutants if mutant in rest]
        self.survey(rest)
        self.parallel(then, rest)


def result_of(mutant):
    if mutant.status == "killed":
        return (f"killed by {mutant.killer[0]}: {mutant.killer[1]} in "
                f"{mutant.seconds:.2f} s")
    if mutant.status == "argued":
        return f"argued in {mutant.argument}"
    return f"{mutant.status.upper()}, {len(mutant.runs)} programs"


# What is said about it ------------------------------------------------------

ROW = re.compile(r"^\| `(.*)` \| (.*) \| (.*) \|$")


def read_table(text):
    """{key: (killed by or argued, seconds)} of what --update has written."""
    rows, path = {}, ""
    for line in text.partition(BEGIN)[2].partition(END)[0].splitlines():
        if line.startswith("### "):
            path = line[4:].strip("`") + " "
        row = ROW.match(line)
        if row:
            key = row.group(1).replace("\\|", "|")
            rows[key if key.startswith("mutant ") else path + key] = (
                row.group(2).strip("`"), row.group(3))
    return rows


def row_of(mutant, old):
    """None: it has not been run."""
    if mutant.status == "killed":
        return (f"{mutant.killer[0]}: {mutant.killer[1]}",
                f"{mutant.seconds:.2f}")
    if mutant.status == "argued":
        return f"argued: {mutant.argument}", ""
    return (mutant.status, "") if mutant.status else old.get(mutant.key)


def table(campaign, old):
    """Rows of mutants that were not run now stay as they were."""
    lines, counts, path = [], collections.Counter(), None
    for mutant in campaign.mutants:
        row = row_of(mutant, old)
        if not row:
            counts["not run"] += 1
            continue
        by_hand = mutant.key.startswith("mutant ")
        heading = "Written by hand" if by_hand else f"`{mutant.path}`"
        if heading != path:
            path = heading
            lines += ["", f"### {path}", "", "| Mutant | Killed by | Seconds |",
                      "| --- | --- | ---: |"]
        counts["killed" if row[1] else row[0].split(":")[0]] += 1
        name = mutant.key if by_hand \
            else mutant.key[len(mutant.path) + 1:]
        name = name.replace("|", "\\|")
        killer = f"`{row[0]}`" if row[1] else row[0]
        lines.append(f"| `{name}` | {killer} | {row[1]} |")
    lines += ["", "### Arguments", ""]
    for name, prose in sorted(campaign.prose.items()):
        lines += [f"`{name}`:", ""]
        for paragraph in re.split(r"\n\s*\n", prose):
            lines += [*textwrap.wrap(" ".join(paragraph.split()), 80,
                                     break_long_words=False,
                                     break_on_hyphens=False), ""]
    counts = ", ".join(f"{counts[what]} {what}" for what in (
        "killed", "argued", "survived", "timed out", "not run")
        if counts[what] or what != "not run")
    return f"{sum(1 for _ in campaign.mutants)} mutants: {counts}.\n" \
        + "\n".join(lines).rstrip() + "\n"


def update(campaign):
    path = campaign.build.tree / "docs/proof.md"
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise MutantError(f"{path} has no place for the table")
    head, rest = text.split(BEGIN)
    path.write_text(head + BEGIN + table(campaign, read_table(text)) + END
                    + rest.split(END)[1], encoding="utf-8")


def as_json(mutants):
    return json.dumps([
        {"mutant": mutant.key, "file": mutant.path, "status": mutant.status,
         "program": ": ".join(mutant.killer) if mutant.killer else None,
         "seconds": round(mutant.seconds, 3), "argument": mutant.argument,
         "runs": [": ".join(run) for run in mutant.runs]}
        for mutant in mutants], indent=1)


def sample(campaign, count):
    """At most @count of them, each killed by what docs/proof.md or itself says
    and by a fast program; always the same ones.  TAP."""
    rows = read_table((campaign.build.tree / "docs/proof.md").read_text(
        encoding="utf-8"))
    fast = {(program.name, name) for program in campaign.build.programs
            for name in program.fast}
    known = []
    for mutant in campaign.mutants:
        killer, seconds = rows.get(mutant.key, ("", ""))
        mutant.killers = [
            which for which in mutant.killers or [tuple(killer.split(": "))]
            if which in fast]
        if mutant.killers and seconds and float(seconds) < 1:
            known.append(mutant)
    chosen = known[::-(-len(known) // count) or 1]
    print(f"1..{len(chosen) + 1}")
    new = sorted({mutant.key for mutant in campaign.mutants} - rows.keys())
    gone = sorted(rows.keys() - {mutant.key for mutant in campaign.mutants})
    print(f"{'not ' if new or gone else ''}ok 1 - docs/proof.md has every "
          "mutant")
    for key in new:
        print(f"# not there: {key}")
    for key in gone:
        print(f"# there is no {key}")
    failed = bool(new or gone)

    def one(mutant):
        campaign.try_out(mutant, campaign.candidates(mutant))
        return mutant.status == "killed" and len(mutant.killers) == sum(
            result == "violation" for _, _, result in mutant.runs)

    for number, (mutant, good) in enumerate(
            zip(chosen, campaign.parallel(one, chosen)), 2):
        failed |= not good
        print(f"{'' if good else 'not '}ok {number} - {result_of(mutant)}: "
              f"{mutant.key}".replace("#", "\\#"))
    return failed


def parse(words):
    parser = argparse.ArgumentParser(
        description="Does a litmus program notice when the shipped code is "
        "weaker?")
    parser.add_argument("build", help="a build directory")
    parser.add_argument("--file", help="only mutants of this source")
    parser.add_argument("--only", metavar="PATTERN",
                        help="only mutants whose key has this")
    parser.add_argument("--list", action="store_true",
                        help="print the keys, and run nothing")
    parser.add_argument("--long", action="store_true",
                        help="run the slow programs, too")
    parser.add_argument("--seconds", type=float, default=20, metavar="N",
                        help=f"limit for a program; {SLOWER} times that for a "
                        "slow one, and for what must notice (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--json", action="store_true",
                        help="print the results as JSON")
    parser.add_argument("--update", action="store_true",
                        help="write them into docs/proof.md")
    parser.add_argument("--sample", type=int, metavar="N",
                        help="hold N of them against docs/proof.md; prints "
                        "TAP")
    return parser.parse_args(words)


def main(words):
    options = parse(words)
    build = Build(options.build)
    campaign = Campaign(build, options)
    mutants = campaign.selected()
    if options.list:
        for mutant in mutants:
            print(mutant.key + (f"    ({mutant.argument})" if mutant.argument
                                else ""))
        return 0
    try:
        if options.sample:
            failed = sample(campaign, options.sample)
        else:
            campaign.run(mutants)
    finally:
        build.save()
    if not options.sample:
        if options.update:
            update(campaign)
        if options.json:
            print(as_json(mutants))
        counts = collections.Counter(mutant.status for mutant in mutants)
        failed = counts["survived"] or counts["timed out"] or not mutants
    for error in campaign.errors:
        campaign.say(f"# {error}")
    if not options.sample:
        campaign.say(", ".join(f"{counts[what]} {what}" for what in (
            "killed", "argued", "survived", "timed out")))
    return 1 if failed or campaign.errors else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MutantError as problem:
        print(f"mutants.py: {problem}", file=sys.stderr)
        sys.exit(2)
