"""The `haneul` command: its verbs are those of ollama where ollama has them."""

from __future__ import annotations

import click

from haneul import __version__
from haneul.cli import (
    audit,
    budgets,
    chips,
    doctor,
    engines,
    hub,
    invoices,
    keys,
    models,
    prices,
    routes,
    rules,
    running,
    talk,
    tenants,
    tune,
    up,
    usage,
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    commands=[
        up.up,
        models.pull,
        talk.run,
        talk.chat,
        running.ps,
        running.stop,
        models.ls,
        models.rm,
        hub.models,
        keys.keys,
        tenants.tenants,
        tenants.users,
        budgets.budgets,
        prices.prices,
        invoices.invoices,
        engines.engines,
        routes.routes,
        rules.rules,
        usage.usage,
        usage.trace,
        audit.audit,
        chips.chips,
        tune.tune,
        doctor.doctor,
    ],
)
@click.version_option(__version__, prog_name="haneul", message="%(prog)s %(version)s")
def haneul() -> None:
    """haneul: an AI cloud on your own machines.

    `haneul up` starts it. Settings come from haneul.toml, HANEUL_… variables and flags; the
    folder of everything is HANEUL_HOME (~/.haneul). Exit codes: 0 done, 1 failed, 2 wrong usage.
    """


def main() -> None:
    """The entry point."""
    haneul(prog_name="haneul")
