"""`haneul up`: the cloud in this terminal, and its first screen."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from haneul.base import places
from haneul.base.config import Config
from haneul.base.garbage import begin, settle
from haneul.base.log import open_log
from haneul.base.units import parse_money
from haneul.cli import screen
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.progress import PullProgress
from haneul.cli.show import console, print_json
from haneul.cloud import Cloud
from haneul.models import catalogue
from haneul.services import keys as keys_service
from haneul.services.keys import Made, Terms, read_pepper
from haneul.services.targets import Target
from haneul.store import keys as key_queries
from haneul.store import models as model_queries

FIRST_KEY = "first"
QUESTION = "In one sentence: why is the sky blue?"
QUESTION_TOKENS = 96
ASK_ABOVE_BYTES = 2_000_000_000


@command("up", example="haneul up --port 8420 --model smollm2:135m --no-input")
@click.option("--host", help="Address to listen on; 127.0.0.1 unless you say so.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0: any.")
@click.option("--model", help="Served from the start: a name, a reference or a GGUF file.")
@click.option("--slots", type=click.IntRange(1, 64), help="Sequences decoded at a time.")
@click.option("--context", "context_tokens", type=click.IntRange(0), help="Tokens per sequence.")
@click.option("--threads", type=click.IntRange(0), help="Threads of the engine; 0: all cores.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that answer on the port.")
@click.option("--no-input", is_flag=True, help="Never ask anything.")
@json_option
def up(no_input: bool, as_json: bool, **flags: Any) -> None:
    """Starts the cloud here: gateway, engine, page. Ctrl-C stops all of it."""
    settings = config(**flags)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs = places.logs(settings.home)
    logs.mkdir(exist_ok=True)
    open_log(logs / "cloud.log", settings.log_level)
    if not no_input and sys.stdin.isatty():
        _confirm_large(settings)
    _check_fits(settings)
    out = Console(quiet=True) if as_json else console(width=100)
    begin()
    uvloop.run(_run(settings, out, as_json=as_json))


def _check_fits(settings: Config) -> None:
    """Refuses what is known not to fit before a byte of it comes; what is here starts anyway."""
    if database(settings).run(model_queries.get, settings.model) is not None:
        return
    # Loaded here: what speaks https takes 12 MB, which a start without a pull does not need.
    from haneul.cli.preview import check_fits

    check_fits(settings.model, settings)


def _confirm_large(settings: Config) -> None:
    """Asks before a download that takes a while."""
    entry = catalogue.find(settings.model)
    if entry is None or entry.size.mid < ASK_ABOVE_BYTES:
        return
    if not click.confirm(f"{entry.name} is {screen.span(entry.size)}. Pull it if it is not here?"):
        raise SystemExit(1)


async def _run(settings: Config, out: Console, *, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    began = time.monotonic()
    async with Cloud(settings) as cloud:
        settle()
        screen.greeting(out, cloud)
        start = asyncio.create_task(_start(cloud, out, began, as_json=as_json))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            start.cancel()
        await asyncio.gather(start, return_exceptions=stop.is_set())
        await stopped
        out.print("\n[dim]Stopping: running answers may end, engines stop.[/]")
    out.print("[dim]Stopped.[/]")


async def _start(cloud: Cloud, out: Console, began: float, *, as_json: bool) -> None:
    """From an open port to a first answer."""
    with PullProgress(out) as progress:
        target = await cloud.serve(cloud.config.model, progress.report)
    said = cloud.appraiser.forecast(cloud.shape(target)).decode
    known, when = await cloud.appraiser.speeds(target)
    screen.engine(out, target, known, said=said if when != "before" else None, when=when)
    made = await _first_key(cloud)
    screen.addresses(out, cloud, made, time.monotonic() - began)
    if as_json:
        print_json(_facts(cloud, target, made))
        sys.stdout.flush()
    if made is not None:
        await screen.first_answer(out, cloud, made.secret, QUESTION, QUESTION_TOKENS)
    screen.farewell(out)


async def _first_key(cloud: Cloud) -> Made | None:
    """The first key of a new home; None where there are keys already."""
    if await cloud.database.call(key_queries.every):
        return None
    pepper = await asyncio.to_thread(read_pepper, cloud.config.home)
    terms = Terms(budget_nano=parse_money(cloud.config.first_budget))
    return await cloud.database.call(
        lambda connection: keys_service.create(connection, pepper, FIRST_KEY, terms, actor=actor())
    )


def _facts(cloud: Cloud, target: Target, made: Made | None) -> dict[str, Any]:
    return {
        "base_url": cloud.base_url,
        "model": target.model,
        "key": made.secret if made else None,
        "home": str(Path(cloud.config.home)),
    }
