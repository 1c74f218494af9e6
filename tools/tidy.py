#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tidy.py - the house rules that no compiler checks

  length      a function has fewer than 70 lines, from brace to brace
  width       a line has at most 80 columns (a tab is 8), addresses, and in
              documents tables and what is quoted, aside
  head        SPDX line, then "name - purpose"
  unique      no two sources have the same file name
  dead        a source is named in a meson.build, a header is included, a
              script is called
  words       no mark of unfinished work, no path of somebody's machine
  layers      src/meson.build lists the folders top to bottom; includes point
              down that list
  public      the command and the examples use the public headers only
  quiet       the library does not print, exit or sleep, but where it was
              built to check itself (TIDE_CHECKS)
  documents   a path, a link, an edge or a lock that a document names exists;
              every bug that is cited by number has its line in
              docs/known-bugs.md
  locks       every mutex of the library is a struct tide_lock; it and every
              condition variable has its card in docs/locking.md, complete
              and in form, and every card its lock

Usage: tidy.py [TREE]
"""
import os
import re
import sys

LINES_MAX = 70
COLUMNS_MAX = 80
C_KINDS = (".c", ".h", ".S")
TEXT_KINDS = C_KINDS + (".py", ".sh", ".md", ".ld", ".build", ".txt", ".map",
                        ".1", ".3", ".7", ".supp", "")
# Names that every folder may have.
COMMON = {"meson.build", "README.md", "Makefile", ".clang-tidy"}
# Put together so that this file may pass its own check.
WORDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b|/wo" r"rk/")
# The layer that a public header belongs to, where it is not its own name.
PUBLIC_LAYER = {"base": "base", "version": "base", "mark": "space",
                "client": "space", "space": "space", "tracker": "space",
                "probe": "tracker", "mmu": "mmu", "vcpu": "mmu",
                "backing": "mmu", "migrate": "migrate", "vmm": "vmm",
                "checkpoint": "snapshot", "process": "watch",
                "trace": "watch",
                "rehearse": "watch",
                "tidemark": "vmm"}
# What a command may include besides: soak runs the tests' engine.
GUEST_HEADERS = {"tools/cmd_soak.c": {"backends.h"}}
LOUD = re.compile(r"(?<![\w.>])(?:v?f?printf|puts|perror|exit|_exit|abort"
                  r"|sleep|usleep)\s*\(")
# Where the library forks, its child ends.
CHILD = {"src/watch/inject.c": "_exit"}


CHECKED = re.compile(r"^#ifdef TIDE_CHECKS$.*?^#(?:else|endif)", re.MULTILINE
                     | re.DOTALL)
PATH = re.compile(r"`((?:src|include|tools|scripts|tests|guest|bench|examples"
                  r"|docs|man)/[\w./-]*\w/?)`")
LINK = re.compile(r"\]\(([^)#\s]+)")
CITED = re.compile(r"((?:[KQV]\d+(?:,\s|\sand\s)?)+)\sin\s`(tests/[^`]+)`")
DOTTED = re.compile(r"`([a-z]\w*)\.([a-z]\w*)`")
MUTEX = re.compile(r"\bpthread_(?:mutex|rwlock|spinlock)_t\b")
LOCK_HOME = "src/base/lock.h"  # where the mutex itself is
STRUCT = re.compile(r"^struct (?:[A-Z_]+ )?(\w+) \{\n(.*?)^\}",
                    re.MULTILINE | re.DOTALL)
LOCK = re.compile(r"^\s*(?:static )?(?:struct tide_lock|pthread_cond_t) "
                  r"(\w+);", re.MULTILINE)
CARD = re.compile(r"^Name: .*?(?=^```)", re.MULTILINE | re.DOTALL)
CARD_FIELDS = ["Name", "Type", "Protects", "Order", "Comment"]


def blank_comments(text):
    """The code alone; line ends stay where they were."""
    return re.sub(r"/\*.*?\*/|//[^\n]*",
                  lambda match: re.sub(r"[^\n]", " ", match.group(0)),
                  text, flags=re.DOTALL)


def sources(tree):
    """Paths of every file that is ours, relative to the tree, sorted."""
    found = []
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(
            name for name in folders
            if name not in (".git", ".cache", "corpus", "__pycache__")
            and not (folder == tree and name.startswith("build")))
        found += [os.path.relpath(os.path.join(folder, name), tree)
                  for name in names]
    return sorted(found)


class House:
    """One tree, and what is wrong in it."""

    def __init__(self, tree):
        self.tree, self.errors, self.text = tree, [], {}
        for path in sources(tree):
            if os.path.splitext(path)[1] not in TEXT_KINDS:
                continue
            try:
                with open(os.path.join(tree, path), encoding="utf-8") as file:
                    self.text[path] = file.read()
            except UnicodeDecodeError:
                if path.endswith(TEXT_KINDS[:-1]):
                    self.error(path, 1, "not UTF-8")

    def error(self, path, line, text):
        self.errors.append(f"{path}:{line}: {text}")

    def of_kind(self, *kinds):
        return [path for path in self.text if path.endswith(kinds)]

    def scripts(self):
        return [path for path, text in self.text.items()
                if text.startswith("#!")]

    def check_length(self):
        for path in self.of_kind(".c", ".h"):
            begin = None
            for at, line in enumerate(self.text[path].split("\n"), 1):
                if line == "{":
                    begin = at
                elif line == "}" and begin:
                    if at - begin + 1 >= LINES_MAX:
                        self.error(path, begin, "function of "
                                   f"{at - begin + 1} lines")
                    begin = None

    def check_width(self):
        for path, text in self.text.items():
            if path.endswith((".1", ".3", ".7", ".txt", ".supp")):
                continue
            document, verbatim = path.endswith(".md"), False
            for at, line in enumerate(text.split("\n"), 1):
                verbatim ^= document and line.startswith("```")
                if len(line.expandtabs(8)) <= COLUMNS_MAX or "://" in line:
                    continue
                if not (document and (verbatim or line.startswith("|"))):
                    self.error(path, at, "line of "
                               f"{len(line.expandtabs(8))} columns")

    def check_head(self):
        for path in set(self.of_kind(*C_KINDS, ".ld", ".py", "Makefile")
                        + self.scripts()):
            head = self.text[path].split("\n")[:6]
            if not any("SPDX-License-Identifier: " in line
                       for line in head[:2]):
                self.error(path, 1, "no SPDX line")
            name = os.path.basename(path)
            if not path.endswith(".ld") and not any(
                    re.search(rf"(?:^|[\s/\"]){re.escape(name)} - \S", line)
                    for line in head):
                self.error(path, 1, f'no "{name} - purpose"')

    def check_unique(self):
        first = {}
        for path in set(self.of_kind(*C_KINDS, ".py", ".sh", ".md")
                        + self.scripts()):
            name = os.path.basename(path)
            if name in COMMON:
                continue
            other = first.setdefault(name, path)
            if other != path:
                self.error(max(path, other), 1,
                           f"has the name of {min(path, other)}")

    def check_dead(self):
        builds = {path: text for path, text in self.text.items()
                  if os.path.basename(path) == "meson.build"}
        code = "".join(blank_comments(self.text[path])
                       for path in self.of_kind(*C_KINDS))
        for path in self.of_kind(".c", ".S", ".ld"):
            name = os.path.basename(path)
            stem = os.path.splitext(name)[0]
            folder = os.path.dirname(path)
            named = "".join(
                text for build, text in builds.items()
                if (folder + "/").startswith(os.path.dirname(build)))
            # By its name, or as 'ring' in a loop over 'ring' + '_test.c'.
            names = "|".join(map(re.escape, (name, stem,
                                             stem.replace("_test", ""))))
            if not re.search(rf"['/]({names})'", named):
                self.error(path, 1, "in no meson.build")
        for path in self.of_kind(".h"):
            name = os.path.basename(path)
            if not re.search(rf'[/"<]{re.escape(name)}[">]', code):
                self.error(path, 1, "included by nobody")
        for path in self.scripts():
            call = re.compile(rf"[/'\" ]{re.escape(os.path.basename(path))}\b")
            if not path.startswith(".ci/") and not any(
                    call.search(text) for other, text in self.text.items()
                    if other != path and (other in builds
                                          or other == "Makefile"
                                          or text.startswith("#!"))):
                self.error(path, 1, "called by nobody")

    def check_words(self):
        for path, text in self.text.items():
            for at, line in enumerate(text.split("\n"), 1):
                found = WORDS.search(line)
                if found:
                    self.error(path, at, f'"{found.group(0)}"')

    def check_layers(self):
        order = re.findall(r"^subdir\('(\w+)'\)",
                           self.text.get("src/meson.build", ""), re.MULTILINE)
        depth = {name: at for at, name in enumerate(order)}
        for path in self.of_kind(".c", ".h"):
            parts = path.split("/")
            if parts[0] != "src":
                continue
            if parts[1] not in depth:
                self.error(path, 1, "its folder is not in src/meson.build")
                continue
            for line, name, public in self.includes(path):
                layer = name.split("/")[0] if not public else \
                    PUBLIC_LAYER.get(name.split("/")[1][:-2])
                if not public and "/" not in name:
                    self.error(path, line, f'"{name}" without its folder')
                elif depth.get(layer, len(order)) < depth[parts[1]]:
                    self.error(path, line, f"{parts[1]} is below {layer}")

    def includes(self, path):
        """(line, name, public) of each include that is not the system's."""
        for at, line in enumerate(self.text[path].split("\n"), 1):
            match = re.match(r'\s*#\s*include\s+(["<])([^">]+)', line)
            if not match:
                continue
            public = match.group(2).startswith("tidemark/")
            if public or match.group(1) == '"':
                yield at, match.group(2), public

    def check_public(self):
        for path in self.of_kind(".c", ".h"):
            folder = os.path.dirname(path)
            if folder.split("/")[0] not in ("tools", "examples", "include"):
                continue
            for line, name, public in self.includes(path):
                own = folder in ("tools", "examples") and (
                    f"{folder}/{name}" in self.text
                    or name in GUEST_HEADERS.get(path, ()))
                if not public and not own:
                    self.error(path, line, f'"{name}" is not public')

    def check_quiet(self):
        for path in self.of_kind(".c", ".h"):
            if not path.startswith(("src/", "include/")):
                continue
            code = CHECKED.sub(
                lambda match: re.sub(r"[^\n]", " ", match.group(0)),
                blank_comments(self.text[path]))
            for match in LOUD.finditer(code):
                if CHILD.get(path) == match.group(0).rstrip(" ("):
                    continue
                self.error(path, code.count("\n", 0, match.start()) + 1,
                           f"{match.group(0).rstrip(' (')} in the library")

    def check_documents(self):
        code = "".join(text for path, text in self.text.items()
                       if path.startswith(("src/", "include/")))
        for path in self.of_kind(".md"):
            for at, line in enumerate(self.text[path].split("\n"), 1):
                for name in PATH.findall(line):
                    if not os.path.exists(os.path.join(self.tree, name)):
                        self.error(path, at, f"no {name}")
                for link in LINK.findall(line):
                    if "://" not in link and not os.path.exists(os.path.join(
                            self.tree, os.path.dirname(path), link)):
                        self.error(path, at, f"no {link}")
                for first, second in DOTTED.findall(line):
                    if second in ("c", "h", "md", "py", "txt"):
                        continue
                    if not (re.search(rf"\b{first}\b", code)
                            and re.search(rf"\b{second}\b", code)):
                        self.error(path, at, f"no {first}.{second}")
            for bugs, name in CITED.findall(self.text[path]):
                for bug in re.findall(r"[KQV]\d+", bugs):
                    if not re.search(rf"\b{bug}\b", self.text.get(name, "")):
                        self.error(path, 1, f"{bug} is not in {name}")

    def locks(self):
        """(path, line, name) of each lock and condition variable of the
        library; a member's name has its struct's before it."""
        for path in self.of_kind(".c", ".h"):
            if not path.startswith("src/") or path == LOCK_HOME:
                continue
            code = blank_comments(self.text[path])
            for match in LOCK.finditer(code):
                owner = next((struct.group(1) + "."
                              for struct in STRUCT.finditer(code)
                              if struct.start() < match.start()
                              < struct.end()), "")
                yield (path, code.count("\n", 0, match.start(1)) + 1,
                       owner + match.group(1))

    def check_locks(self):
        text, named = self.text.get("docs/locking.md", ""), set()
        locks = list(self.locks())
        for match in CARD.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            fields = re.findall(r"^(\w+):", match.group(0), re.MULTILINE)
            if fields != CARD_FIELDS:
                self.error("docs/locking.md", line,
                           f"a card of {', '.join(fields)}")
            name = re.match(r"Name:(.*(?:\n +.*)*)", match.group(0)).group(1)
            names = re.findall(r"\b\w+\.\w+\b", name)
            named.update(re.findall(r"[\w.]+", name))
            for lock in set(names) - {name for _, _, name in locks}:
                self.error("docs/locking.md", line, f"{lock} is no lock")
        for path, line, lock in locks:
            if lock not in named:
                self.error(path, line,
                           f"{lock} has no card in docs/locking.md")
        for path in self.of_kind(".c", ".h"):
            if path.startswith("src/") and path != LOCK_HOME:
                code = blank_comments(self.text[path])
                for match in MUTEX.finditer(code):
                    self.error(path, code.count("\n", 0, match.start()) + 1,
                               f"{match.group(0)} is not a struct tide_lock")

    def check_citations(self):
        known = set(re.findall(r"^\| ([KQ]\d+) \|",
                               self.text.get("docs/known-bugs.md", ""),
                               re.MULTILINE))
        for path in self.of_kind(*C_KINDS, ".py", ".sh"):
            for at, line in enumerate(self.text[path].split("\n"), 1):
                for bug in re.findall(r"\b[KQ]\d{1,2}\b", line):
                    if bug not in known:
                        self.error(path, at, f"{bug} is not in "
                                   "docs/known-bugs.md")

    def check(self):
        for name in sorted(dir(self)):
            if name.startswith("check_"):
                getattr(self, name)()
        return sorted(self.errors)


def main(arguments):
    tree = arguments[0] if arguments else os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..")
    house = House(os.path.normpath(tree))
    errors = house.check()
    print("\n".join(errors) or f"{len(house.text)} files in order")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
