#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py - check the spin models, and that they can fail

Each model is explored in full: it must hold, and have as many states as it had
when it was last read.  Then it is made wrong, one mistake at a time; each must
be found, by the assertion that it is about.  Prints TAP.

  run.py [MODEL...]    those models; none: all
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
DEPTH_MAX = 10000
STUCK = "invalid end state"
STATES = {"commit": 933685, "slots": 4004622}
# Model, the -D of a mistake, and what must be found.
NEVER_TWO, WHOLE = "!(ran_there)", "memory_there==memory"
C1 = "owed[o]"
MISTAKES = [
    # The source resumes although ACK has come.
    ("commit", "RESUME_ALWAYS", NEVER_TWO),
    # The destination starts when it has everything.
    ("commit", "START_ON_END", NEVER_TWO),
    # GO does not wait for ACK.
    ("commit", "GO_EARLY", NEVER_TWO),
    # The last round is sent, and then the guest stopped.
    ("commit", "LAST_ROUND_FIRST", WHOLE),
    # A failed source does not resume.
    ("commit", "STAY_STOPPED", "runs_here"),
    # ... does not when stop itself failed.
    ("commit", "STAY_HALF_STOPPED", "runs_here"),
    # RUNNING is said, and then start called.
    ("commit", "RUNNING_FIRST", "||ran_there"),
    # The destination fails because RUNNING cannot be said.
    ("commit", "FAIL_AFTER_START", "!(ran_there)"),
    # A damaged frame is taken.
    ("commit", "NO_CHECKSUM", WHOLE),
    # Who fails says nothing and closes nothing.
    ("commit", "LEAVE_OPEN", STUCK),
    # A removed slot's marks are taken without a grace period.
    ("slots", "NO_GRACE", "in_list[o]"),
    # A slot is removed while the guest writes to it.
    ("slots", "NO_PARK", C1),
    # ... without the vCPUs' buffers.
    ("slots", "NO_SYNC", C1),
    # ... and its log read afterwards.
    ("slots", "REMOVE_THEN_COLLECT", C1),
    # vCPUs are waited for with slots_lock held.
    ("slots", "SYNC_LOCKED", STUCK),
    # A mark takes slots_lock inside its read section.
    ("slots", "MARK_LOCKS", STUCK),
    # A page is read, and re-armed afterwards.
    ("slots", "READ_THEN_REARM", "whole"),
    # A removal that failed does not make the slot dirty.
    ("slots", "UNDO_IN_SILENCE", "whole"),
    # Logging comes on, and what was written meanwhile is forgotten.
    ("slots", "LOGGED_AS_IF_ALWAYS", "whole"),
    # An abort does not put back.
    ("slots", "ABORT_FORGETS", "whole"),
    # The source says END although pages are dirty.
    ("slots", "DIRTY_AT_THE_END", "whole"),
]


def explore(model, mistake):
    """What pan says about the model."""
    defines = [f"-D{mistake}"] if mistake else []
    with tempfile.TemporaryDirectory() as where:
        def run(*command):
            return subprocess.run(command, cwd=where, check=False, text=True,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)

        shutil.copy(HERE / f"{model}.pml", where)
        made = run("spin", "-a", *defines, f"{model}.pml")
        if made.returncode or not (pathlib.Path(where) / "pan.c").exists():
            return made.stdout
        made = run(os.environ.get("CC", "cc").split()[-1], "-w", "-DSAFETY",
                   "-DCOLLAPSE", "-O0" if mistake else "-O2", "-o", "pan",
                   "pan.c")
        if made.returncode:
            return made.stdout
        return run("./pan", "-n", f"-m{DEPTH_MAX}").stdout


def check(model, mistake, expected):
    """Return: is it as it should be, and what there is to say about it."""
    begin = time.monotonic()
    said = explore(model, mistake)
    found = re.search(r"^pan:1: (.*?) \(at depth", said, re.MULTILINE)
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"(\d+) states, stored", said)
    depth = re.search(r"depth reached (\d+)", said)
    name = f"{model}: {mistake} is found" if mistake else f"{model} holds"
    if not errors or not states or not depth:
        return False, name, said
    name += (f" ({states[1]} states, depth {depth[1]}, "
             f"{time.monotonic() - begin:.1f} s)")
    if mistake:
        right = bool(found) and expected in found[1]
    else:
        right = (errors[1] == "0" and int(states[1]) == STATES[model] and
                 "max search depth too small" not in said and
                 "Search not completed" not in said)
    return right, name, said


def main():
    """Return: an exit status."""
    models = sys.argv[1:] or list(STATES)
    if not shutil.which("spin"):
        print("1..0 # SKIP no spin: apt-get install spin")
        return 0
    jobs = [(model, None, None) for model in models]
    jobs += [mistake for mistake in MISTAKES if mistake[0] in models]
    print(f"1..{len(jobs)}")
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(lambda job: check(*job), jobs)
        for number, (right, name, said) in enumerate(answers, 1):
            print(f"{'' if right else 'not '}ok {number} - {name}", flush=True)
            if not right:
                failed += 1
                print("".join(f"# {line}\n" for line in said.splitlines()))
    return 1 if failed else 0


sys.exit(main())
