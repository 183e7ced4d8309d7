"""What all rows share: programs, rounds, seconds, the brokers that stay up, and the form of a result.

`run` makes one `Bench`, calls each row with it, and closes it, which ends every broker.
"""
import contextlib
import dataclasses

from .brokers import Mainstay, Mosquitto, Relay
from .load import noise


@dataclasses.dataclass
class Result:
    """One line of a table. `figure` is what the bound is for; None: it could not be measured."""

    row: str
    title: str
    figure: float | None
    bound: float | None
    unit: str = "times"
    lost: int = 0
    noise: tuple = (0.0, 0.0)
    # What else the row says, as text by column or as one remark; and everything, for the JSON file.
    columns: dict = dataclasses.field(default_factory=dict)
    remark: str = ""
    errors: list = dataclasses.field(default_factory=list)
    data: dict = dataclasses.field(default_factory=dict)

    def is_above(self):
        return self.figure is not None and self.bound is not None and self.figure > self.bound


class Bench:
    """The state of one run; brokers that several rows use are started when first asked for."""

    def __init__(self, programs, rounds, secs, patience):
        self.programs, self.rounds, self.secs, self.patience = programs, rounds, secs, patience
        self.stack = contextlib.ExitStack()
        self.kept = {}

    def keep(self, name, make):
        if name not in self.kept:
            self.kept[name] = self.stack.enter_context(make())
        return self.kept[name]

    def drop(self, name):
        """Ends a kept broker, so that rows that follow have the machine alone."""
        if name in self.kept:
            self.kept.pop(name).__exit__(None, None, None)

    @property
    def mosquitto(self):
        return self.keep("mosquitto", Mosquitto)

    @property
    def relay(self):
        return self.keep("relay", lambda: Relay(self.programs))

    @property
    def single(self):
        return self.keep("single", lambda: Mainstay(self.programs))

    @property
    def cluster(self):
        return self.keep("cluster", lambda: Mainstay(self.programs, nodes=3))

    def close(self):
        self.stack.close()


def noise_of(cells):
    """Foreign CPU in cores over all kept runs: median and maximum."""
    values = sorted(noise(result) for cell in cells.values() for result in cell.results)
    return (values[len(values) // 2], values[-1]) if values else (0.0, 0.0)


def faults(cells):
    """Everything that must not be overlooked: errors, repeats, wrong order, connections lost."""
    found = []
    for name, cell in cells.items():
        found += [f"{name}: {error}" for error in sorted(set(cell.errors))]
        for key in ("dup", "out_of_order", "conn_lost", "window_resets"):
            if cell.total(key):
                found.append(f"{name}: {key} {cell.total(key)}")
    return found


def raw(cells):
    """The cells for the JSON file."""
    return {name: {"lost": cell.lost, "attempts": cell.attempts, "errors": cell.errors, "results": cell.results}
            for name, cell in cells.items()}
