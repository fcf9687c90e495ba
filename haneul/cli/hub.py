"""`haneul models`: the hub of this installation."""

from __future__ import annotations

import click

from haneul.cli import check, derive, gc, preview, pulls, push, revisions, search

models = click.Group(
    "models",
    help="The hub of this installation: find, pull, derive and share models.",
    commands=[
        search.find,
        search.info,
        preview.show,
        check.check,
        revisions.revisions,
        revisions.alias,
        revisions.withdraw,
        revisions.lineage,
        derive.quantize,
        derive.merge,
        derive.convert,
        derive.measure,
        push.push,
        pulls.pulls,
        gc.gc,
    ],
)
