"""The message rows: CPU a delivered message of Mainstay beside mosquitto and the bare relay, and within Mainstay.

Rows that compare Mainstay with itself (two nodes against one, registry space against broker space) are here too.
"""
from .bench import Result, faults, noise_of, raw
from .brokers import login
from .load import Target, ratios, rounds

# Row: title, scenario, bound of the ratio Mainstay / mosquitto, seconds in units of --secs.
PEERS = {
    "q0": ("QoS 0, 64 B, 10 pairs, window 64", ["pubsub", "--qos", "0", "--n", "10", "--window", "64"], 0.15, 1),
    "q1": ("QoS 1, 64 B, 10 pairs, window 64", ["pubsub", "--qos", "1", "--n", "10", "--window", "64"], 0.12, 1),
    "q1k": ("QoS 1, 1 KiB, 10 pairs, window 32",
            ["pubsub", "--qos", "1", "--n", "10", "--window", "32", "--size", "1024"], 0.15, 1),
    "q0w1": ("QoS 0, 64 B, 10 pairs, one at a time",
             ["pubsub", "--qos", "0", "--n", "10", "--window", "1"], 1.15, 1),
    "fanout": ("fan-out 1 to 500, QoS 0, window 4",
               ["fanout", "--qos", "0", "--n", "500", "--window", "4"], 0.45, 1),
    "fanin": ("fan-in 500 to 1, QoS 0, window 1", ["fanin", "--qos", "0", "--n", "500", "--window", "1"], 0.8, 1),
    # Few messages a second: twice the time for the same confidence.
    "rate": ("open loop, QoS 1, 10,000/s over 100 pairs",
             ["rate", "--qos", "1", "--n", "100", "--rate", "10000"], 1.15, 2),
}
COST = "broker_us_per_dlv"
QOS1 = PEERS["q1"][1]
# Devices of the row `rights`, one a pair; with the number of the pair their IDs have 20 characters.
DEVICE, REGISTRY, PASSWORD = "arebenchdevice00000", "arebenchregistry0000", "Bench-password-1"


def peers(bench, row):
    """Mainstay against mosquitto, with the relay beside them."""
    title, scenario, bound, times = PEERS[row]
    targets = [Target(broker.name, broker, broker.options())
               for broker in (bench.mosquitto, bench.relay, bench.single)]
    cells = rounds(bench, [*scenario, "--secs", str(bench.secs * times)], targets)
    return result(row, title, cells, "Mainstay", "mosquitto", bound)


def nodes(bench, row):
    """Publishers and subscribers on two nodes of three, against both on one; CPU of all three processes."""
    cluster = bench.cluster
    targets = [Target("one node", cluster, cluster.options(0, 0)), Target("two nodes", cluster, cluster.options(0, 1))]
    cells = rounds(bench, [*QOS1, "--secs", str(bench.secs)], targets)
    found = result(row, "three nodes, QoS 1, window 64: two nodes / one node", cells, "two nodes", "one node", 2.5)
    found.remark += f"; the leader is {cluster.leader()}"
    return found


def rights(bench, row):
    """The same load in a registry space, where every topic is judged, and in a broker space; no bound."""
    single = bench.single
    seed = f'[[registry]]\nid = "{REGISTRY}"\nname = "bench"\npassword = "{PASSWORD}"\n'
    for number in range(10):
        seed += (f'[[registry.device]]\nid = "{DEVICE}{number}"\nname = "bench-{number}"\n'
                 f'password = "{PASSWORD}"\n')
    single.seed(seed)
    as_device = login({"id": DEVICE + "{i}", "password": PASSWORD})
    as_registry = ["--sub-user", REGISTRY, "--sub-password", PASSWORD]
    where = single.options()[:-len(single.login)]
    targets = [
        Target("broker space", single, single.options()),
        Target("registry space", single,
               [*where, *as_device, *as_registry, "--topic", "$devices/" + DEVICE + "{i}/events/{run}"]),
    ]
    cells = rounds(bench, [*QOS1, "--secs", str(bench.secs)], targets)
    return result(row, "QoS 1, window 64: registry space / broker space", cells, "registry space", "broker space", None)


def result(row, title, cells, over, under, bound):
    ratio = ratios(cells, COST, over, under)
    columns, words = {}, []
    for name, cell in cells.items():
        cost, rate, p50 = (cell.median(key) for key in (COST, "dlv_per_s", "lat_p50_us"))
        columns[name] = (cost, rate, p50)
        if cost is not None:
            words.append(f"{name} {cost:.3f} us, {rate:,.0f}/s, p50 {p50:,.0f} us")
    return Result(row, title, ratio and ratio[0], bound, lost=sum(cell.lost for cell in cells.values()),
                  noise=noise_of(cells), columns=columns, remark="; ".join(words), errors=faults(cells),
                  data={"range": ratio and ratio[1:], "cells": raw(cells)})
