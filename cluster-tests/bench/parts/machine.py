"""What the benchmark needs of the machine: open-file limits, free ports, builds, CPU use from /proc.

Used by `brokers` and by `run`. It starts nothing that outlives a call.
"""
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").resolve()
MQLOAD = REPOSITORY / "cluster-tests/bench/mqload"
# Above what a broker and the generator need for 9,000 clients each.
OPEN_FILES = 100_000
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something could not be built, started or measured; the text is for a person."""


def say(text):
    """A line about the progress; the figures alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def raise_open_files():
    """Raises the open-file limit as far as it goes, for all that is started later; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((OPEN_FILES, max(hard, OPEN_FILES)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def is_free(port):
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            try:
                probe.bind((address, port))
            except OSError as error:
                # No IPv6 on this machine is no reason to call the port taken.
                if family == socket.AF_INET or error.errno == 98:
                    return False
    return True


def free_ports(count):
    """The first of `count` consecutive ports that nobody listens on.

    Below the range from which the kernel gives ports to clients, so that no connection takes one meanwhile.
    """
    try:
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        ephemeral = 32768
    for _ in range(1000):
        first = random.randrange(10_000, max(10_001, min(ephemeral, 65_000) - count))
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise Failed(f"no {count} free ports in a row")


def cargo(*arguments):
    say("building: cargo " + " ".join(arguments))
    if subprocess.run(["cargo", *arguments], stdout=sys.stderr).returncode:
        raise Failed("cargo " + " ".join(arguments) + " failed")


def build(folder):
    """Builds the generator and the broker; returns the paths of copies in `folder`.

    Copies, so that another build does not change what is measured in the middle of a run. The broker is linked
    statically, as `cluster-tests/run` does; MAINSTAY_BIN names one that was built already.
    """
    target = TARGET / "bench"
    cargo("build", "--release", "--locked", "--quiet", "--manifest-path", str(MQLOAD / "Cargo.toml"),
          "--target-dir", str(target))
    broker = os.environ.get("MAINSTAY_BIN")
    if not broker:
        cargo("rustc", "--release", "--quiet", "--manifest-path", str(REPOSITORY / "Cargo.toml"), "--target-dir",
              str(TARGET), "-p", "mainstay", "--bin", "mainstay", "--", "-C", "target-feature=+crt-static")
        broker = TARGET / "release/mainstay"
    found = {"mqload": target / "release/mqload", "mqrelay": target / "release/mqrelay", "mainstay": broker}
    return {name: shutil.copy2(path, Path(folder) / name) for name, path in found.items()}


def cpu_seconds(pids):
    """User and system time of the processes; one that is gone counts nothing."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def settle(pids, cores=0.08, limit=60.0):
    """Waits until the processes use less than `cores` for half a second, at most `limit` seconds."""
    end = time.monotonic() + limit
    before, since = cpu_seconds(pids), time.monotonic()
    while since < end:
        time.sleep(0.5)
        now, moment = cpu_seconds(pids), time.monotonic()
        if (now - before) / (moment - since) < cores:
            return True
        before, since = now, moment
    return False


def wait_for(what, condition, limit):
    """Waits until `condition` returns something true, and returns it."""
    end = time.monotonic() + limit
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {limit:.0f} s")
        time.sleep(0.05)
