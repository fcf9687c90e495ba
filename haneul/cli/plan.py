"""`haneul plan`: what models would do on chips that are not here, and what that would cost."""

from __future__ import annotations

import click

from haneul.cli import plan_compare, plan_fleet, plan_score, plan_serve, plan_train

plan = click.Group(
    "plan",
    help="Plans before anything is bought: which chips, how fast, at what price.",
    commands=[
        plan_serve.serve,
        plan_compare.compare,
        plan_train.train,
        plan_fleet.fleet,
        plan_score.backtest,
        plan_score.calibrate,
    ],
)
