"""The row of the cost of a publish at 100,000 filters against 1,000, window 64, mosquitto beside it."""
import statistics

from .bench import Result, faults, noise_of, raw
from .load import Target, rounds

SCENARIO = ["subscribe", "--n", "100", "--steps", "1000,100000", "--per-packet", "10", "--probe-window", "64",
            "--timeout", "120"]
BOUND = 1.5


def filters(bench, row):
    """Each run subscribes 1,000 filters, probes, subscribes up to 100,000, probes again."""
    targets = [Target(broker.name, broker, broker.options()) for broker in (bench.mosquitto, bench.single)]
    cells = rounds(bench, [*SCENARIO, "--probe-secs", str(bench.secs)], targets)
    words, figure, lost, errors = [], None, sum(cell.lost for cell in cells.values()), faults(cells)
    for name, cell in cells.items():
        pairs = [r["steps"] for r in cell.results if len(r["steps"]) == 2 and "probe_us_per_msg" in r["steps"][1]]
        errors += [f"{name}: {r['stopped']}" for r in cell.results if "stopped" in r]
        errors += [f"{name}: {step['failed']} filters refused" for pair in pairs for step in pair if step["failed"]]
        if not pairs:
            continue
        few, many = (statistics.median(pair[i]["probe_us_per_msg"] for pair in pairs) for i in (0, 1))
        rate = statistics.median(pair[1]["subs_per_s"] for pair in pairs)
        each = statistics.median(pair[1]["rss_per_filter_b"] for pair in pairs)
        ratio = many / few if few else None
        words.append(f"{name} {few:.2f} and {many:.2f} us, {rate:,.0f} filters/s, {each:,.0f} B a filter"
                     + (f", ratio {ratio:.2f}" if ratio and name != "Mainstay" else ""))
        if name == "Mainstay":
            figure = ratio
    return Result(row, "cost of a publish, 100,000 filters / 1,000, window 64", figure, BOUND, lost=lost,
                  noise=noise_of(cells), remark="; ".join(words), errors=errors, data={"cells": raw(cells)})
