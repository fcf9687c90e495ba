"""`haneul models check`: whether files would be taken, and what they hold, before they are."""

from __future__ import annotations

from pathlib import Path

import click

from haneul.base.units import show_bytes
from haneul.cli.command import command, json_option
from haneul.cli.show import print_json, print_table
from haneul.models.check import Checked
from haneul.models.check import check as look


@command("check", example="haneul models check ./downloads/")
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@json_option
def check(paths: tuple[str, ...], as_json: bool) -> None:
    """Reads the headers of GGUF and safetensors files at PATHs; exit code 1 if one is refused."""
    found = [each for path in paths for each in look(Path(path).expanduser())]
    if as_json:
        print_json(found)
    else:
        columns = ("FILE", "FORMAT", ">FILES", ">TENSORS", ">SIZE", "HOLDS")
        print_table(columns, [_row(each) for each in found], empty="No files.")
        for each in found:
            if each.reason:
                click.echo(f"{each.file}: {each.reason}", err=True)
    if any(each.reason for each in found):
        raise SystemExit(1)


def _row(found: Checked) -> tuple[str, ...]:
    size = "-" if found.tensor_bytes is None else show_bytes(found.tensor_bytes)
    count = "-" if found.tensors is None else str(found.tensors)
    says = "refused" if found.reason else found.says
    return (found.file, found.format, str(found.files), count, size, says)
