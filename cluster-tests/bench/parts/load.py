"""Runs mqload: one scenario against one target, or against several in alternating rounds.

Used by the rows. A run during which other programs took much CPU is repeated and the quietest attempt kept; what
was lost is counted in every attempt, kept or not.
"""
import dataclasses
import json
import statistics
import subprocess
import time

from .machine import say

PAUSE = 0.3
# Longer than any scenario with its logins.
RUN_SECONDS = 400


class Target:
    """Whom a scenario is run against: a name for the table, the broker, mqload's options for it."""

    def __init__(self, name, broker, options):
        self.name, self.broker, self.options = name, broker, options


class Cell:
    """The kept results of one target in one row."""

    def __init__(self):
        self.results, self.lost, self.errors, self.attempts = [], 0, [], 0

    def values(self, key):
        return [r[key] for r in self.results if isinstance(r.get(key), (int, float))]

    def median(self, key):
        values = self.values(key)
        return statistics.median(values) if values else None

    def total(self, key):
        return sum(self.values(key))


def run_once(mqload, scenario, options):
    """One run; returns (result, None) or (None, what went wrong)."""
    try:
        done = subprocess.run([str(mqload), scenario[0], *options, *scenario[1:]], capture_output=True, text=True,
                              timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"no end within {RUN_SECONDS} s"
    try:
        return json.loads(done.stdout), None
    except ValueError:
        return None, done.stderr.strip() or f"status {done.returncode}"


def noise(result):
    """Cores used by others, the worst of the run's steps."""
    steps = [step.get("probe_other_cores", 0) for step in result.get("steps", [])]
    return max([result.get("other_cores", 0), *steps])


def losses(result):
    """Messages lost, in all steps."""
    return result.get("lost", 0) + max([step.get("probe_lost", 0) for step in result.get("steps", [])], default=0)


@dataclasses.dataclass
class Patience:
    """When a run is repeated: if others used more than `max_other` cores, at most `retries` times."""

    max_other: float = 0.4
    retries: int = 2


ONCE = Patience(retries=0)


def run_quiet(mqload, scenario, target, cell, patience):
    """One run of a round, repeated while the machine is noisy; adds it to the cell."""
    best = None
    for _ in range(patience.retries + 1):
        target.broker.settle()
        result, error = run_once(mqload, scenario, target.options)
        cell.attempts += 1
        if error:
            cell.errors.append(error)
            if not target.broker.is_up():
                break
            continue
        cell.lost += losses(result)
        if best is None or noise(result) < noise(best):
            best = result
        if noise(best) <= patience.max_other:
            break
        time.sleep(PAUSE)
    if best is not None:
        cell.results.append(best)
    else:
        say(f"  {target.name}: {cell.errors[-1]}")


def rounds(bench, scenario, targets):
    """The bench's rounds, every second one in reverse order; returns the cells by the targets' names."""
    cells = {target.name: Cell() for target in targets}
    for number in range(bench.rounds):
        for target in targets if number % 2 == 0 else targets[::-1]:
            if target.broker.is_up():
                run_quiet(bench.programs["mqload"], scenario, target, cells[target.name], bench.patience)
            else:
                cells[target.name].errors.append("the broker is down")
            time.sleep(PAUSE)
    return cells


def ratios(cells, key, over, under):
    """The ratio of the medians, and the least and the greatest of the rounds' own ratios."""
    a, b = cells[over].values(key), cells[under].values(key)
    if not a or not b or not min(b):
        return None
    each = [x / y for x, y in zip(a, b)]
    return statistics.median(a) / statistics.median(b), min(each), max(each)
