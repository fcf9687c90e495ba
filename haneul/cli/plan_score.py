"""`haneul plan backtest` and `haneul plan calibrate`: how good the planner is, and making it so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from haneul.base.errors import BrokenFile, CommandError
from haneul.chips.plan.backtest import Report, Table
from haneul.chips.plan.backtest import backtest as score_rows
from haneul.chips.plan.calibrating import calibrate as learn
from haneul.chips.plan.calibration import load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.rows import Row, Unread, published, read_rows
from haneul.cli.command import command, json_option
from haneul.cli.plan_here import backtest_here, calibrate_here
from haneul.cli.show import print_json, print_table

FILE_BYTES_MOST = 64_000_000
SHOWN_REFUSALS = 20
FITTED_TIER = "A"  # what the calibration that ships with haneul was fitted to
rows_option = click.option(
    "--rows",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV in the format of measured.csv; without it the published rows.",
)
tier_option = click.option(
    "--tier", default="A", show_default=True, help="Rows of this tier; 'all' for every row."
)
here_option = click.option(
    "--here", "is_here", is_flag=True, help="This installation: its own forecasts and engines."
)


@command("backtest", example="haneul plan backtest --here")
@rows_option
@tier_option
@here_option
@json_option
def backtest(file: Path | None, tier: str, is_here: bool, as_json: bool) -> None:
    """Scores the planner on measurements it has not seen.

    Published rows are forecast without their (chip, model) group; rows of a file without any of
    the file. With --here, what was foretold of each engine when it started stands beside what it
    then did.
    """
    if is_here:
        _only_here(file)
        backtest_here(as_json=as_json)
        return
    rows, unread = _read(file, tier)
    known, _ = _read(None, FITTED_TIER)
    report = score_rows(rows, unread, load_calibration(), known=known)
    if as_json:
        print_json(report)
        return
    _show(report)


@command("calibrate", example="haneul plan calibrate --here")
@rows_option
@tier_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Where the calibration is written.",
)
@here_option
@click.option("--measure", is_flag=True, help="With --here: first measure models that were not.")
@click.option("--busy", is_flag=True, help="With --measure: beside other work, as slow as it is.")
@json_option
def calibrate(
    file: Path | None,
    tier: str,
    out: Path | None,
    is_here: bool,
    measure: bool,
    busy: bool,
    as_json: bool,
) -> None:
    """Fits the planner's efficiencies and corrections to measurements.

    With --here, what was measured on this machine corrects its forecasts from then on, as far as
    that does better on models it was not fitted to.
    """
    if (measure and not is_here) or (busy and not measure):
        raise CommandError("--measure goes with --here, and --busy with --measure")
    if is_here:
        _only_here(file, out)
        calibrate_here(measures=measure, is_busy=busy, as_json=as_json)
        return
    if out is None:
        raise CommandError("say where the calibration goes with --out FILE, or use --here")
    rows, unread = _read(file, tier)
    found = learn(rows, dated=datetime.now(UTC).date().isoformat())
    out.write_bytes(msgspec.json.encode(found))
    if as_json:
        print_json({"rows": found.rows, "unread": len(unread), "efficiency": found.efficiency})
        return
    click.echo(f"{found.rows} rows fitted, {len(unread)} not read: {out}")
    for name, value in msgspec.structs.asdict(found.efficiency).items():
        click.echo(f"  {name:<18} {value:.3g}")


def _only_here(*files: Path | None) -> None:
    if any(files):
        raise CommandError("--here is of this installation: leave out --rows and --out")


def _read(file: Path | None, tier: str) -> tuple[list[Row], list[Unread]]:
    if file is not None and file.stat().st_size > FILE_BYTES_MOST:
        raise BrokenFile(f"{file.name} is larger than {FILE_BYTES_MOST // 1_000_000} MB.")
    try:
        text = published() if file is None else file.read_text("utf-8")
    except UnicodeDecodeError as cause:
        raise BrokenFile(f"{file} is no UTF-8 text.") from cause
    rows, unread = read_rows(text, load_chips(), load_models())
    if tier == "all":
        return rows, unread
    wanted = tier.upper()
    return (
        [row for row in rows if row.tier == wanted],
        [each for each in unread if each.tier == wanted],
    )


def _show(report: Report) -> None:
    for title, tables in (
        ("ALL ROWS", (report.whole,)),
        ("CHIP", report.by_chip),
        ("CHIP NEVER SEEN", report.unseen_chips),
        ("MODEL", report.by_model),
        ("KIND", report.by_kind),
    ):
        columns = (title, ">ROWS", ">MEDIAN", ">P90", ">IN 20 %", ">IN 2X", ">TTFT", ">COVERED")
        print_table(columns, [_line(each) for each in tables], empty="No rows.")
        click.echo()
    click.echo(f"Chips in the right order: {report.pairs_right} of {report.pairs} pairs.")
    click.echo(f"Answered: {report.answered:.1%} of the rows. The interval is meant for 80 %.")
    told = [(each.id, each.reason) for each in report.refused]
    told += [(each.id, each.reason) for each in report.unread]
    for ident, reason in told[:SHOWN_REFUSALS]:
        click.echo(f"  refused {ident}: {reason}")


def _line(each: Table) -> tuple[str, ...]:
    shares = (each.median, each.p90, each.within_20, each.within_2x, each.ttft_median, each.covered)
    return (each.name, str(each.rows), *("-" if one is None else f"{one:.1%}" for one in shares))
