"""`haneul chips matrix`: what models did on chips, here and where others measured and signed."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from haneul.base import places
from haneul.base.config import Config
from haneul.base.errors import CommandError
from haneul.base.units import show_time
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.piped import PIPE, reading, writing
from haneul.cli.show import print_json, print_table
from haneul.models.bundle import keys
from haneul.services.matrix import sheet
from haneul.services.matrix.own import rows_here
from haneul.services.matrix.row import Entry, MatrixRow, memory, price
from haneul.services.matrix.taken import entries, take
from haneul.services.planning.house import house_fleet

PRICES = {"currency": None, "input_nano": None, "output_nano": None}
COLUMNS = (
    *("MODEL", "FORMAT", "CHIP", "ENGINE", ">DECODE", ">TOGETHER", ">PREFILL", ">TTFT", ">MEMORY"),
    *(">IN / OUT A MILLION", ">N", "LAST", "MEASURED"),
)


@command("matrix", example="haneul chips matrix --model qwen3:0.6b")
@click.option("--model", help="Of this model alone.")
@click.option("--chip", help="On this chip alone, by its identifier.")
@json_option
def show(model: str | None, chip: str | None, as_json: bool) -> None:
    """Shows what each model file did on each chip, with its engine and format; speeds in tok/s.

    It fills itself from probes, tunings and requests of this installation. Rows that others signed
    stand below, with whose they are; they never count as measured here.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    found = [
        each
        for each in known(config())
        if model in (None, each.row.model) and chip in (None, each.row.chip)
    ]
    if as_json:
        print_json(found)
        return
    empty = "Nothing was measured yet: haneul up, or haneul tune engine"
    print_table(COLUMNS, [_shown(each) for each in found], empty=empty)


@command("export", example="haneul chips matrix export here.matrix")
@click.argument("file")
@click.option("--no-prices", "has_no_prices", is_flag=True, help="Without what tokens cost here.")
@click.option("--force", "is_forced", is_flag=True, help="Replaces a file of that name.")
@json_option
def export(file: str, has_no_prices: bool, is_forced: bool, as_json: bool) -> None:
    """Writes the rows that were measured here into FILE (- is standard output), each signed.

    The key is the one that signs bundles: haneul bundle key shows it to whom shall trust it.
    """
    settings = config()
    rows = _own(settings)
    if has_no_prices:
        rows = [replace(row, **PRICES) for row in rows]
    if not rows:
        raise CommandError("Nothing was measured here yet: haneul up, or haneul tune engine.")
    key = keys.own_key(places.keys(settings.home))
    with writing(file, is_forced=is_forced) as out:
        count = sheet.write(rows, key, out)
    if as_json and file != PIPE:
        print_json({"file": file, "rows": count, "signer": keys.public(key)})
    else:
        click.echo(f"{file}: {count} rows, signed by {keys.public(key)}", err=file == PIPE)


@command("import", example="haneul chips matrix import site-b.matrix")
@click.argument("file")
@json_option
def take_in(file: str, as_json: bool) -> None:
    """Takes the rows of FILE (- is standard input) that somebody signed whom this home trusts.

    All of them or none: one changed row, or a signer nobody trusts here (haneul bundle trust),
    refuses the file. Rows that are here already, and this home's own, change nothing.
    """
    settings = config()
    folder = places.keys(settings.home)
    own = _public(folder)
    with reading(file) as source:
        signed = list(sheet.read(source))
    taken = database(settings).run(
        lambda connection: take(
            connection,
            signed,
            own=own or "",
            trusted=keys.trusted(folder),
            actor=actor(),
            source=Path(file).name,
        )
    )
    if as_json:
        print_json(taken)
        return
    names = {each.key: each.name for each in keys.trusted(folder)}
    for signer, count in taken.signers.items():
        click.echo(f"{count} rows of {names[signer]} were added.")
    click.echo(f"{taken.known} were here before, {taken.own} are this home's own.")


def known(settings: Config, *, with_requests: bool = True) -> list[Entry]:
    """The matrix of this home; [] where there is no home yet."""
    if not settings.home.exists():
        return []
    folder = places.keys(settings.home)
    fleet, own, trusted = house_fleet(settings), _public(folder), keys.trusted(folder)
    return database(settings).run(
        lambda connection: entries(
            connection, fleet, own=own, trusted=trusted, with_requests=with_requests
        )
    )


def _own(settings: Config) -> list[MatrixRow]:
    if not settings.home.exists():
        return []
    return database(settings).run(rows_here, house_fleet(settings))


def _public(folder: Path) -> str | None:
    """This home's public key; None while it has none: it is made when it is first needed."""
    if not (folder / keys.OWN).exists():
        return None
    return keys.public(keys.own_key(folder))


def _shown(entry: Entry) -> tuple[str, ...]:
    row = entry.row
    engine = f"{row.engine_version or row.engine}{f' ({row.setup})' if row.setup else ''}"
    together = _speed(row.capacity)
    return (
        row.model,
        row.quantisation,
        row.chip if row.chips == 1 else f"{row.chips} x {row.chip}",
        engine,
        _speed(row.decode),
        f"{together} of {row.streams}" if row.capacity and row.streams else together,
        _speed(row.prefill),
        "unknown" if row.ttft_s is None else f"{row.ttft_s * 1e3:,.0f} ms",
        memory(row),
        price(row),
        str(row.count),
        show_time(row.last_us),
        f"{row.source}, {entry.signer_name}" if entry.signer else f"{row.source}, here",
    )


def _speed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.3g}"


matrix = click.Group(
    "matrix",
    help=show.help,
    callback=show.callback,
    params=show.params,
    invoke_without_command=True,
    commands=[export, take_in],
)
