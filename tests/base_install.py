"""Prints how many packages the base install has and how large they are; fails beyond the bounds.

Counted from the lock file, so that a development environment can tell too.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

PACKAGES_MAX = 40
BYTES_MAX = 450_000_000
LOCK = Path(__file__).parent.parent / "requirements.lock"


def main() -> None:
    """One line a package, largest first, then the sums."""
    names = re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text(), re.MULTILINE)
    sizes = {name: size_of(name) for name in names}
    total = sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda pair: -pair[1])[:6]
    print("  ".join(f"{name} {size / 1e6:.1f} MB" for name, size in largest), "…")
    print(
        f"base install: {len(names)} packages (bound {PACKAGES_MAX}), {total / 1e6:.0f} MB "
        f"(bound {BYTES_MAX / 1e6:.0f} MB, without weights)"
    )
    if "torch" in names or len(names) >= PACKAGES_MAX or total >= BYTES_MAX:
        sys.exit("the base install has grown beyond its bounds")


def size_of(name: str) -> int:
    """Bytes of the installed files of a package."""
    files = distribution(name).files or []
    return sum(path.stat().st_size for file in files if (path := Path(file.locate())).is_file())


if __name__ == "__main__":
    main()
