"""What the owner of this installation says of machines and money."""

from __future__ import annotations

from pathlib import Path

from haneul.base.config import Config
from haneul.chips.fleet import Fleet, load


def house_fleet(config: Config) -> Fleet:
    """The fleet file of this installation, or what is assumed without one."""
    own = config.home / "fleet.toml"
    named = Path(config.fleet).expanduser() if config.fleet else own if own.exists() else None
    return load(named)
