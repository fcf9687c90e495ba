"""`haneul ps` and `haneul stop`: what the running cloud has loaded."""

from __future__ import annotations

from typing import Any

import click

from haneul.base.units import show_duration, show_money
from haneul.cli import local
from haneul.cli.command import command, config, json_option
from haneul.cli.show import print_json, print_table


@command("ps", example="haneul ps --json")
@json_option
def ps(as_json: bool) -> None:
    """Shows the models of the running cloud: state, load, price."""
    status = local.ask(config().home, "GET", "/haneul/v1/status")
    if as_json:
        print_json(status)
        return
    up_for = show_duration(status["uptime_s"])
    click.echo(f"haneul {status['version']}, up for {up_for}, {status['in_flight']} in flight")
    if workers := status["workers"]:
        up = sum(worker["state"] == "ready" for worker in workers)
        click.echo(f"{up + 1} of {len(workers) + 1} processes answer on the port")
    print_table(
        ("MODEL", "ENGINE", "STATE", ">CONTEXT", ">RUNNING", ">WAITING", ">RESTARTS", ">PRICE OUT"),
        [_row(model) for model in status["models"]],
        empty="No models here yet: haneul pull smollm2:135m",
    )


@command("stop", example="haneul stop smollm2:135m")
@click.argument("model")
@json_option
def stop(model: str, as_json: bool) -> None:
    """Unloads a model; the next request for it loads it again."""
    answer = local.ask(config().home, "POST", "/haneul/v1/models/stop", {"model": model})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Stopped {answer['id']}.")


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    context = model["context_tokens"]
    return (
        model["id"],
        model["owned_by"],
        model["state"],
        f"{context:,} tokens" if context else "unknown",
        str(model["running"]),
        str(model["waiting"]),
        str(model["restarts"]),
        show_price(model["price"]),
    )


def show_price(price: dict[str, Any] | None) -> str:
    """The price of a million output tokens."""
    if price is None:
        return "unknown"
    amount = show_money(price["output_nano_per_million_tokens"], price["currency"], digits=4)
    return f"{amount} / 1M"
