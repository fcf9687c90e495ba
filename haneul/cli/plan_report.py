"""A plan of serving as a person reads it, from the answer down to what was assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from msgspec.structs import replace

from haneul.base.units import show_time
from haneul.chips.estimate import Estimate, show
from haneul.chips.plan.answer import Plan, milliseconds
from haneul.chips.plan.curve import plot_text
from haneul.chips.plan.launch import Launch
from haneul.chips.plan.options import Option
from haneul.chips.plan.seen import Seen
from haneul.cli.show import print_table

BAR = 40  # characters
COLUMNS = (
    *("CHIPS", "KIND", "LAYOUT", ">TOK/S A CHIP", ">TTFT MS", ">TPOT MS"),
    *(">INPUT/1M", ">CACHED/1M", ">OUTPUT/1M", ">KW", "WHY NOT"),
)


def tell(plan: Plan) -> None:
    """Prints it."""
    click.echo(plan.answer)
    click.echo()
    rows = zip(plan.choice.options, plan.choice.whys, strict=True)
    print_table(COLUMNS, [_row(option, why) for option, why in rows], empty="")
    for chip, why in plan.refused.items():
        click.echo(f"{chip} does not serve it: {why}")
    for line in _lines(plan):
        click.echo(line)


def _lines(plan: Plan) -> Iterator[str]:
    first = plan.choice.options[0]
    yield f"\nWhere a decode step of {sum(first.terms.values()) * 1e3:.1f} ms goes"
    yield from _step(first)
    yield f"  binding: {first.binding}"
    yield "\nMemory of the fullest chip"
    yield from _memory(first)
    yield ""
    yield from plot_text(plan.curve, chosen=first.batch)
    if plan.nearest:
        yield "\nNearest published measurements, among those the model was fitted to"
    for near in plan.nearest:
        yield (
            f"  {near.model} on {near.chips}, {near.isl}/{near.osl}: measured "
            f"{_plain(near.measured)} {near.what}, this model {_plain(near.forecast)} "
            f"({near.error:+.0%})"
        )
        yield f"    {near.source}"
    yield from _seen(plan.seen)
    for each in plan.launch:
        yield from _launch(each)
    yield ""
    for said in plan.assumptions:
        yield f"assumed: {said}"


def _seen(rows: Sequence[Seen]) -> Iterator[str]:
    if rows:
        yield "\nMeasured in this installation's matrix, of models of about its size"
    for row in rows:
        speeds = [f"{row.decode:,.3g} tok/s of one stream"] if row.decode else []
        if row.capacity:
            together = f"{row.streams} streams" if row.streams else "all slots"
            speeds.append(f"{row.capacity:,.3g} tok/s of {together}")
        if row.prefill:
            speeds.append(f"{row.prefill:,.3g} tok/s of a prompt")
        yield f"  {row.model} ({row.quantisation}) on {row.chip}, {row.engine}: {', '.join(speeds)}"
        yield f"    measured {row.measured_by}, {row.count} x, {show_time(row.last_us)}"


def _launch(launch: Launch) -> Iterator[str]:
    role = "" if launch.role == "aggregated" else f" for {launch.role}"
    chips = "one chip" if launch.chips == 1 else f"{launch.chips} chips"
    yield f"\nStart{role}, {launch.copies} x on {chips} each"
    yield f"  {launch.line}"
    for note in launch.notes:
        yield f"  note: {note}"


def _step(option: Option) -> Iterator[str]:
    """A bar for each term, the longest first."""
    whole = sum(option.terms.values())
    for name, seconds in sorted(option.terms.items(), key=lambda it: -it[1]):
        if whole > 0 and seconds > 0:
            share = seconds / whole
            bar = "#" * round(share * BAR)
            yield f"  {name:<14}{bar:<{BAR}} {share:>4.0%} {seconds * 1e3:.2f} ms"


def _memory(option: Option) -> Iterator[str]:
    memory = option.memory
    parts = (
        ("W", "weights", memory.weights_bytes),
        ("K", "KV cache", memory.kv_bytes),
        ("o", "work", memory.work_bytes),
        (".", "headroom", max(0, memory.headroom_bytes)),
    )
    whole = sum(part[2] for part in parts)
    yield f"  [{''.join(sign * round(size / whole * BAR) for sign, _, size in parts)}]"
    said = ", ".join(f"{name} {size / 1e9:.1f} GB" for _, name, size in parts)
    yield f"  {said}; {option.batch} users at once, {memory.most_users} at most in one deployment"


def _row(option: Option, why: str) -> tuple[str, ...]:
    price = option.price
    kinds = ("unknown",) * 3
    if price is not None:
        kinds = (_brief(price.input), _brief(price.cached), _brief(price.output))
    power = "unknown" if option.power_w is None else kilowatts(option.power_w)
    how = option.layout if option.kind == "split" else f"{option.replicas} x {option.layout}"
    return (
        f"{option.chips} x {option.chip}",
        option.kind,
        how,
        _brief(option.tokens_per_s_per_chip),
        _brief(milliseconds(option.ttft)),
        _brief(milliseconds(option.tpot)),
        *kinds,
        power,
        why or "the answer",
    )


def _plain(value: float) -> str:
    """Without an exponent: thousands apart, small ones with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def kilowatts(power_w: float) -> str:
    """Of a supernode with one digit behind the point, of a small machine with two that count."""
    return f"{power_w / 1e3:,.1f}" if power_w >= 1e3 else f"{power_w / 1e3:.2g}"


def _brief(estimate: Estimate) -> str:
    """The number and its interval; the unit stands above."""
    return show(replace(estimate, unit="")).replace("  ", " ")
