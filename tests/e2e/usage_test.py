#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage_test.py - what the command says to those who ask it wrongly

Usage: usage_test.py TIDEMARK
"""
import re

import command

NEEDS = {"demo": [], "vm": [], "probe": [],
         "plan": ["x"], "report": ["x"],
         "record": ["--pid", "1", "--output", "/x/y"],
         "rehearse": ["--pid", "1", "--bandwidth", "1M"],
         "watch": ["--pid", "1"], "soak": ["--minutes", "1"],
         "migrate": ["--control", "x", "--to", "unix:y"]}


def options_of(name):
    """(option, takes a value) of a command, from its own help."""
    usage = command.run(name, "--help").stdout
    return [(option, bool(value)) for option, value in
            re.findall(r"^  (?:-[a-z], )?--([a-z-]+)( [A-Z]+)?", usage,
                       re.MULTILINE)]


def test_help():
    for arguments in (["help"], ["--help"], ["-h"]):
        done = command.run(*arguments)
        assert done.returncode == 0 and not done.stderr
        assert "Commands:" in done.stdout
    for name in [*NEEDS, "bench", "version"]:
        for arguments in ([name, "--help"], ["help", name]):
            done = command.run(*arguments)
            assert done.returncode in (0, 2 if name == "bench" else 0)
    for name in NEEDS:
        done = command.run(name, "--help")
        assert done.stdout.startswith("Usage: tidemark " + name), done.stdout
        assert done.stdout == command.run("help", name).stdout


def test_version():
    done = command.run("version")
    assert re.fullmatch(r"tidemark \d+\.\d+\.\d+\n", done.stdout)
    assert command.run("--version").stdout == done.stdout


def test_no_command():
    done = command.run()
    assert done.returncode == 2 and not done.stdout


def test_typos():
    for wrong, right in (("dmeo", "demo"), ("prob", "probe"),
                         ("migrte", "migrate"), ("sok", "soak")):
        assert f"'{right}'" in command.one_line(command.run(wrong))
    assert "did you mean" not in command.one_line(command.run("elephant"))
    assert "--tracker" in command.one_line(command.run("demo", "--traker"))
    assert "kvm-ring" in command.one_line(
        command.run("probe", "--tracker", "kvm-rign"))
    assert "walker" in command.one_line(
        command.run("demo", "--workload", "wlaker"))


def test_unknown_options():
    for name, needs in NEEDS.items():
        said = command.one_line(command.run(name, *needs, "--no-such-thing"))
        assert "'--no-such-thing'" in said, said
        said = command.one_line(command.run(name, *needs, "-q"))
        assert "'-q'" in said, said
        command.one_line(command.run(name, *needs, "operand"))
    command.one_line(command.run("--no-such-thing"))


def test_missing_values():
    for name, needs in NEEDS.items():
        for option, value in options_of(name):
            if value:
                said = command.one_line(command.run(name, *needs,
                                                    "--" + option))
                assert f"--{option}: needs a value" in said, said


def test_values_for_flags():
    for name, needs in NEEDS.items():
        for option, value in options_of(name):
            if not value and option != "help":
                said = command.one_line(command.run(name, *needs,
                                                    f"--{option}=1"))
                assert f"'--{option}=1'" in said, said


def test_bad_values():
    wrong = {
        "memory": ["", "x", "-1", "64X", "64MM", "1M", "0", "17000001",
                   "99999999T", "0x10000000", "nan", "inf", " 64M"],
        "vcpus": ["0", "5", "x", "", "-1", "1.5", "99999999999999999999"],
        "slots": ["0", "33", "x"],
        "downtime": ["x", "-5", "3h", ""],
        "bandwidth": ["0", "fast", "-1"],
        "rounds": ["0", "x"],
        "seed": ["x", "-1", "18446744073709551616"],
        "tracker": ["", "sotf", "KVM-GET"],
        "paging": ["", "x86", "SV39", "sv48"],
        "workload": ["", "x"],
        "run-on": ["x"],
        "warm-up": ["-1"],
    }
    for option, values in wrong.items():
        for value in values:
            said = command.one_line(command.run("demo", f"--{option}={value}"))
            assert f"--{option}: " in said, said
    for arguments in (["soak"], ["soak", "--minutes", "0"],
                      ["soak", "--minutes", "x"],
                      ["migrate", "--to", "unix:x"],
                      ["migrate", "--control", "x"],
                      ["vm", "--prove", "fd:0"],
                      ["vm", "--listen", "unix:x", "--paging", "sv39"]):
        command.one_line(command.run(*arguments))


def test_paging_of_kvm():
    """KVM's guests bring their own page tables."""
    for name in ("demo", "vm"):
        for paging in ("none", "x86-64"):
            said = command.one_line(command.run(
                name, "--tracker", "kvm-clear", "--paging", paging))
            assert "--paging: only with --tracker soft" in said, said


def test_stdout_full():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = command.subprocess.run(
            [command.TIDEMARK, "version"], stdout=full, check=False,
            stderr=command.subprocess.PIPE, encoding="utf-8")
    assert done.returncode == 2 and "stdout" in done.stderr, done


def test_no_kvm():
    """One line that says exactly why, and status 2."""
    for arguments in (["demo", "--tracker", "kvm-ring"],
                      ["demo", "--json", "--tracker", "kvm-get"],
                      ["vm", "--tracker", "kvm-clear"],
                      ["vm", "--listen", "unix:x", "--tracker", "kvm-clear"],
                      ["soak", "--minutes", "1", "--tracker", "kvm-ring"]):
        said = command.one_line(command.run_without_kvm(*arguments))
        assert "/dev/kvm" in said, said
    done = command.run_without_kvm("probe", "--tracker", "kvm-get")
    assert done.returncode == 2 and "/dev/kvm" in done.stdout


CLAIMS = [
    ("help is help, however it is asked for", test_help),
    ("version prints the version", test_version),
    ("no command is bad usage", test_no_command),
    ("typos are met with what was meant", test_typos),
    ("unknown options are one line and status 2", test_unknown_options),
    ("a missing value is one line and status 2", test_missing_values),
    ("a value for a flag is one line and status 2", test_values_for_flags),
    ("bad values are one line that names the option", test_bad_values),
    ("--paging is not for KVM", test_paging_of_kvm),
    ("output that cannot be written is an error", test_stdout_full),
    ("a KVM tracker without /dev/kvm is refused", test_no_kvm)
    if command.without_kvm() is not None else
    ("without /dev/kvm # SKIP no mount namespace can be had", lambda: None),
]
command.main(CLAIMS)
