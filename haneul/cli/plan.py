"""`haneul plan`: what models would do on chips that are not here, and what that would cost."""

from __future__ import annotations

import click

from haneul.cli.late import Commands

plan = click.Group(
    "plan",
    help="Plans before anything is bought: which chips, how fast, at what price.",
    commands=Commands(
        {
            "serve": "plan_serve",
            "compare": "plan_compare",
            "train": "plan_train",
            "fleet": "plan_fleet",
            "backtest": "plan_score",
            "calibrate": "plan_score",
        }
    ),
)
