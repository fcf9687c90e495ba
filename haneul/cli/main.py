"""The `haneul` command: its verbs are those of ollama where ollama has them."""

from __future__ import annotations

import click

from haneul import __version__
from haneul.cli.late import Commands

COMMANDS = Commands(  # and the modules that have them
    {
        "up": "up",
        "pull": "pull",
        "run": "talk",
        "chat": "talk",
        "ps": "running",
        "stop": "running",
        "ls": "models",
        "rm": "models",
        "models": "hub",
        "bundle": "bundle",
        "keys": "keys",
        "tenants": "tenants",
        "users": "tenants",
        "budgets": "budgets",
        "prices": "prices",
        "invoices": "invoices",
        "engines": "engines",
        "routes": "routes",
        "rules": "rules",
        "usage": "usage",
        "trace": "usage",
        "audit": "audit",
        "chips": "chips",
        "plan": "plan",
        "tune": "tune",
        "eval": "evals",
        "doctor": "doctor",
    }
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    commands=COMMANDS,
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
