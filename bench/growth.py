"""Whether the gateway grows: `python -m bench.growth [--requests 1000000]`.

Whole answers, streams, and clients that hang up at the first bytes, a tenth of all; between two
rounds the gateway's memory is read: proportional set size, and what of it is the process's own. The
first tenth is left for caches to fill.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import client, cloud, isolated, machine, processes
from bench.gate import serving
from bench.upstream import MODEL

ROUND_S = 4.0
HUNG_UP = 1 / 10
CONNECTIONS = 64


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hn-") as scratch, ExitStack() as stack:
        mock_pid, mock_port = stack.enter_context(cloud.upstream())
        process, target = stack.enter_context(serving(Path(scratch) / "home", mock_port))
        processes.pin([mock_pid], isolated.cores().others)
        processes.pin([process.pid], isolated.cores().gateway)
        asked, next_look, began = 0, options.requests / 10, time.monotonic()
        print(f"{'REQUESTS':>10}  {'PSS MB':>7}  {'OWN MB':>7}")
        while asked < options.requests:
            asked += _round(target)
            if asked >= next_look:
                time.sleep(1)  # for the ledger to be written
                pss, own = processes.memory_bytes([process.pid]), _own_bytes(process.pid)
                print(f"{asked:10,}  {pss / 1e6:7.1f}  {own / 1e6:7.1f}", flush=True)
                next_look += options.requests / 10
    print(f"{machine.line(machine.facts())}; took {time.monotonic() - began:.0f} s")


def _round(target: dict[str, Any]) -> int:
    """Some seconds of whole answers, then of streams, then hang-ups; gives how many requests."""
    common = {"cores": sorted(isolated.cores().others), "connections": CONNECTIONS}
    asked = 0
    for is_stream, seconds in ((False, ROUND_S), (True, ROUND_S / 4)):
        to = {**target, "body": cloud.chat(f"mock/{MODEL}", stream=is_stream)}
        done = client.run({**common, "work": "saturate", "target": to, "seconds": seconds})
        asked += done["requests"]
    count = round(asked * HUNG_UP)
    client.run({**common, "work": "hang_up", "target": to, "requests": count})
    return asked + count


def _own_bytes(pid: int) -> int:
    """Memory that is no file's: a mapped file's pages are the kernel's to take back."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
