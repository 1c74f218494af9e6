#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""atomic_object_test.py - base/atomic.h costs nothing and changes nothing

Each source that includes base/atomic.h is compiled twice, with the flags of
this build but for debug information: as it is, and with a base/atomic.h before
it in the search path that is <stdatomic.h> and no more.  Both objects must be
the same file.  Then what the compiler makes of an order is looked at, because
one that leaves it out would do so with either header.

Usage: atomic_object_test.py BUILD_DIRECTORY     (meson's; needs binutils)
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

import tap

BUILD = pathlib.Path(sys.argv[1])
HEADER = "base/atomic.h"
PLAIN = "#include <stdatomic.h>\n"
FENCED = PLAIN + """\
#ifdef __clang__
#define __atomic_store_n __c11_atomic_store
#endif
#undef atomic_store_explicit
#define atomic_store_explicit(at, value, order)          \\
	(atomic_thread_fence(memory_order_seq_cst), \\
	 __atomic_store_n(at, value, order))
"""
RELEASE = """\
#include "base/atomic.h"
_Bool swap(_Atomic(long) *at, long *old, long new);
_Bool swap(_Atomic(long) *at, long *old, long new)
{
	return atomic_compare_exchange_strong_explicit(
		at, old, new, memory_order_release, memory_order_relaxed);
}
"""
# What a release is, in the output of gcc or clang.
RELEASE_CODE = {
    "aarch64": r"__aarch64_cas8_rel|stlxr|\bcasl",
    "riscv64": r"sc\.d\.(aq)?rl|\bfence\s",
    "x86_64": r"lock\s+cmpxchg",
}
BAD_GCC = "riscv64-linux-gnu-gcc"


def commands():
    """(source, compiler with its flags) of each object of this build."""
    found = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        if "-DTIDE_EXPLORE" in words or not entry["file"].endswith(".c"):
            continue
        flags, skip = [], False
        for word in words:
            if skip or word in ("-MD", "-c", "-g", entry["file"]):
                skip = False
            elif word in ("-MQ", "-MF", "-o"):
                skip = True
            else:
                flags.append(word)
        found.setdefault(entry["file"], flags)
    return sorted(found.items())


def run(words, **more):
    return subprocess.run(words, cwd=BUILD, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8",
                          check=False, **more)


def must(words):
    done = run(words)
    assert done.returncode == 0, shlex.join(words) + "\n" + done.stdout
    return done.stdout


def users():
    """The commands whose source includes the header, by ninja's notes; what
    it has not built yet is asked of the compiler."""
    noted = {}
    for part in must(["ninja", "-t", "deps"]).split("\n\n"):
        lines = part.splitlines()
        if lines and lines[0].endswith("(VALID)"):
            noted[lines[1].strip()] = any(line.endswith("/" + HEADER)
                                          for line in lines)

    def includes(command):
        source, flags = command
        if source not in noted:
            return HEADER in must(flags + ["-MM", "-MT", "x", source])
        return noted[source]

    found = commands()
    return [command for command, yes in zip(found, each(includes, found))
            if yes]


def compiled(command, directory, before=None):
    """The object file, with @before searched first for headers."""
    source, flags = command
    out = directory / "out.o"
    first = ["-iquote", str(before)] if before else []
    must([flags[0], *first, *flags[1:], "-w", "-g0", "-c", source,
          "-o", str(out)])
    return out.read_bytes()


def differs(command, text):
    """Does a base/atomic.h of @text make another object of it?"""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "base").mkdir()
        (scratch / HEADER).write_text(text)
        return compiled(command, scratch) != compiled(command, scratch,
                                                      scratch)


def each(function, items):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


USERS = users()


def same_objects():
    assert len(USERS) > 20, f"only {len(USERS)} sources use {HEADER}"
    changed = [source for (source, _), bad in
               zip(USERS, each(lambda user: differs(user, PLAIN), USERS))
               if bad]
    print(f"# {len(USERS)} objects")
    assert not changed, changed


def a_fence_is_seen():
    ring = [user for user in USERS if user[0].endswith("src/log/ring.c")]
    assert len(ring) == 1
    assert differs(ring[0], FENCED)


def assembly(flags, text):
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "release.c"
        source.write_text(text)
        return run([*flags, "-S", "-g0", str(source), "-o", "-"])


def release_is_kept():
    flags = USERS[0][1]
    target = must([word for word in flags[:2] if not word.startswith("-I")]
                  + ["-dumpmachine"]).split("-")[0]
    done = assembly(flags, RELEASE)
    assert done.returncode == 0, done.stdout
    assert re.search(RELEASE_CODE[target], done.stdout), done.stdout


def bad_gcc_is_refused():
    try:
        run([BAD_GCC, "--version"])
    except FileNotFoundError:
        print(f"# there is no {BAD_GCC} to look at")
        return
    include = ["-O2", "-I" + str(tap.TREE / "src")]
    plain = assembly([BAD_GCC, *include],
                     RELEASE.replace(f'"{HEADER}"', "<stdatomic.h>"))
    assert plain.returncode == 0, plain.stdout
    ours = assembly([BAD_GCC, *include], RELEASE)
    if re.search(RELEASE_CODE["riscv64"], plain.stdout):
        assert ours.returncode == 0, "a good compiler is refused"
    else:
        assert ours.returncode != 0, "a compiler without release is taken"
        assert "before 13.3" in ours.stdout, ours.stdout


CLAIMS = [
    ("every object is what <stdatomic.h> makes", same_objects),
    ("a header that adds a fence is noticed", a_fence_is_seen),
    ("a compare-exchange keeps its release", release_is_kept),
    ("a compiler that leaves it out is refused", bad_gcc_is_refused),
]
tap.main(CLAIMS)
