"""Prints the results: two Markdown tables, then what is above its bound, what was lost, and what went wrong."""


def number(value, digits=3):
    return "-" if value is None else f"{value:,.{digits}f}"


def digits(result):
    return {"B": 0, "ms": 2}.get(result.unit, 3)


def peers_table(results):
    """Mainstay beside mosquitto and the relay."""
    names = ("mosquitto", "relay", "Mainstay")
    print("\nCPU us a delivered message, medians; messages a second and p50 latency beside it; noise is CPU used by "
          "other programs during the kept runs, in cores, median and most\n")
    print("| row | " + " | ".join(f"{name} us" for name in names)
          + " | Mainstay / mosquitto (range) | bound | lost | " + " | ".join(f"{name} msg/s, p50 us" for name in names)
          + " | noise |")
    print("|---|" + "---:|" * 10)
    for r in results:
        costs = [r.columns.get(name, (None,) * 3) for name in names]
        low, high = r.data["range"] or (None, None)
        mark = " **above**" if r.is_above() else ""
        print(f"| {r.title} | " + " | ".join(number(c[0]) for c in costs)
              + f" | {number(r.figure)} ({number(low)} to {number(high)}){mark} | {r.bound} | {r.lost} | "
              + " | ".join(f"{number(c[1], 0)}, {number(c[2], 0)}" for c in costs)
              + f" | {r.noise[0]:.2f}, {r.noise[1]:.2f} |")


def others_table(results):
    """Everything with one figure."""
    print("\n| row | figure | bound | lost | noise | beside it |\n|---|---:|---:|---:|---:|---|")
    for r in results:
        mark = " **above**" if r.is_above() else ""
        bound = "-" if r.bound is None else f"{r.bound:,}"
        print(f"| {r.title} | {number(r.figure, digits(r))} {r.unit}{mark} | {bound} | {r.lost} | "
              f"{r.noise[0]:.2f}, {r.noise[1]:.2f} | {r.remark} |")


def summary(results):
    """The words after the tables."""
    print()
    for r in results:
        if r.lost:
            print(f"!!! LOST {r.lost} messages: {r.row} ({r.title}): "
                  + ", ".join(f"{name} {cell['lost']}" for name, cell in r.data.get("cells", {}).items()))
    for r in results:
        for error in r.errors:
            print(f"! {r.row}: {error}")
    above = [r for r in results if r.is_above()]
    for r in above:
        print(f"above its bound: {r.row} ({r.title}): {number(r.figure, digits(r))} {r.unit}, bound {r.bound:,}")
    missing = [r.row for r in results if r.figure is None]
    if missing:
        print("not measured: " + " ".join(missing))
    bounded = [r for r in results if r.bound is not None and r.figure is not None]
    print(f"{len(bounded) - len(above)} of {len(bounded)} figures are within their bounds")
