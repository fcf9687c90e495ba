"""The first screen: chips, what runs here at which speed and price, the key, a first answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from haneul import __version__
from haneul.base import http
from haneul.base.units import NANO, show_bytes, show_duration, show_money
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost, Price
from haneul.chips.estimate import Estimate, show
from haneul.chips.footprint import Fit, fits, footprint
from haneul.cloud import Cloud
from haneul.models import catalogue
from haneul.models.catalogue import Entry
from haneul.services import tariff
from haneul.services.keys import Made
from haneul.services.specs import CONTEXT_TOKENS, slots_of
from haneul.services.targets import Target
from haneul.services.tariff import Forecast

SHOWN_MAX = 8  # of the catalogue, the largest that fit first
ANSWER_S = 120.0


def greeting(out: Console, cloud: Cloud) -> None:
    """What this machine is, and what it could run."""
    out.print(f"\n[bold]haneul[/] {__version__}  [dim]하늘, the open AI cloud[/]")
    out.print(f"listening on [bold]{cloud.base_url.removesuffix('/v1')}[/]\n")
    out.print("[bold]Chips[/]")
    for chip in cloud.chips:
        out.print(f"  {escape(_chip(chip))}")
    out.print(f"  [dim]owning it costs {_hour(cloud.hour)}[/]")
    if cloud.recovered:
        out.print(f"  [dim]{cloud.recovered} requests cut off by the last stop were booked[/]")
    out.print("\n[bold]Models that run here[/] [dim](forecast before any download)[/]")
    _models(out, cloud)


def _chip(chip: Chip) -> str:
    bandwidth = f"{span(chip.bandwidth)} {chip.bandwidth.source}" if chip.bandwidth else ""
    facts = [
        f"{chip.count} × {chip.name}" if chip.count > 1 else chip.name,
        f"{chip.cores} cores" if chip.cores else "cores unknown",
        f"{show_bytes(chip.memory_bytes)} memory" if chip.memory_bytes else "memory unknown",
        f"{show_bytes(chip.memory_free_bytes)} free" if chip.memory_free_bytes else "",
        bandwidth,
    ]
    return ", ".join(fact for fact in facts if fact)


def _hour(hour: HourCost) -> str:
    low, mid, high = (
        show_money(nano, hour.currency, digits=4)
        for nano in (hour.low_nano, hour.total_nano, hour.high_nano)
    )
    return f"{mid} an hour ({low} to {high}), by the fleet file"


def _models(out: Console, cloud: Cloud) -> None:
    """The smallest that fit, one a line, within 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    price = f"{cloud.config.currency} / 1M OUT"
    for name in ("  MODEL", "FILE", "MEMORY", "ONE ANSWER", price):
        table.add_column(name, no_wrap=True, justify="left" if "MODEL" in name else "right")
    found = [(entry, _fit(cloud, entry)) for entry in catalogue.load().entries]
    talking = [(entry, fit) for entry, fit in found if "chat" in entry.tasks and entry.sources]
    able = [(entry, fit) for entry, fit in talking if fit.fits]
    able.sort(key=lambda pair: pair[0].shape.parameters)
    for entry, fit in able[:SHOWN_MAX]:
        said = cloud.appraiser.forecast(entry.shape)
        cost = tariff.token_cost(cloud.appraiser.fleet, cloud.hour, said)
        table.add_row(
            f"  [bold]{entry.name}[/]",
            span(entry.size),
            span(fit.needed),
            span(said.decode) if said.decode else "unknown",
            _money(cost.output) if cost else "unknown",
        )
    out.print(table)
    rest = len(found) - len(able[:SHOWN_MAX])
    if rest > 0:
        out.print(f"  [dim]{rest} more in the catalogue: haneul models search[/]")


def _fit(cloud: Cloud, entry: Entry) -> Fit:
    context = min(cloud.config.context_tokens or CONTEXT_TOKENS, entry.shape.context_tokens)
    slots = slots_of(cloud.config, entry.shape, cloud.chip.memory_bytes)
    need = footprint(entry.shape, context_tokens=context, slots=slots)
    return fits(need, cloud.chip)


def span(estimate: Estimate) -> str:
    """An interval in few letters: '523–602 MB', '45–88 tok/s'; one number where it is known."""
    if estimate.low == estimate.high:
        return show(estimate)
    unit, low, high = estimate.unit, estimate.low, estimate.high
    if unit in ("B", "B/s"):
        power = 1e9 if low >= 1e9 else 1e6
        unit, low, high = f"{'GM'[power < 1e9]}{unit}", low / power, high / power
    digits = 0 if low >= 10 else 1
    return f"{low:.{digits}f}–{high:.{digits}f} {unit}"


def _money(price: Price) -> str:
    return f"{price.low_nano / NANO:.3f}–{price.high_nano / NANO:.3f}"


def engine(
    out: Console, target: Target, known: Forecast, *, said: Estimate | None, when: str
) -> None:
    """What the engine did, and the price that follows."""
    speeds = known.named()
    out.print(f"\n[bold]{escape(target.model)}[/] is ready on {target.engine_version}")
    if target.replica is not None and target.replica.load_s is not None:
        out.print(f"  loaded in {show_duration(target.replica.load_s)}")
    if said is not None:
        out.print(f"  forecast: {span(said)} for one answer")
    if speeds:
        out.print(
            f"  measured {when}: {show(speeds['decode'])} for one answer, "
            f"{show(speeds['capacity'])} for all slots, {show(speeds['prefill'])} reading"
        )
    if target.price is not None:
        parts = (target.price.input_nano, target.price.cached_nano, target.price.output_nano)
        shown = " / ".join(show_money(nano, target.currency, digits=4) for nano in parts)
        out.print(f"  price per million tokens in / cached / out: {shown}")


def addresses(out: Console, cloud: Cloud, made: Made | None, seconds: float) -> None:
    """How to use it: base URL, key, a line to paste."""
    out.print(f"\n[bold]Ready after {show_duration(seconds)}[/]")
    out.print(f"  page      {cloud.base_url.removesuffix('/v1')}/")
    out.print(f"  base URL  {cloud.base_url}")
    if made is None:
        out.print("  key       as before; a new one: haneul keys create NAME --budget 5")
        return
    budget = show_money(made.key.budget_nano or 0, cloud.config.currency)
    out.print(f"  key       [bold]{made.secret}[/]", soft_wrap=True)
    out.print(f"            shown this once; may spend {budget}")
    body = msgspec.json.encode(
        {
            "model": cloud.default_model,
            "messages": [{"role": "user", "content": "Hello!"}],
            "max_tokens": 64,
        }
    ).decode()
    out.print("\n[bold]Try it[/]")
    out.print(
        f"  curl {cloud.base_url}/chat/completions -H 'Authorization: Bearer {made.secret}' \\\n"
        f"    -H 'Content-Type: application/json' -d '{escape(body)}'",
        soft_wrap=True,
    )


async def first_answer(out: Console, cloud: Cloud, secret: str, question: str, tokens: int) -> None:
    """A real question through the front door, streamed, with its cost and its id."""
    out.print(f"\n[bold]First question[/]  {question}\n  ", end="")
    body = {
        "model": cloud.default_model,
        "messages": [{"role": "user", "content": question}],
        "max_completion_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.monotonic()
    words, usage = Words(out), None
    async with asyncio.timeout(ANSWER_S), await _ask(cloud, secret, body) as answer:
        async for event in _events(answer):
            if "error" in event:
                out.print(f"[red]{escape(event['error']['message'])}[/]", end="")
            usage = event.get("usage") or usage
            for choice in event.get("choices", []):
                text = choice["delta"].get("content") or ""
                words.write(text)
        request_id = answer.headers.get(b"x-request-id", b"unknown").decode()
    words.end()
    seconds = time.monotonic() - began
    out.print("\n")
    if usage is not None:
        cost = show_money(usage["cost_nano"], usage["currency"])
        out.print(
            f"  [dim]{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out, "
            f"{show_duration(seconds)}, {cost}; haneul trace {request_id}[/]"
        )


async def _ask(cloud: Cloud, secret: str, body: dict[str, Any]) -> http.Reply:
    """As a client would, over the public port."""
    to = http.address(cloud.base_url)
    headers = {"authorization": f"Bearer {secret}"}
    data = msgspec.json.encode(body)
    return await cloud.client.send(to, "POST", "/chat/completions", body=data, headers=headers)


async def _events(answer: http.Reply) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream; an error that came instead counts as one."""
    rest = b""
    async for data in answer.chunks():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if (text := line.removeprefix(b"data: ")).startswith(b"{"):
                yield msgspec.json.decode(text)
    if rest.startswith(b"{"):
        yield msgspec.json.decode(rest)


class Words:
    """Streamed text in lines that break between words, two columns from the left."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._word = ""
        self._column = 2

    def write(self, text: str) -> None:
        """Shows every whole word; keeps the last until it is known to be whole."""
        for letter in text:
            if letter.isspace():
                self.end()
                self._space(letter)
            else:
                self._word += letter

    def end(self) -> None:
        """Shows the last word."""
        if self._word and self._column + len(self._word) > self._out.width:
            self._space("\n")
        self._out.print(escape(self._word), end="", soft_wrap=True)
        self._column += len(self._word)
        self._word = ""

    def _space(self, letter: str) -> None:
        if letter == "\n":
            self._out.print("\n  ", end="")
            self._column = 2
        elif self._column > 2:
            self._out.print(" ", end="")
            self._column += 1


def farewell(out: Console) -> None:
    """How to go on."""
    out.print("\n[dim]haneul chat · haneul ps · haneul usage · Ctrl-C stops[/]")
