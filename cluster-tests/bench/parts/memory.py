"""The rows of resident memory an idle connection, plain and TLS: fresh brokers, one connect run each."""
from .bench import Result, faults, noise_of, raw
from .brokers import Mainstay, Mosquitto
from .load import ONCE, Cell, Target, run_quiet

# Row: title, connections, TLS, bound in bytes.
IDLE = {
    "idle": ("RSS an idle connection, plain, 9,000", 9_000, False, 2048),
    "idle-tls": ("RSS an idle connection, TLS, 1,000", 1_000, True, 10_240),
}
CONNECT = ["connect", "--hold", "3", "--timeout", "240", "--concurrency", "64"]


def idle(bench, row):
    """The difference of RSS before the first and after the last client, on a fresh broker each."""
    title, count, tls, bound = IDLE[row]
    # The brokers of the other rows would only take part of the two cores.
    for name in ("mosquitto", "relay", "single", "cluster"):
        bench.drop(name)
    scenario = [*CONNECT, "--n", str(count), *(["--tls"] if tls else [])]
    cells = {}
    for make in (Mosquitto, lambda: Mainstay(bench.programs)):
        with make() as broker:
            cell = cells[broker.name] = Cell()
            if tls and not broker.tls:
                cell.errors.append("no certificate for it (openssl is missing)")
                continue
            broker.settle()
            if tls:
                broker.addresses = [broker.tls]
            # Memory is not noisy, and a second attempt would meet memory that the broker kept.
            run_quiet(bench.programs["mqload"], scenario, Target(broker.name, broker, broker.options()), cell, ONCE)
    errors = faults(cells)
    for name, cell in cells.items():
        alive = cell.median("alive_after_hold")
        if alive is not None and alive != count:
            errors.append(f"{name}: {count - alive:.0f} of {count} connections are missing")
    words = []
    for name, cell in cells.items():
        if cell.results:
            words.append(f"{name} {cell.median('rss_per_conn_b'):,.0f} B, {cell.median('conns_per_s'):,.0f} logins/s, "
                         f"{cell.median('broker_us_per_conn'):,.0f} us each, start {cell.median('rss_start_mb'):.1f} MB, "
                         f"idle {cell.median('idle_cores'):.3f} cores")
    return Result(row, title, cells["Mainstay"].median("rss_per_conn_b"), bound, unit="B", noise=noise_of(cells),
                  remark="; ".join(words), errors=errors, data={"cells": raw(cells)})
