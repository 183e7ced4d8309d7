"""The table of values in the chart's README, made from the "# --" comments of values.yaml.

Run with --write to renew it; the chart's tests only compare. It never reads templates or the schema.
"""

import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).parents[2] / "helm" / "mainstay"
BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"


def documented() -> list[tuple[str, str]]:
    """(dotted path, text) of every value with a "# --" line right above it, in the file's order."""
    rows, above, path = [], None, []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if match := re.match(r" *# -- (.*)", line):
            above = match[1]
        elif match := re.match(r"( *)(\w+):", line):
            path = path[: len(match[1]) // 2] + [match[2]]
            if above:
                rows.append((".".join(path), above))
            above = None
    return rows


def undocumented() -> list[str]:
    """Values that neither have a text nor lie below one that has."""
    known = {path for path, _ in documented()}

    def walk(node, path):
        if path in known:
            return
        if isinstance(node, dict) and node:
            for key, child in node.items():
                yield from walk(child, f"{path}.{key}" if path else key)
        else:
            yield path

    return list(walk(yaml.safe_load((CHART / "values.yaml").read_text()), ""))


def expected_readme() -> str:
    """README.md with the table as it must be."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    table = "| value | default | what it is |\n| --- | --- | --- |\n"
    for path, text in documented():
        default = values
        for key in path.split("."):
            default = default[key]
        shown = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
        table += f"| `{path}` | `{shown}` | {text} |\n"
    before, rest = (CHART / "README.md").read_text().split(BEGIN)
    return before + BEGIN + table + END + rest.split(END)[1]


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    (CHART / "README.md").write_text(expected_readme())
