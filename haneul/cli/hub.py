"""`haneul models`: the hub of this installation."""

from __future__ import annotations

import click

from haneul.cli import models as files

models = click.Group(
    "models",
    help="The hub of this installation: find, pull, derive and share models.",
    commands=[files.pull, files.ls, files.rm],
)
