"""The row of the time from SUBSCRIBE to SUBACK on idle brokers, by a small MQTT 3.1.1 client on a raw socket.

The client speaks what it needs and nothing else: CONNECT, SUBSCRIBE, and their answers.
"""
import random
import socket
import statistics
import time

from .bench import Result
from .machine import Failed

COUNT = 200
AIM_MS = 10
TIMEOUT = 30
# Between two subscribes, so that each meets an idle broker at another moment of its timers.
PAUSE = 0.02


class Client:
    """One connection that subscribes; a context manager."""

    def __init__(self, address, client_id, login):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        words = [client_id, *login]
        flags = 0x02 | (0xC0 if login else 0)
        body = text("MQTT") + bytes([4, flags, 0, 0]) + b"".join(map(text, words))
        self.socket.sendall(packet(0x10, body))
        kind, answer = self.read()
        if kind != 0x20 or answer[1] != 0:
            raise Failed(f"{address}: CONNACK {answer.hex()}")

    def subscribe(self, number, topic):
        """Subscribes and waits for the answer; returns the time in milliseconds."""
        data = packet(0x82, number.to_bytes(2, "big") + text(topic) + b"\x01")
        start = time.perf_counter()
        self.socket.sendall(data)
        kind, answer = self.read()
        taken = time.perf_counter() - start
        if kind != 0x90 or answer != number.to_bytes(2, "big") + b"\x01":
            raise Failed(f"SUBACK {kind:#x} {answer.hex()}")
        return taken * 1e3

    def read(self):
        """One packet; the answers here are shorter than 128 bytes."""
        head = self.exactly(2)
        return head[0], self.exactly(head[1])

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise Failed("the broker closed the connection")
            data += more
        return data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def text(value):
    value = value.encode()
    return len(value).to_bytes(2, "big") + value


def packet(head, body):
    size, length = b"", len(body)
    while True:
        length, part = length >> 7, length & 0x7F
        size += bytes([part | (0x80 if length else 0)])
        if not length:
            return bytes([head]) + size + body


def measure(address, login):
    """Times in ms of filters that are new on the node, then of the same ones by a second client."""
    run = f"suback-{random.getrandbits(48):x}"
    found = []
    with Client(address, run + "-a", login) as first, Client(address, run + "-b", login) as second:
        for client in (first, second):
            times = []
            for number in range(1, COUNT + 1):
                time.sleep(PAUSE * random.uniform(0.5, 1.5))
                times.append(client.subscribe(number, f"{run}/{number}"))
            found.append(sorted(times))
    return found


def suback(bench, row, nodes):
    """SUBACK on one idle node or cluster; every node of it is asked, the slowest median is the figure."""
    broker = bench.single if nodes == 1 else bench.cluster
    broker.settle()
    login = broker.login[1::2]
    words, figure, data = [], 0.0, {}
    for index, address in enumerate(broker.addresses):
        new, known = measure(address, login)
        figure = max(figure, statistics.median(new))
        data[f"n{index}"] = {"new_ms": new, "known_ms": known}
        words.append(f"n{index}: new filter p50 {statistics.median(new):.2f}, p99 {new[int(COUNT * 0.99) - 1]:.2f}; "
                     f"known filter p50 {statistics.median(known):.2f}, p99 {known[int(COUNT * 0.99) - 1]:.2f}")
    if nodes > 1:
        words.append(f"the leader is {broker.leader()}")
    title = "SUBACK p50, idle " + ("single node" if nodes == 1 else f"cluster of {nodes} (slowest node)")
    return Result(row, title, figure, AIM_MS, unit="ms", remark="; ".join(words), data=data)
