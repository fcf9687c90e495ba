"""`haneul eval`: how good models are on tasks of one's own, and what a good answer costs."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any

import click
import msgspec

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import CommandError, NotFound
from haneul.base.places import cloud_socket
from haneul.base.units import now_us, show_time
from haneul.cli import local
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.eval_board import print_board, print_cases
from haneul.cli.eval_progress import EvalProgress
from haneul.cli.show import console, print_json, print_table
from haneul.quality import board as boards
from haneul.quality import run as running
from haneul.quality import suite as suites
from haneul.quality.gateway import Gateway
from haneul.quality.run import AT_ONCE_MAX, Begun, Order, Subject
from haneul.quality.suite import Suite
from haneul.store import audit, evals
from haneul.store.audit import Actor
from haneul.store.database import Database

SHARE = click.FloatRange(0, 1)


@command("run", example="haneul eval run arithmetic --models smollm2:135m,qwen2.5-coder:0.5b")
@click.argument("suite")
@click.option("--models", required=True, metavar="A,B", help="Names as requests say them.")
@click.option("--limit", type=click.IntRange(min=1), help="Cases, spread over the suite.")
@click.option(
    "--concurrency",
    "at_once",
    type=click.IntRange(1, AT_ONCE_MAX),
    default=4,
    show_default=True,
    help="Cases asked at a time.",
)
@click.option("--judge", metavar="MODEL", help="Compares answers with the suite's references.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Ask with the key in this file.")
@click.option("--deadline", default=600.0, show_default=True, help="Seconds for one answer.")
@click.option("--fresh", "is_fresh", is_flag=True, help="Ask again what was answered before.")
@json_option
def run(
    suite: str,
    models: str,
    limit: int | None,
    at_once: int,
    judge: str | None,
    key_file: Path | None,
    deadline: float,
    is_fresh: bool,
    as_json: bool,
) -> None:
    """Asks models the cases of a suite through the running cloud, and prints the board.

    SUITE is one that comes with haneul or a folder (docs/concepts/quality.md). Every answer is
    metered like any other. What was answered before is not asked again, so a run that was cut off
    goes on where it was.
    """
    settings = config()
    read = suites.read(suites.find(suite))
    names = [name.strip() for name in models.split(",") if name.strip()]
    local.ask(settings.home, "GET", "/healthz")
    who, began_us = actor(), now_us()
    order = Order(
        suite=read, models=names, limit=limit, at_once=at_once, fresh=is_fresh, actor=who.who
    )
    store = database(settings)

    async def charged(tag: str) -> int | None:
        return await store.ask(functools.partial(evals.charged, since_us=began_us), tag)

    to, key = _where(settings, key_file)
    gateway = Gateway(to, key=key, deadline_s=deadline, charged=charged)
    begun = asyncio.run(_run(order, judge, gateway, store, who, is_quiet=as_json))
    row = store.run(evals.run, begun.id)
    assert row is not None  # it was written at the beginning
    found = store.run(boards.of_run, row)
    if as_json:
        print_json({"run": begun.id, "board": found})
        return
    click.echo(f"run {begun.id}: {read.name} {read.version}, {len(begun.cases)} cases")
    print_board(found)


@command("list", example="haneul eval list --json")
@json_option
def list_(as_json: bool) -> None:
    """Lists the suites that come with haneul, and the newest runs."""
    here = [suites.read(suites.find(name)) for name in suites.shipped()]
    runs = database(config()).run(evals.runs)
    if as_json:
        print_json({"suites": [_facts(each) for each in here], "runs": [*map(_run_facts, runs)]})
        return
    print_table(
        ("SUITE", "VERSION", ">CASES", "LANGUAGE", "LICENCE", "TASK"),
        [
            (
                *(each.name, each.version, str(len(each.cases))),
                *(", ".join(each.language), each.licence, each.task),
            )
            for each in here
        ],
        empty="No suites.",
    )
    click.echo()
    print_table(
        ("RUN", "SUITE", ">CASES", "MODELS", "AT"),
        [
            (
                *(each["id"], each["suite"], str(each["cases"]), ", ".join(each["models"])),
                show_time(each["created_us"]),
            )
            for each in map(_run_facts, runs)
        ],
        empty="No runs yet: haneul eval run SUITE --models NAME",
    )


@command("show", example="haneul eval show arithmetic")
@click.argument("name")
@click.option("--failed", "is_failed", is_flag=True, help="Only cases that some model failed.")
@json_option
def show(name: str, is_failed: bool, as_json: bool) -> None:
    """Shows a suite, or case by case what the models of a run answered."""
    if not name.startswith("evr_"):
        _show_suite(suites.read(suites.find(name)), as_json=as_json)
        return
    store = database(config())
    row = store.run(evals.run, name)
    if row is None:
        raise NotFound(f"there is no run {name}: haneul eval list")
    cases = store.run(boards.cases_of_run, row, is_failed)
    if as_json:
        print_json({"run": _run_facts(row), "cases": cases})
    else:
        print_cases(cases)


@command("board", example="haneul eval board arithmetic --good 0.5")
@click.argument("suite")
@click.option("--good", type=SHARE, help="Good enough: the share of cases that must pass.")
@json_option
def board(suite: str, good: float | None, as_json: bool) -> None:
    """Shows quality, price and time of all models that a suite was run with.

    Good enough is nine tenths of the best model's share, unless --good says otherwise.
    """
    is_folder = (Path(suite) / suites.SETTINGS).is_file()
    name = suites.read(suites.find(suite)).name if is_folder else suite
    found = database(config()).run(boards.of_suite, name)
    if found is None:
        raise NotFound(f"{name} was never run here: haneul eval run {name} --models NAME")
    wanted = boards.good_enough(found.lines) if good is None else good
    choice = boards.cheapest(found.lines, wanted)
    if as_json:
        print_json({"board": found, "cheapest_good_enough": choice})
        return
    print_board(found, choice=choice)


async def _run(
    order: Order,
    judge: str | None,
    gateway: Gateway,
    store: Database,
    who: Actor,
    *,
    is_quiet: bool,
) -> Begun:
    try:
        if judge is not None:
            measured = await running.measured_judge(order.suite, judge, gateway, store)
            order = msgspec.structs.replace(order, judge=measured)
        begun = await store.call(running.begin, order)
        facts = {"models": list(order.models), "cases": len(begun.cases)}
        note = functools.partial(audit.note, after=facts)
        await store.call(note, who, "eval.run", order.suite.name, begun.id)
        total = len(begun.cases) * len(begun.subjects)
        with EvalProgress(console(stderr=True), total, is_quiet=is_quiet) as progress:
            await running.carry_out(begun, gateway, store, progress.report)
        return begun
    finally:
        await gateway.aclose()


def _where(settings: Config, key_file: Path | None) -> tuple[http.Address, str]:
    """Where the cloud is asked, and with which key; as the owner of its home without one."""
    if key_file is None:
        return http.unix(str(cloud_socket(settings.home))), ""
    try:
        key = key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise CommandError(f"{key_file} cannot be read") from cause
    return http.Address(settings.host, settings.port), key


def _show_suite(read: Suite, *, as_json: bool) -> None:
    if as_json:
        print_json({**_facts(read), "checks": read.checks, "cases": read.cases})
        return
    for what, value in _facts(read).items():
        click.echo(f"{what:<14} {value}")
    print_table(
        ("CASE", ">LEVEL", "TEMPLATE", "QUESTION"),
        [(each.id, str(each.level), each.cluster, _short(each.question)) for each in read.cases],
        empty="No cases.",
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def _facts(read: Suite) -> dict[str, Any]:
    return {
        "name": read.name,
        "version": read.version,
        "licence": read.licence,
        "language": ", ".join(read.language),
        "task": read.task,
        "cases": len(read.cases),
        "labelled_pairs": len(read.pairs),
        "digest": read.digest,
    }


def _run_facts(row: evals.RunRow) -> dict[str, Any]:
    subjects = msgspec.json.decode(row.subjects, type=list[Subject])
    return {
        "id": row.id,
        "suite": row.suite,
        "suite_digest": row.suite_id,
        "models": [subject.model for subject in subjects],
        "cases": len(msgspec.json.decode(row.cases)),
        "actor": row.actor,
        "created_us": row.created_us,
    }


eval = click.Group(
    "eval",
    help="How good models are on your tasks, and what a good answer costs.",
    commands=[run, list_, show, board],
)
