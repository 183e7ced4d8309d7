"""The brokers under test: each is started on free ports of loopback and ended by its process ID.

Used by the rows. A broker gives its address, the process IDs whose CPU counts, and the login for mqload.
It never touches a process that it did not start.
"""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from .machine import Failed, free_ports, settle, wait_for

READY_SECONDS = 60
# A node drains in at most 10 s.
END_SECONDS = 15


class Broker:
    """A started process and its folder; a context manager that ends the one and removes the other."""

    name = "?"

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.process = None
        self.addresses = []
        self.pids = []
        self.login = []

    def start(self, command):
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT)
        self.pids = [self.process.pid]

    def wait_until(self, condition):
        def look():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
            return condition()

        try:
            return wait_for(f"{self.name} is ready", look, READY_SECONDS)
        except Failed as error:
            raise Failed(f"{error}; its log: {self.tail()}") from None

    def tail(self):
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def listens(self):
        host, _, port = self.addresses[0].rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def options(self, publishers=0, subscribers=None):
        """mqload's options: where publishers (and other clients) and subscribers connect, and the login."""
        found = ["--addr", self.addresses[publishers], "--broker-pid", ",".join(map(str, self.pids))]
        if subscribers is not None:
            found += ["--sub-addr", self.addresses[subscribers]]
        return found + self.login

    def is_up(self):
        return self.process.poll() is None and all(Path(f"/proc/{pid}").exists() for pid in self.pids)

    def settle(self):
        return settle(self.pids)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Mosquitto(Broker):
    """Debian's mosquitto: no limit of connections, errors alone in the log, no login; TLS on a second port."""

    name = "mosquitto"

    def __init__(self):
        super().__init__()
        program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if not program:
            raise Failed("mosquitto is missing (Debian's package of that name)")
        port = free_ports(2)
        # max_connections belongs to the listener named before it.
        lines = ["log_type error", "allow_anonymous true", f"listener {port} 127.0.0.1", "max_connections -1"]
        self.addresses, self.tls = [f"127.0.0.1:{port}"], None
        if self.make_certificate():
            self.tls = f"127.0.0.1:{port + 1}"
            lines += [f"listener {port + 1} 127.0.0.1", "max_connections -1",
                      f"certfile {self.folder}/cert.pem", f"keyfile {self.folder}/key.pem"]
        # Started by root it would give up its rights, and could not read its key.
        if os.geteuid() == 0:
            lines.insert(0, "user root")
        (self.folder / "conf").write_text("\n".join(lines) + "\n")
        self.start([program, "-c", self.folder / "conf"])
        self.wait_until(self.listens)

    def make_certificate(self):
        if not shutil.which("openssl"):
            return False
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-keyout", self.folder / "key.pem",
             "-out", self.folder / "cert.pem"], capture_output=True)
        return made.returncode == 0


class Relay(Broker):
    """`mqrelay --mode frame`: no broker's work at all, what the machine's sockets cost."""

    name = "relay"

    def __init__(self, programs):
        super().__init__()
        self.addresses = [f"127.0.0.1:{free_ports(1)}"]
        self.start([programs["mqrelay"], "--listen", self.addresses[0], "--mode", "frame"])
        self.wait_until(self.listens)


class Mainstay(Broker):
    """`mainstay dev`, one node or several, with login, metrics and lease on; a login of its broker space."""

    name = "Mainstay"

    def __init__(self, programs, nodes=1):
        super().__init__()
        self.program = programs["mainstay"]
        self.data = self.folder / "data"
        self.start([self.program, "dev", "--nodes", nodes, "--data", self.data, "--port-base",
                    free_ports(10 * nodes)])
        self.manifest = self.wait_until(self.read_manifest)
        self.addresses = [node["mqtt"] for node in self.manifest["nodes"]]
        self.tls = "127.0.0.1:" + self.manifest["nodes"][0]["mqtts"].rpartition(":")[2]
        self.pids = [node["pid"] for node in self.manifest["nodes"]]
        self.login = login(self.manifest["broker"])

    def read_manifest(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.data / "dev.json").read_text())
        return None

    def seed(self, text):
        """Creates what `text` (the TOML of `mainstay node seed`) says."""
        file = self.folder / "seed.toml"
        file.write_text(text)
        done = subprocess.run([str(self.program), "node", "seed", "--data", str(self.data), "--file", str(file)],
                              capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"mainstay node seed: {done.stderr.strip()}")

    def leader(self):
        done = subprocess.run([str(self.program), "cluster", "status", "--data", str(self.data), "--json"],
                              capture_output=True, text=True)
        with contextlib.suppress(ValueError):
            return json.loads(done.stdout).get("leader")
        return None


def login(account):
    """mqload's options for the login of a resource of `dev.json`."""
    return ["--user", account["id"], "--password", account["password"]]
