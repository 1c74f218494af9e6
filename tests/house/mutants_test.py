#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutants_test.py - tools/mutants.py tells what is noticed from what is not

Over a source, programs and a build of its own: the explorer and src/base are
those of the tree.
"""
import json
import pathlib
import re
import subprocess
import tempfile

import tap

FILES = {
    "meson.build": "project('tiny', 'c')\nsubdir('check')\n",
    "check/meson.build": """
inc = include_directories('..', '.', 'explore', 'shim', '../src', '../include')
args = ['-D_GNU_SOURCE', '-DTIDE_EXPLORE', '-O1']
explorer = static_library('tide-explorer', 'litmus.c', 'outcome.c',
  'explore/explore.c', 'explore/graph.c', 'explore/plain.c',
  'shim/lock_model.c', include_directories: inc, c_args: args)
static_library('tide-left-out', 'shim/left_out.c', include_directories: inc,
  c_args: args)
subject = static_library('subject', '../src/tiny.c', '../src/below.c',
  '../src/modelled.c', include_directories: inc,
  c_args: args + '-fsanitize=thread')
executable('tiny_litmus', 'tiny_litmus.c', include_directories: inc,
  c_args: args, link_with: [subject, explorer])
""",
    "src/tiny.c": """
#include "tiny.h"
int data, count;
_Atomic int flag, hint, word;
static struct tide_lock lock;
static void leave(void)
{
	tide_lock_release(&lock);
}
void tiny_publish(void)
{
	data = 1;
	/* memory_order_release, in a comment */
	atomic_store_explicit(&flag, 1, memory_order_release);
}
int tiny_take(void)
{
	return below() && !modelled() ? data : 1;
}
int tiny_hint(void)
{
	return atomic_load_explicit(&hint, memory_order_acquire);
}
void tiny_count(void)
{
	tide_lock_acquire(&lock);
	count++;
	leave();
}
int tiny_add(void)
{
	return atomic_fetch_add_explicit(&word, 1, memory_order_acq_rel);
}
int tiny_never(void)
{
	return atomic_load_explicit(&flag, memory_order_acquire);
}
#ifdef TIDE_CHECKS
int tiny_check(void)
{
	return atomic_load_explicit(&flag, memory_order_acquire);
}
#endif
""",
    # Only another file of the library needs it.
    "src/below.c": """
#include "tiny.h"
int below(void)
{
	return atomic_load_explicit(&flag, memory_order_acquire);
}
""",
    # The program has its own.
    "src/modelled.c": """
#include "tiny.h"
int modelled(void)
{
	return atomic_load_explicit(&flag, memory_order_acquire);
}
""",
    "src/tiny.h": """
#include "base/atomic.h"
#include "base/lock.h"
extern int data, count;
extern _Atomic int flag, hint, word;
void tiny_publish(void);
int tiny_take(void);
int tiny_hint(void);
void tiny_count(void);
int tiny_add(void);
int below(void);
int modelled(void);
static inline void tiny_raise(_Atomic int *at)
{
	atomic_store_explicit(at, 1, memory_order_release);
}
""",
    "check/tiny_litmus.c": """
#include "litmus.h"
#include "tiny.h"
static int before;
int modelled(void)
{
	return 0;
}
static void init(void)
{
	data = count = flag = hint = word = before = 0;
}
static void take(void)
{
	explore_assert(tiny_take() == 1, "whole", EXPLORE_HERE);
}
static void raise_hint(void)
{
	before = 1;
	tiny_raise(&hint);
}
static void see_hint(void)
{
	(void)tiny_hint();
}
static void add(void)
{
	(void)tiny_add();
}
static void broken(void)
{
	explore_assert(!tiny_hint(), "never", EXPLORE_HERE);
}
static void added(void)
{
	explore_assert(word == 2, "added", EXPLORE_HERE);
}
int main(int argc, char **argv)
{
	static const struct litmus all[] = {
		{ .program = { .name = "broken", .threads = 2, .init = init,
			       .thread = { raise_hint, broken } } },
		{ .program = { .name = "wrong", .threads = 2, .init = init,
			       .thread = { raise_hint, broken } },
		  .violation = "never" },
		{ .program = { .name = "counts", .threads = 2, .init = init,
			       .thread = { tiny_count, tiny_count } } },
		{ .program = { .name = "adds", .threads = 2, .init = init,
			       .final = added, .thread = { add, add } },
		  .executions = 2 },
		{ .program = { .name = "hints", .threads = 2, .init = init,
			       .thread = { raise_hint, see_hint } },
		  .executions = 2, .slow = true },
		{ .program = { .name = "takes", .threads = 2, .init = init,
			       .thread = { tiny_publish, take } } },
	};
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
""",
    "docs/proof.md": "# P\n<!-- mutants -->\n<!-- end of mutants -->\nend\n",
}

FLAG = "&flag, memory_order_acquire)"
LOAD = ": acquire to relaxed: atomic_load_explicit(" + FLAG
TAKE = "src/below.c below" + LOAD
MODELLED = "src/modelled.c modelled" + LOAD
PUBLISH = ("src/tiny.c tiny_publish: release to relaxed: "
           "atomic_store_explicit(&flag, 1, memory_order_release)")
COUNT = "src/tiny.c tiny_count: no lock: tide_lock_acquire(&lock)"
HINT = ("src/tiny.c tiny_hint: acquire to relaxed: atomic_load_explicit("
        "&hint, memory_order_acquire)")
NEVER = "src/tiny.c tiny_never" + LOAD
ADD = ("src/tiny.c tiny_add: acq_rel to {}: atomic_fetch_add_explicit(&word, "
       "1, memory_order_acq_rel)")
RAISE = ("src/tiny.h tiny_raise: release to relaxed: atomic_store_explicit(at,"
         " 1, memory_order_release)")
ADDS = [ADD.format(weak) for weak in ("acquire", "release", "relaxed")]
KILLED = {TAKE: "takes", PUBLISH: "takes", COUNT: "counts"}
SURVIVED = {HINT, NEVER, RAISE, MODELLED, *ADDS}
EDIT = "<<<<\n{}====\n{}>>>>\n"
TWO_STEPS = ("atomic_store_explicit(&word, 1 + atomic_load_explicit(&word, "
             "memory_order_relaxed), memory_order_relaxed), 0")
ADDING = ("\treturn atomic_fetch_add_explicit(&word, 1, "
          "memory_order_acq_rel);\n")


class Tiny:
    """The tree and its build, which is made once."""

    def __init__(self, folder):
        self.tree = pathlib.Path(folder)
        self.build = self.tree / "build"
        for name, text in FILES.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(text, encoding="utf-8")
        (self.tree / "include").mkdir()
        for name in ("src/base", "check/explore", "check/shim",
                     "check/litmus.c", "check/litmus.h", "check/outcome.c",
                     "check/outcome.h"):
            (self.tree / name).symlink_to(tap.TREE / name)
        (self.tree / "check/check").symlink_to(tap.TREE / "check")
        (self.tree / "check/mutants").mkdir()
        subprocess.run(["meson", "setup", str(self.build), str(self.tree)],
                       check=True, stdout=subprocess.DEVNULL)

    def run(self, *options, files=()):
        """Returns (status, results by key, what is said at the end).  @files
        of check/mutants are there for this run only."""
        paths = []
        for name, text in dict(files).items():
            paths.append(self.tree / "check/mutants" / name)
            paths[-1].write_text(text, encoding="utf-8")
        done = subprocess.run(
            [str(tap.TREE / "tools/mutants.py"), str(self.build),
             "--seconds=2", *options], check=False, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for path in paths:
            path.unlink()
        results = {}
        if "--json" in options and done.returncode < 2:
            results = {one["mutant"]: one for one in json.loads(done.stdout)}
        return done.returncode, results, done.stdout + done.stderr

    def mutant(self, old, new, killers="adds"):
        text = "What it loses.\n\nfile: src/tiny.c\n" + "".join(
            f"killed by: tiny_litmus: {name}\n" for name in killers.split())
        return self.run("--json", "--only=^mutant", files={
            "hand.mutant": text + EDIT.format(old, new)})


def same(wanted, got):
    assert wanted == got, f"\n{wanted}\n{got}"


def lists(tiny):
    _, _, said = tiny.run("--list")
    same(sorted(KILLED.keys() | SURVIVED), sorted(said.splitlines()))


def tells(tiny):
    status, results, said = tiny.run("--json")
    same(1, status)
    for key, one in results.items():
        same("killed" if key in KILLED else "survived", one["status"])
        same(f"tiny_litmus: {KILLED[key]}" if key in KILLED else None,
             one["program"])
    same(KILLED.keys() | SURVIVED, results.keys())
    assert "3 killed, 0 argued, 7 survived, 0 timed out" in said, said
    assert "broken: other" in said or "broken: violation" in said, said
    # Only those that come by: a slow one when it is asked for.
    same([], results[HINT]["runs"])
    same(["tiny_litmus: adds: passed"], results[ADDS[0]]["runs"])
    _, results, _ = tiny.run("--json", "--long", "--only=tiny_hint")
    same(["tiny_litmus: hints: passed"], results[HINT]["runs"])


def argued(keys):
    return {"why.argued": "Because.\n\n" + "".join(
        f"survives: {key}\n" for key in keys)}


def believes(tiny):
    good = "".join(f"- `{name}`" for name in ())
    status, results, said = tiny.run("--json", files=argued(SURVIVED))
    same("argued", results[HINT]["status"])
    assert said.rstrip().endswith("3 killed, 7 argued, 0 survived, "
                                  "0 timed out"), said + good
    # The broken program is no kill, and no success.
    same(1, status)
    assert "broken" in said, said


def contradicts(tiny):
    _, _, said = tiny.run("--json", "--only=below", files=argued([TAKE]))
    assert f"why.argued: {TAKE} is killed by tiny_litmus takes" in said, said
    _, _, said = tiny.run("--json", "--only=below", files=argued(["x y"]))
    assert "why.argued: there is no mutant x y" in said, said


def by_hand(tiny):
    new = f"\treturn {TWO_STEPS};\n"
    _, results, _ = tiny.mutant(ADDING, new)
    same("killed", results["mutant hand"]["status"])
    status, results, said = tiny.mutant(ADDING, new, "adds counts")
    same(1, status)
    assert "mutant hand is not killed by tiny_litmus: counts" in said, said
    status, _, said = tiny.mutant(ADDING, new, "gone")
    assert "not killed by tiny_litmus: gone, which did not run" in said, said


def more_executions(tiny):
    """One more load, and so another number of executions, is no mistake."""
    new = ("\t(void)atomic_load_explicit(&word, memory_order_relaxed);\n"
           + ADDING)
    _, results, said = tiny.mutant(ADDING, new)
    same("survived", results["mutant hand"]["status"])
    same(["tiny_litmus: adds: other"], results["mutant hand"]["runs"])
    assert "1 survived" in said, said


def no_end(tiny):
    status, results, said = tiny.mutant(ADDING, "\tfor (;;)\n\t\t;\n",
                                        "")
    same("timed out", results["mutant hand"]["status"])
    same(1, status)
    assert "0 survived, 1 timed out" in said, said


def cannot(tiny):
    status, _, said = tiny.mutant(ADDING, "\tretrun 0;\n")
    same(2, status)
    assert "retrun" in said, said
    status, _, said = tiny.mutant("nowhere\n", "\treturn 0;\n")
    same(2, status)
    assert "has this 0 times" in said, said


def table(tiny):
    proof = tiny.tree / "docs/proof.md"
    tiny.run("--only=below", "--update")
    text = proof.read_text(encoding="utf-8")
    assert "10 mutants: 1 killed, 0 argued, 0 survived, 0 timed out, " \
        "9 not run." in text, text
    tiny.run("--update", files=argued(SURVIVED))
    text = proof.read_text(encoding="utf-8")
    same("# P", text.splitlines()[0])
    same("end", text.splitlines()[-1])
    assert "10 mutants: 3 killed, 7 argued, 0 survived, 0 timed out." in text
    row = f"| `{TAKE.removeprefix('src/below.c ')}` | `tiny_litmus: takes` | "
    assert row in text, text
    assert re.search(r"^`why`:\n\nBecause\.$", text, re.MULTILINE), text
    # A part run again leaves the rest of it alone.
    tiny.run("--only=below", "--update", files=argued(SURVIVED))
    same(re.sub(r"\d\.\d\d", "", text), re.sub(
        r"\d\.\d\d", "", proof.read_text(encoding="utf-8")))


def short(tiny):
    """The sample holds the table to its word.  Comes after table()."""
    proof = tiny.tree / "docs/proof.md"
    status, _, said = tiny.run("--sample=9")
    same((0, 4), (status, said.count("\nok ")))
    good = proof.read_text(encoding="utf-8")
    proof.write_text(good.replace("tiny_litmus: takes", "tiny_litmus: adds"),
                     encoding="utf-8")
    status, _, said = tiny.run("--sample=9")
    same((1, 2), (status, said.count("\nnot ok ")))
    proof.write_text(good.replace("tiny_never", "tiny_gone"), encoding="utf-8")
    status, _, said = tiny.run("--sample=9")
    same(1, status)
    assert "not ok 1" in said and f"# not there: {NEVER}" in said, said


def main():
    with tempfile.TemporaryDirectory() as folder:
        tiny = Tiny(folder)
        tap.main([(name, lambda claim=claim: claim(tiny)) for name, claim in (
            ("lists what is compiled, and nothing else", lists),
            ("tells what is noticed from what is not", tells),
            ("a survivor may be argued for", believes),
            ("a killed one may not, nor one that there is not", contradicts),
            ("one by hand is killed by what it names", by_hand),
            ("more executions are no kill", more_executions),
            ("a time-out is no kill", no_end),
            ("what cannot be made is an error", cannot),
            ("the table has what was run", table),
            ("a sample is held against the table", short))])


main()
