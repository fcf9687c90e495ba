"""Whether a long history makes requests slower: `python -m bench.rows [--rows 10000000]`.

Two clouds before the same mock, one with an empty ledger, one with so many rows of the last ninety
days, are asked in turn, one request at a time. Ten million rows take some minutes and 6 GB of disk.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import client, cloud, isolated, machine
from bench.gate import serving
from bench.upstream import MODEL

DAYS_90_US = 90 * 86_400_000_000
FILL = """
INSERT INTO request ({columns})
WITH RECURSIVE number(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM number WHERE i + 1 < {rows})
SELECT {values} FROM number, (SELECT * FROM request LIMIT 1)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hn-") as scratch, ExitStack() as stack:
        _, mock_port = stack.enter_context(cloud.upstream())
        empty, full = Path(scratch) / "empty", Path(scratch) / "full"
        with serving(full, mock_port) as (_, target):
            _ask({"one": target}, 1)
            time.sleep(1)  # for its row to be committed
        took_s = _fill(full / "haneul.db", options.rows)
        size = (full / "haneul.db").stat().st_size
        targets = {
            name: stack.enter_context(serving(home, mock_port))[1]
            for name, home in (("empty", empty), ("full", full))
        }
        found = _ask(targets, options.rounds)
    print(machine.line(machine.facts()))
    print(f"{options.rows:,} rows, {size / 1e9:.1f} GB, written in {took_s:.0f} s")
    p50 = {}
    for name, one in found.items():
        times = sorted(one["total_s"])
        p50[name] = statistics.median(times)
        p99 = times[int(0.99 * len(times))]
        print(f"{name:6} p50 {p50[name] * 1e3:.3f} ms  p99 {p99 * 1e3:.3f} ms")
    print(f"p50 with the rows over p50 without: {p50['full'] / p50['empty']:.3f}")


def _ask(targets: dict[str, dict[str, object]], rounds: int) -> dict[str, dict[str, list[float]]]:
    body = cloud.chat(f"mock/{MODEL}")
    found: dict[str, dict[str, list[float]]] = client.run(
        {
            "work": "alternate",
            "cores": sorted(isolated.cores().others),
            "targets": {name: {**to, "body": body} for name, to in targets.items()},
            "rounds": rounds,
            "warm_up": 100,
            "interval_s": 0.0,
        }
    )
    return found


def _fill(path: Path, rows: int) -> float:
    """Copies the one row there is, spread over ninety days; gives the seconds it took."""
    began = time.monotonic()
    database = sqlite3.connect(path)
    columns = [row[1] for row in database.execute("PRAGMA table_info(request)")]
    step_us = max(1, DAYS_90_US // rows)
    values = [
        "printf('req_%022d', i)"
        if column == "id"
        else f"{column} - ({rows} - i) * {step_us}"
        if column in ("received_us", "started_us", "first_token_us", "finished_us")
        else column
        for column in columns
    ]
    statement = FILL.format(columns=", ".join(columns), values=", ".join(values), rows=rows)
    database.execute("PRAGMA synchronous = OFF")
    database.execute(statement)
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
