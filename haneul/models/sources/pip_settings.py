"""Where this machine's own pip gets packages from: asked of pip, never assumed.

Source of names and formats: pip's documentation, "Configuration" and `pip config list`.
"""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
import sys
from collections.abc import Mapping

from msgspec import Struct

from haneul.base.errors import FetchFailed

PIP_S = 20.0
LEVELS = (":env:", "download", "install", "global")  # the strongest first
DEFAULT_INDEX = re.compile(r"Base URL of the Python Package Index \(default (\S+?)\)")


class PipSettings(Struct, frozen=True):
    """Index URLs (http, https or file), and folders or pages with loose wheels."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...]


async def pip_settings(environ: Mapping[str, str]) -> PipSettings:
    """The settings pip would use here. PIP_INDEX_URL answers at once; else pip is asked.

    Raises FetchFailed when there is neither.
    """
    if environ.get("PIP_INDEX_URL"):
        named = {key: value for key, value in environ.items() if key.startswith("PIP_")}
        return _settings({_environ_name(key): value for key, value in named.items()}, "")
    listing, described = await asyncio.gather(
        _pip(environ, "config", "list"), _pip(environ, "download", "--help")
    )
    default = DEFAULT_INDEX.search(" ".join(described.split()))
    values = dict(_pair(line) for line in listing.splitlines() if "=" in line)
    return _settings(values, default[1] if default else "")


def _environ_name(key: str) -> str:
    return ":env:." + key.removeprefix("PIP_").lower().replace("_", "-")


def _settings(values: Mapping[str, str], default_index: str) -> PipSettings:
    is_closed = _value(values, "no-index").lower() in ("1", "true", "yes", "on")
    index = _value(values, "index-url") or default_index
    indexes = f"{index} {_value(values, 'extra-index-url')}".split()
    return PipSettings(
        () if is_closed else tuple(indexes), tuple(_value(values, "find-links").split())
    )


def _value(values: Mapping[str, str], name: str) -> str:
    return next((values[key] for level in LEVELS if (key := f"{level}.{name}") in values), "")


def _pair(line: str) -> tuple[str, str]:
    """One line of `pip config list`: a dotted name, =, and a Python string."""
    name, _, shown = line.partition("=")
    try:
        return name, str(ast.literal_eval(shown))
    except (ValueError, SyntaxError):
        return name, ""


async def _pip(environ: Mapping[str, str], *arguments: str) -> str:
    """What pip prints. -I keeps a pip.py in the working folder from being run in its place."""
    found = shutil.which("pip", path=environ.get("PATH"))
    commands = [[sys.executable, "-I", "-m", "pip"], *([[found]] if found else [])]
    for command in commands:
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            "--disable-pip-version-check",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**environ, "COLUMNS": "400"},
        )
        try:
            async with asyncio.timeout(PIP_S):
                output, _ = await process.communicate()
        except TimeoutError as cause:
            raise FetchFailed(f"pip did not answer within {PIP_S:g} s.") from cause
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return output.decode(errors="replace")
    raise FetchFailed("No pip answers on this machine; set PIP_INDEX_URL to a package index.")
