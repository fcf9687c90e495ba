"""How commands print: tables for people, JSON for programs, errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from haneul.base.errors import HaneulError
from haneul.base.visible import visible

LINES = "\n\t"  # control characters that our own messages may hold


def console(*, stderr: bool = False, width: int = 400) -> Console:
    """A console that keeps NO_COLOR, and is plain and `width` columns wide where nobody looks."""
    force = os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0")
    is_watched = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr,
        highlight=False,
        force_terminal=True if force else None,
        width=None if is_watched else width,
    )


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    data = msgspec.json.encode(value, enc_hook=str)
    click.echo(msgspec.json.format(data, indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A plain table; a sentence where there are no rows. A leading '>' aligns right.

    Cells are shown as they are: nothing in them is markup, and control characters are escaped.
    """
    cells = [tuple(Text(visible(str(cell))) for cell in row) for row in rows]
    if not cells:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        is_number = name.startswith(">")
        table.add_column(
            Text(visible(name.removeprefix(">"))),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=not sys.stdout.isatty(),
        )
    for row in cells:
        table.add_row(*row)
    console().print(table)


def fail(error: HaneulError, *, as_json: bool = False) -> None:
    """Says what went wrong on standard error and ends with exit code 1."""
    if as_json:
        click.echo(msgspec.json.encode(error.as_openai()).decode(), err=True)
    else:
        click.echo(f"haneul: {visible(error.message, kept=LINES)}", err=True)
    raise SystemExit(1)
