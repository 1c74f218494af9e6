#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demo_test.py - every tracker moves every workload, and says the truth

Usage: demo_test.py TIDEMARK
"""
import json
import os
import pty
import subprocess

import command

QUICK = ["--warm-up", "50", "--run-on", "50"]
WORKLOADS = ["walker", "random", "atomic", "hot", "script"]
PAGING = ["none", "x86-64", "sv39"]
SOFT = ["soft-bitmap", "soft-ring"]


def demo(*arguments, status=0):
    done = command.run("demo", "--json", *QUICK, *arguments)
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


def moved_whole(result, memory):
    assert result["memory_bytes"] == memory
    assert result["pages_verified"] * 4096 == memory
    assert result["lost_pages"] == 0 and result["lost_gfns"] == []
    assert result["check_holds"] is True, result["check_message"]
    assert result["phase"] == "done"


def moves(tracker, workload, paging=None):
    def claim():
        asked = ["--paging", paging] if paging else []
        result = demo("--tracker", tracker, "--workload", workload,
                      "--memory", "16M", "--vcpus", "2", "--device",
                      "--seed", "7", *asked)
        moved_whole(result, 16 << 20)
        assert result["tracker"] == tracker
        assert result["workload"] == workload
        assert result["paging"] == (paging or "none")
        assert (result["guest_writes"] > 0) == (workload != "script")
    return claim


def test_fields():
    result = demo("--memory", "24M", "--slots", "3", "--downtime", "50ms")
    moved_whole(result, 24 << 20)
    for key in ("rounds", "total_ns", "downtime_ns", "bytes_sent",
                "pages_sent", "bandwidth", "guest_writes"):
        assert isinstance(result[key], int) and result[key] > 0, key
    assert result["downtime_target_ns"] == 50000000
    assert result["downtime_ns"] < result["total_ns"]
    assert len(result["round_list"]) == result["rounds"]
    assert result["bytes_sent"] > result["pages_sent"] * 4096
    assert result["pages_sent"] + result["pages_zero"] >= 24 << 8
    holds = sum(count for _, count in result["hold_histogram"])
    assert holds > 0 and result["hold_ns_max"] > 0


def test_text():
    done = command.run("demo", "--memory", "16M", *QUICK)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for word in ("tracker ", "round 1", "downtime ", "verified   4096 of 4096",
                 "nothing was lost"):
        assert word in done.stdout, done.stdout


def test_lost():
    """The verdict is worth something: a page lost on purpose is found."""
    result = demo("--memory", "16M", "--lose-page", status=1)
    assert result["lost_pages"] == 1 and result["lost_gfns"] == [4095]
    assert result["pages_verified"] == 4096
    assert result["verdict"] == "lost"
    done = command.run("demo", "--memory", "16M", "--lose-page", *QUICK)
    assert done.returncode == 1 and "LOST" in done.stdout


def test_soft_lost():
    """The same where no kernel takes part."""
    for paging in PAGING:
        result = demo("--tracker", "soft", "--paging", paging, "--memory",
                      "16M", "--lose-page", status=1)
        assert result["tracker"] == "soft-bitmap", result["tracker"]
        assert result["lost_pages"] == 1 and result["lost_gfns"] == [4095]
        assert result["verdict"] == "lost"


def test_soft_words():
    done = command.run("demo", "--tracker", "soft", "--memory", "16M",
                       "--paging", "sv39", *QUICK)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for word in ("soft-bitmap", "software vCPU", "sv39 page tables",
                 "nothing was lost"):
        assert word in done.stdout, done.stdout
    assert demo("--paging", "x86-64", "--memory",
                "16M")["tracker"] == "soft-bitmap"


def test_no_kvm():
    """Without /dev/kvm the demo takes a software CPU, and says so."""
    done = command.run_without_kvm("demo", "--memory", "16M", *QUICK)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for word in ("soft-bitmap: KVM does not work on this host",
                 "open /dev/kvm: No such file or directory",
                 "CPU is software", "nothing was lost"):
        assert word in done.stdout, done.stdout
    done = command.run_without_kvm("demo", "--memory", "16M", "--json",
                                   "--tracker", "soft-ring", *QUICK)
    moved_whole(json.loads(done.stdout), 16 << 20)
    said = command.one_line(command.run_without_kvm(
        "demo", "--tracker", "kvm-clear"))
    assert "kvm-clear does not work on this host: open /dev/kvm" in said, said
    done = command.run_without_kvm("probe", "--json")
    assert done.returncode == 0, done.stderr
    assert {probe["tracker"]: probe["works"]
            for probe in json.loads(done.stdout)
            if probe["tracker"] not in command.PROCESSES} == {
                "kvm-get": False, "kvm-clear": False, "kvm-ring": False,
                "soft-bitmap": True, "soft-ring": True}


def test_limits():
    slow = demo("--memory", "16M", "--bandwidth", "40M", "--workload", "script")
    fast = demo("--memory", "16M", "--workload", "script")
    moved_whole(slow, 16 << 20)
    assert slow["rounds"] >= 1 and fast["rounds"] >= 1
    few = demo("--memory", "16M", "--rounds", "2", "--downtime", "1us")
    moved_whole(few, 16 << 20)
    assert few["rounds"] <= 3, few["rounds"]


def test_terminal():
    """A progress bar on a terminal, and still none in the JSON."""
    main, terminal = pty.openpty()
    done = subprocess.run(
        [command.TIDEMARK, "demo", "--memory", "16M", "--bandwidth", "30M",
         *QUICK], stdout=subprocess.PIPE, stderr=terminal, encoding="utf-8",
        env={**os.environ, "TERM": "vt100"}, check=False)
    quiet = subprocess.run(
        [command.TIDEMARK, "demo", "--memory", "16M", "--json", *QUICK],
        stdout=subprocess.PIPE, stderr=terminal, encoding="utf-8",
        env={**os.environ, "TERM": "vt100"}, check=False)
    os.write(terminal, b"END")
    os.close(terminal)
    shown = b""
    while not shown.endswith(b"END"):
        shown += os.read(main, 4096)
    os.close(main)
    assert done.returncode == 0 and b"\rround 1" in shown, shown
    assert b"[####" in shown and "[####" not in done.stdout
    assert shown.rstrip(b"END").endswith(b"\r"), "the bar was left behind"
    json.loads(quiet.stdout)


def test_probe():
    done = command.run("probe")
    assert done.returncode == 0 and "As measured on this host" in done.stdout
    for tracker in command.guest_tracker_names():
        found = json.loads(command.run("probe", "--json", "--tracker",
                                       tracker).stdout)
        assert [probe["tracker"] for probe in found] == [tracker]
        assert found[0]["works"] is True and found[0]["why"] == ""
        assert found[0]["pages"] > 0 and found[0]["harvest_dirty_ns"] > 0


def test_soak():
    done = command.run("soak", "--minutes", "1s", "--seed", "5", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["seed"] == 5 and result["lost"] is False
    assert result["runs"] > 0 and result["migrations"] >= 1
    assert sorted(result["trackers"]) == sorted(
        command.guest_tracker_names())


CLAIMS = [(f"{tracker} moves {workload}", moves(tracker, workload))
          for tracker in command.guest_tracker_names()
          for workload in WORKLOADS]
CLAIMS += [(f"soft moves {workload} with {paging} tables",
            moves(SOFT[number % 2], workload, paging))
           for paging in PAGING[1:] for number, workload in
           enumerate(WORKLOADS)]
CAN_HIDE = command.without_kvm() is not None
command.main(CLAIMS + [
    ("a soft guest says what it is", test_soft_words),
    ("a page that a soft guest loses is found", test_soft_lost),
    ("without /dev/kvm the CPU is software", test_no_kvm) if CAN_HIDE else
    ("without /dev/kvm # SKIP no mount namespace can be had", lambda: None),
    ("the JSON has every field", test_fields),
    ("the text says the same", test_text),
    ("a page lost on purpose is found, with status 1", test_lost),
    ("limits are obeyed", test_limits),
    ("the progress bar is for terminals", test_terminal),
    ("probe says what works", test_probe),
    ("a short soak loses nothing", test_soak),
])
