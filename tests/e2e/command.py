# SPDX-License-Identifier: MIT
"""command.py - the tidemark command as the end-to-end tests use it"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent
                       / "house"))
import tap  # noqa: E402  (found only now)

TIDEMARK = sys.argv[1] if len(sys.argv) > 1 else "build/tidemark"
TIMEOUT = 120
SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-e2e-"))
_living = []
_numbers = iter(range(1000000))


def fresh(name):
    """A path that nobody uses yet."""
    return str(SCRATCH / f"{name}{next(_numbers)}")


def run(*arguments, **options):
    """Runs tidemark to its end."""
    return subprocess.run([TIDEMARK, *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, encoding="utf-8",
                          timeout=TIMEOUT, check=False, **options)


# A mount namespace of its own, with nothing in /dev.
_NO_DEVICES = ["sh", "-c", 'mount -t tmpfs none /dev && exec "$0" "$@"']
_APART = [["unshare", "--mount", *_NO_DEVICES],
          ["unshare", "--map-root-user", "--mount", *_NO_DEVICES]]


def _can(how):
    try:
        return subprocess.run([*how, "true"], capture_output=True,
                              check=False).returncode == 0
    except OSError:
        return False


def without_kvm():
    """What to put before a command so that it finds no /dev/kvm; None if
    that cannot be had."""
    if not os.path.exists("/dev/kvm"):
        return []
    return next((how for how in _APART if _can(how)), None)


def run_without_kvm(*arguments):
    """As run, on a host without /dev/kvm."""
    return subprocess.run([*without_kvm(), os.path.abspath(TIDEMARK),
                           *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, encoding="utf-8",
                          timeout=TIMEOUT, check=False)


# Trackers of processes, and not of guests.
PROCESSES = {"wp", "sigsegv", "soft-dirty"}


def guest_tracker_names():
    """Those that work here, for guests."""
    return [name for name in tracker_names() if name not in PROCESSES]


def tracker_names():
    """Those that work here."""
    done = run("probe", "--json")
    if not done.stdout:
        return []
    return [probe["tracker"] for probe in json.loads(done.stdout)
            if probe["works"]]


def one_line(done, status=2):
    """It failed as it should: nothing on stdout, one line on stderr."""
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stdout == "", done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("tidemark: "), done.stderr
    return done.stderr


class Vm:
    """A tidemark vm, with a control socket."""

    def __init__(self, *arguments, preexec_fn=None, **options):
        self.path = fresh("control")
        self.out_path = fresh("out")
        self.out = open(self.out_path, "w+", encoding="utf-8")
        command = [TIDEMARK, "vm", "--control", self.path, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.out,
            stderr=subprocess.STDOUT, preexec_fn=preexec_fn, **options)
        _living.append(self)

    def said(self):
        return pathlib.Path(self.out_path).read_text("utf-8")

    def until(self, text):
        """Waits until it has said this."""
        end = time.monotonic() + TIMEOUT
        while text not in self.said():
            assert self.process.poll() is None, \
                f"ended before it said '{text}': {self.said()}"
            assert time.monotonic() < end, f"never said '{text}'"
            time.sleep(0.005)
        return self

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        connection.connect(self.path)
        return connection

    def ask(self, **request):
        """One request, its last answer; progress is skipped."""
        with self.connect() as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            for line in connection.makefile(encoding="utf-8"):
                answer = json.loads(line)
                if answer["event"] != "progress":
                    return answer
        return None

    def migrate(self, to, **limits):
        return self.ask(command="migrate", to=to, **limits)

    def state(self):
        return self.ask(command="status")["state"]

    def end(self, by=signal.SIGINT):
        """Ends it.  Returns its exit status."""
        self.process.send_signal(by)
        return self.process.wait(TIMEOUT)

    def wait(self):
        return self.process.wait(TIMEOUT)


def source(*arguments, workload="walker", memory="32M", **options):
    """A vm with a guest that runs."""
    vm = Vm("--workload", workload, "--memory", memory, *arguments, **options)
    return vm.until("the guest runs")


def destination(*arguments, address=None, **options):
    """A vm that waits for one.  Its address is .address."""
    address = address or "unix:" + fresh("listen")
    vm = Vm("--listen", address, *arguments, **options)
    vm.address = address
    return vm.until("waiting for a guest")


def right_here(vm):
    """The guest runs here; it stops, and its memory is right."""
    vm.until("the guest runs")
    status = vm.end()
    assert status == 0, vm.said()
    assert "memory is right" in vm.said(), vm.said()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _apart(claim):
    """Whatever a claim leaves running ends with it."""
    def wrapped():
        try:
            claim()
        finally:
            for vm in _living:
                if vm.process.poll() is None:
                    vm.process.kill()
                    vm.process.wait()
                vm.out.close()
            _living.clear()
    return wrapped


def main(claims):
    try:
        tap.main([(name, _apart(claim)) for name, claim in claims])
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
