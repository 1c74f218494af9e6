#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_summary_test.py - the closing line counts what really happened"""
import json
import pathlib
import tempfile

import tap

FINE = "1..2\nok 1 - a\nok 2 - b\n"
SKIPS = "1..2\nok 1 - a\n# SKIP no /dev/kvm\nnot ok 2 # SKIP b\n"
FAILS = "1..2\nnot ok 1 - a\n# 0x1 != 0x2\n# x.c:8: error\nok 2 - b\n"

# name: (stdout, result, status, counts, a part of what is printed)
CASES = {
    "what passed": (FINE, "OK", 0, (2, 0, 0), ""),
    "a cmocka skip, with its reason": (SKIPS, "FAIL", 0, (1, 0, 1),
                                       "skipped: t: b: no /dev/kvm"),
    "a script's skip, with its reason": (
        "1..1\nok 1 - a # SKIP no kernel\n", "SKIP", 0, (0, 0, 1),
        "skipped: t: a: no kernel"),
    "a skip of the whole program": ("1..0 # SKIP no qemu\n", "SKIP", 0,
                                    (0, 0, 1), "skipped: t: no qemu"),
    "a failure, with what came before it": (
        "1..1\n# seed 5\nexpected page 3\nnot ok 1 - a\n", "ERROR", 1,
        (0, 1, 0), "FAILED: t: a\n    # seed 5\n    expected page 3"),
    "a failure, with its text": (FAILS, "ERROR", 1, (1, 1, 0), "0x1 != 0x2"),
    "a crash after the last test": (FINE, "ERROR", -11, (2, 1, 0),
                                    "died, status -11"),
    "a crash in the middle": ("1..3\nok 1 - a\n", "ERROR", -6, (1, 1, 0),
                              "died, status -6"),
    "a quiet end in the middle": ("1..3\nok 1 - a\n", "ERROR", 0, (1, 1, 0),
                                  "2 of 3 tests did not run"),
    "a timeout": ("1..3\nok 1 - a\n", "TIMEOUT", -15, (1, 1, 0), "TIMEOUT"),
    "a status that no test explains": (FINE, "ERROR", 23, (2, 1, 0),
                                       "status 23"),
    "a failure that the status hides": (FAILS, "FAIL", 0, (1, 2, 0),
                                        "status 0"),
    "results without a plan": ("ok 1 - a\n", "FAIL", 0, (1, 1, 0), "no plan"),
    "a program that ran nothing": ("", "SKIP", 0, (0, 1, 0), "no test ran"),
    "a plain program": ("", "OK", 0, (1, 0, 0), ""),
    "a plain program that failed": ("bad\n", "FAIL", 1, (0, 1, 0), "bad"),
    "a plain program that skips": ("# no qemu\n", "SKIP", 77, (0, 0, 1),
                                   "skipped: t: no qemu"),
}


def summarise(name, text, label=""):
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / name
        path.write_text(text, encoding="utf-8")
        return tap.run_tool("scripts/test-summary.py", label + str(path))


def counts(stdout, result, status, wanted, part):
    log = json.dumps({"name": "tidemark:unit / t", "stdout": stdout,
                      "result": result, "returncode": status,
                      "duration": 1.5})
    code, text = summarise("testlog.json", log + "\n")
    last = text.splitlines()[-1]
    assert last == "{} passed, {} failed, {} skipped".format(*wanted), text
    assert code == (1 if wanted[1] else 0), code
    assert part in text, text


def whose_words():
    """What the next test says does not become the failure's."""
    text = summarise("x.tap", "not ok 1 - a\n# 1 != 2\n# x.c:8: error: "
                     "Failure!\n# from b\nok 2 - b\n")[1]
    assert "# 1 != 2" in text and "from b" not in text, text
    text = summarise("x.tap", "not ok - a\n# why a\nnot ok - b\n")[1]
    assert text.count("why a") == 1, text


def plain_tap():
    code, text = summarise("x.tap", "ok - a\nnot ok - b\n# why\n")
    assert code == 1 and text.endswith("1 passed, 1 failed, 0 skipped\n")
    assert "FAILED: checks: b\n    # why" in text, text


def nothing():
    code, text = summarise("x.tap", "")
    assert code == 1 and text.endswith("0 passed, 1 failed, 0 skipped\n")
    code, text = tap.run_tool("scripts/test-summary.py", "missing.json")
    assert code == 1 and "no usable log" in text


def labels():
    text = summarise("x.tap", "not ok - b\n", "asan=")[1]
    assert "FAILED: asan: checks: b" in text, text


tap.main([(f"counts {name}", lambda case=case: counts(*case))
          for name, case in CASES.items()]
         + [("a failure has its own words only", whose_words),
            ("counts plain TAP", plain_tap),
            ("nothing at all is a failure", nothing),
            ("a run has a label", labels)])
