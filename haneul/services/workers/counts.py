"""The counts of several processes as one page for Prometheus.

Counters and histograms are added up; of gauges the first page's hold, whose process knows the
engines and the shared numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

ADDED = frozenset({"counter", "histogram", "summary"})


def summed(pages: Iterable[bytes]) -> bytes:
    """One page of all; families in the order in which they come first."""
    heads: dict[str, list[str]] = {}  # of each family
    values: dict[str, dict[str, float | None]] = {}  # of each family, by sample
    for number, page in enumerate(pages):
        name, kind = "", ""
        for line in page.decode().splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                if name not in heads:
                    heads[name], values[name] = [], {}
                if len(heads[name]) < 2:
                    heads[name].append(line)
            elif line.startswith("# TYPE "):
                kind = line.rpartition(" ")[2]
                if len(heads[name]) < 2:
                    heads[name].append(line)
            elif line and (number == 0 or kind in ADDED):
                sample, _, text = line.rpartition(" ")
                value = float(text)
                if sample in values[name]:
                    value += values[name][sample] or 0.0
                values[name][sample] = value
    lines = [
        line
        for name, head in heads.items()
        for line in [*head, *(f"{sample} {value}" for sample, value in values[name].items())]
    ]
    return "".join(f"{line}\n" for line in lines).encode()
