#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test-summary.py - judge a test run and print its closing line

Reads what tests really printed rather than what meson made of it: cmocka
1.1.5 reports a skipped test as "not ok N # SKIP name", with the reason on a
line before, and meson takes that for a failure.

A test program is counted by its TAP lines.  On top of those it fails once
more when it crashed, ran out of time, stopped before its plan was through,
or left with a status that its lines do not explain.  A program without TAP
counts as one test.

Usage: test-summary.py [NAME=]FILE...
FILE is meson's testlog.json, or *.tap for plain TAP.  NAME tells runs of the
same tests apart.  The last line is "N passed, N failed, N skipped"; the
status is 1 if anything failed or nothing ran.
"""
import json
import re
import sys

RESULT = re.compile(r"(not )?ok\b(?: (\d+))?(?: -)? ?(.*)")
PLAN = re.compile(r"1\.\.(\d+)\s*(?:# *SKIP\S*\s*(.*))?$")
SKIP = re.compile(r"^(.*?)\s*# *SKIP\S*\s*(.*)$", re.IGNORECASE)
TAIL = 40  # lines of what a program said that are shown when it failed


class Tally:
    """Counts, and the texts of what did not pass."""

    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def add_failure(self, name, text):
        self.failed.append((name, text))

    def add_skip(self, name, reason):
        self.skipped.append((name, reason or "no reason given"))


def skip_reason(notes):
    """The reason from the diagnostics before a skipped cmocka test."""
    for note in reversed(notes):
        match = re.match(r"# *SKIP\S*[: ]*(.*)", note, re.IGNORECASE)
        if match and match.group(1):
            return match.group(1)
    return notes[-1].lstrip("# ") if notes else ""


def add_tap(tally, program, text):
    """Count TAP lines.  Returns (lines seen, plan or None, failures)."""
    seen, plan, failures, notes = 0, None, 0, []
    open_failure = None  # gets the diagnostics that follow it
    for line in text.splitlines():
        found = PLAN.match(line)
        if found and plan is None:
            plan = int(found.group(1))
            if plan == 0:
                tally.add_skip(program, found.group(2) or skip_reason(notes))
            continue
        if line.startswith("Bail out!"):
            tally.add_failure(program, [line])
            failures += 1
        found = RESULT.match(line)
        if not found:
            notes.append(line)
            if open_failure is not None:
                open_failure.append(line)
                if line.endswith("error: Failure!"):  # cmocka's last word
                    open_failure, notes = None, []
            continue
        seen += 1
        name = found.group(3)
        skip = SKIP.match(name)
        if skip and skip.group(1):
            tally.add_skip(f"{program}: {skip.group(1)}", skip.group(2))
        elif skip:  # cmocka: "not ok 3 # SKIP name"
            tally.add_skip(f"{program}: {skip.group(2)}", skip_reason(notes))
        elif found.group(1):
            failures += 1
            # What it said while it ran, if that is not the last one's.
            open_failure = [] if open_failure is not None else notes[-TAIL:]
            tally.add_failure(f"{program}: {name}", open_failure)
            notes = []
            continue
        else:
            tally.passed += 1
        open_failure, notes = None, []
    return seen, plan, failures


def last_lines(run):
    lines = (run.get("stdout") or "").splitlines()
    return (lines + (run.get("stderr") or "").splitlines())[-TAIL:]


def add_run(tally, program, run):
    """Count one program of meson's log."""
    status, result = run["returncode"], run["result"]
    seen, plan, failures = add_tap(tally, program, run.get("stdout") or "")
    if seen == 0 and plan is None:
        if result in ("OK", "EXPECTEDFAIL"):
            tally.passed += 1
        elif result == "SKIP" and status == 77:
            lines = [line for line in last_lines(run) if line.strip()]
            tally.add_skip(program, lines[-1].lstrip("# ") if lines else "")
        elif result == "SKIP":
            tally.add_failure(program, ["no test ran"])
        else:
            tally.add_failure(program, [f"{result}, status {status}"]
                              + last_lines(run))
        return
    wrong = None
    if result in ("TIMEOUT", "INTERRUPT"):
        wrong = f"{result} after {run['duration']:.0f} s"
    elif status < 0 or status >= 128:
        wrong = f"died, status {status}"
    elif plan is not None and seen < plan:
        wrong = f"{plan - seen} of {plan} tests did not run, status {status}"
    elif plan is None:
        wrong = "no plan"
    elif status != 0 and failures == 0 and not (status == 77 and plan == 0):
        wrong = f"status {status}, although no test failed"
    elif status == 0 and failures:
        wrong = f"status 0, although {failures} failed"
    if wrong:
        tally.add_failure(program, [wrong] + last_lines(run))


def add_file(tally, argument):
    label, separator, path = argument.rpartition("=")
    prefix = label + separator.replace("=", ": ")
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    if path.endswith(".tap"):
        seen, plan, _ = add_tap(tally, prefix + "checks", text)
        if plan is not None and seen < plan:
            tally.add_failure(prefix + "checks", ["stopped early"])
        if seen == 0 and plan is None:
            tally.add_failure(argument, ["nothing ran"])
        return
    for line in text.splitlines():
        run = json.loads(line)
        # "tidemark:unit / ring" -> "ring"
        add_run(tally, prefix + run["name"].split(" / ")[-1], run)


def main(arguments):
    tally = Tally()
    for argument in arguments:
        try:
            add_file(tally, argument)
        except (OSError, ValueError, KeyError) as error:
            tally.add_failure(argument, [f"no usable log: {error}"])
    for name, reason in tally.skipped:
        print(f"skipped: {name}: {reason}")
    for name, text in tally.failed:
        print(f"FAILED: {name}")
        for line in text:
            print(f"    {line}")
    if not (tally.passed or tally.failed or tally.skipped):
        tally.add_failure("all", [])
        print("FAILED: no test ran")
    print(f"{tally.passed} passed, {len(tally.failed)} failed, "
          f"{len(tally.skipped)} skipped")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
