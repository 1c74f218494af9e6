# SPDX-License-Identifier: MIT
"""tap.py - run claims and print TAP; for the tests of our own tools"""
import pathlib
import subprocess
import sys
import traceback

TREE = pathlib.Path(__file__).resolve().parent.parent.parent


def run_tool(name, *arguments, cwd=None):
    """Runs a script of the tree.  Returns (status, standard output)."""
    done = subprocess.run([sys.executable, str(TREE / name), *arguments],
                          stdout=subprocess.PIPE, encoding="utf-8", cwd=cwd,
                          check=False)
    return done.returncode, done.stdout


def main(claims):
    """claims: (name, function); a function that raises has failed."""
    failed = 0
    print(f"1..{len(claims)}")
    for number, (name, function) in enumerate(claims, 1):
        try:
            function()
            print(f"ok {number} - {name}")
        except Exception:  # whatever it is, it is the test's failure
            failed += 1
            print(f"not ok {number} - {name}")
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
    sys.exit(1 if failed else 0)
