#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""migrate_test.py - a guest moved by hand, and what can go wrong on the way

Whatever fails before the hand-over, the guest runs on at the source, and a
second attempt moves it.

Usage: migrate_test.py TIDEMARK
"""
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time

import command


def migrate(vm, to, *arguments):
    """The command itself, as an operator would use it."""
    return command.run("migrate", "--control", vm.path, "--to", to,
                       *arguments)


def second_attempt(vm):
    """The guest is still here, whole, and can be moved."""
    assert vm.state() == "running", vm.said()
    there = command.destination()
    done = migrate(vm, there.address)
    assert done.returncode == 0, done.stderr
    assert vm.wait() == 0, vm.said()
    command.right_here(there)


def refused(vm, to, *words):
    said = command.one_line(migrate(vm, to))
    for word in words:
        assert word in said, said


def test_unix():
    vm = command.source("--vcpus", "2", "--device")
    there = command.destination()
    done = migrate(vm, there.address)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith("moved to unix:"), done.stdout
    assert vm.wait() == 0 and "runs at unix:" in vm.said()
    command.right_here(there)


def another_tracker():
    """The last that runs what the best one runs: a guest keeps to its kind of
    machine."""
    names = command.guest_tracker_names()
    kind = names[0].split("-")[0]
    return [name for name in names if name.startswith(kind)][-1]


def test_tcp():
    for host in ("127.0.0.1", "[::1]"):
        port = command.free_port()
        address = f"tcp:{host}:{port}"
        try:
            there = command.destination("--tracker", another_tracker(),
                                        address=address)
        except AssertionError as error:
            if host == "[::1]" and "Cannot assign" in str(error):
                continue  # no IPv6 here
            raise
        vm = command.source(workload="hot")
        done = migrate(vm, address, "--json", "--downtime", "50")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["phase"] == "done" and result["rounds"] >= 1
        assert len(result["round_list"]) == result["rounds"]
        assert vm.wait() == 0
        command.right_here(there)


def test_onward():
    """A guest that arrived can be moved on."""
    vm = command.source(workload="atomic")
    for _ in range(3):
        there = command.destination()
        assert vm.migrate(there.address)["event"] == "done"
        assert vm.wait() == 0
        vm = there.until("the guest runs here")
    command.right_here(vm)


def test_control():
    vm = command.source()
    status = vm.ask(command="status")
    assert status["memory_bytes"] == 32 << 20 and status["writes"] >= 0
    assert vm.ask(command="dance")["event"] == "error"
    assert vm.ask(nothing=1)["event"] == "error"
    for nonsense in (b"hello\n", b"[1]\n", b"{\n", b"x" * 20000, b"\0\n"):
        with vm.connect() as connection:
            connection.sendall(nonsense)
            answer = connection.makefile().readline()
            assert json.loads(answer)["event"] == "error", answer
    with vm.connect() as connection:
        connection.sendall(b'{"command": "sta')  # and gone
    stopped = vm.ask(command="stop")
    assert stopped["event"] == "stopped" and stopped["check"] == 0, stopped
    assert vm.ask(command="migrate", to="unix:x")["event"] == "failed"
    vm.ask(command="quit")
    assert vm.wait() == 0


def test_nobody_there():
    vm = command.source()
    refused(vm, "unix:" + command.fresh("nobody"), "No such file")
    refused(vm, f"tcp:127.0.0.1:{command.free_port()}", "refused")
    refused(vm, "elsewhere", "unix:PATH, tcp:HOST:PORT or fd:N")
    refused(vm, "tcp:127.0.0.1", "tcp:HOST:PORT")
    refused(vm, "tcp:127.0.0.1:99999", "0 to 65535")
    refused(vm, "fd:77", "fd:77")
    refused(vm, "unix:" + "x" * 200, "bytes")
    second_attempt(vm)
    said = command.one_line(command.run(
        "migrate", "--control", command.fresh("none"), "--to", "unix:x"))
    assert "is anybody listening there?" in said, said


def test_wrong_machine():
    """A guest of KVM does not go on in software, nor the other way round."""
    trackers = [next((name for name in command.guest_tracker_names()
                      if name.startswith(kind)), None)
                for kind in ("kvm", "soft")]
    if None in trackers:
        return  # then there is one machine only
    for here, there in (trackers, trackers[::-1]):
        vm = command.source("--tracker", here)
        other = command.destination("--tracker", there)
        why = f"comes from a {'KVM' if here[0] == 'k' else 'soft'} machine"
        answer = vm.migrate(other.address)
        assert answer["event"] == "failed", answer
        assert why in answer["message"], answer
        assert other.wait() == 2 and why in other.said(), other.said()
        vm.until("the guest runs on here")
        assert vm.end() == 0 and "memory is right" in vm.said(), vm.said()


def answering(answer):
    """A server that sends this to whoever connects, and hangs up."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()

    def serve():
        with server, server.accept()[0] as peer:
            if answer is None:
                return
            peer.sendall(answer)
            peer.settimeout(10)
            try:
                while peer.recv(65536):
                    pass
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return f"tcp:127.0.0.1:{server.getsockname()[1]}"


def test_wrong_destination():
    vm = command.source()
    for answer in (None, b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10,
                   b"\0" * 4096, b"\xff" * 4096):
        refused(vm, answering(answer), "the guest runs on here")
    second_attempt(vm)


def test_silent_destination():
    vm = command.source()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        begin = time.monotonic()
        done = migrate(vm, f"tcp:127.0.0.1:{server.getsockname()[1]}",
                       "--deadline", "300ms")
        assert time.monotonic() - begin < 20
        assert "the guest runs on here" in command.one_line(done)
    second_attempt(vm)


def test_empty_source():
    """Who connects and says nothing is no source; the next one may be."""
    there = command.destination()
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(there.address[5:])
    vm = command.source()
    assert vm.migrate(there.address)["event"] == "done"
    command.right_here(there)


def test_wrong_source():
    for nonsense in (b"x", b"GET / HTTP/1.1\r\n\r\n" * 20, b"\0" * 4096,
                     b"\xff" * 65536):
        there = command.destination()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(there.address[5:])
            try:
                connection.sendall(nonsense)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(4096)
            except OSError:
                pass
        assert there.wait() == 2, there.said()
        assert "the guest did not arrive" in there.said()
        assert "the guest runs" not in there.said()


def test_memory_max():
    vm = command.source()
    there = command.destination("--memory-max", "16M")
    refused(vm, there.address, "the guest runs on here")
    assert there.wait() == 2 and "limit" in there.said(), there.said()
    second_attempt(vm)


def test_no_memory():
    """A destination that the kernel gives no memory."""
    if os.environ.get("TIDE_SANITIZE", "none") != "none":
        return  # a sanitizer's shadow is larger than any limit
    vm = command.source(memory="256M")

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (192 << 20, 192 << 20))

    there = command.destination(preexec_fn=limit)
    refused(vm, there.address, "the guest runs on here")
    assert there.wait() == 2, there.said()
    assert "the guest runs" not in there.said()
    second_attempt(vm)


def test_late_destination():
    vm = command.source(memory="64M")
    there = command.destination("--deadline", "200ms")
    said = command.one_line(migrate(vm, there.address, "--bandwidth", "20M"))
    assert "the guest runs on here" in said, said
    assert there.wait() == 2, there.said()
    second_attempt(vm)


def test_in_use():
    there = command.destination()
    said = command.one_line(command.run("vm", "--listen", there.address))
    assert "in use" in said, said
    said = command.one_line(command.run("vm", "--control", there.path))
    assert "in use" in said, said
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        said = command.one_line(command.run(
            "vm", "--listen", f"tcp:127.0.0.1:{server.getsockname()[1]}"))
        assert "in use" in said, said
    said = command.one_line(command.run("vm", "--listen", "unix:/no/such"))
    assert "No such file" in said, said
    assert there.end() == 2


def test_left_over():
    """The socket of a vm that was killed does not stop the next one."""
    there = command.destination()
    there.end(signal.SIGKILL)
    again = command.destination(address=there.address)
    vm = command.source()
    assert vm.migrate(again.address)["event"] == "done"
    command.right_here(again)


def test_interrupt_migrate():
    vm = command.source(memory="64M")
    there = command.destination()
    asking = subprocess.Popen(
        [command.TIDEMARK, "migrate", "--control", vm.path, "--to",
         there.address, "--bandwidth", "20M"], stderr=subprocess.PIPE,
        encoding="utf-8")
    vm.until("moving the guest")
    time.sleep(0.2)
    asking.send_signal(signal.SIGINT)
    _, said = asking.communicate(timeout=command.TIMEOUT)
    assert asking.returncode == 2 and "interrupted" in said, said
    vm.until("the guest runs on here")
    assert there.wait() == 2, there.said()
    second_attempt(vm)


def test_interrupt_vm():
    """Ctrl-C at either side during a migration."""
    vm = command.source(memory="64M")
    there = command.destination()
    with vm.connect() as connection:
        connection.sendall(json.dumps(
            {"command": "migrate", "to": there.address,
             "bandwidth": 20 << 20}).encode() + b"\n")
        vm.until("moving the guest")
        time.sleep(0.2)
        assert there.end() == 2, there.said()
        vm.until("the guest runs on here")
    assert vm.end() == 0 and "memory is right" in vm.said(), vm.said()


def test_clean_up():
    vm = command.source("--run-for", "50ms")
    assert vm.wait() == 0 and "memory is right" in vm.said()
    assert not os.path.exists(vm.path)
    there = command.destination()
    assert there.end() == 2
    assert not os.path.exists(there.address[5:])
    assert not os.path.exists(there.path)


command.main([
    ("a guest moves over unix", test_unix),
    ("a guest moves over tcp", test_tcp),
    ("a guest moves on and on", test_onward),
    ("the control socket answers sense and nonsense", test_control),
    ("nobody at the destination", test_nobody_there),
    ("another machine at the destination", test_wrong_machine),
    ("something else at the destination", test_wrong_destination),
    ("silence at the destination", test_silent_destination),
    ("silence instead of a source", test_empty_source),
    ("something else instead of a source", test_wrong_source),
    ("a guest too large is refused", test_memory_max),
    ("a destination without memory", test_no_memory),
    ("a destination out of time", test_late_destination),
    ("an address in use", test_in_use),
    ("a socket left over", test_left_over),
    ("Ctrl-C cancels a migration", test_interrupt_migrate),
    ("Ctrl-C at a vm", test_interrupt_vm),
    ("sockets are gone at the end", test_clean_up),
])
