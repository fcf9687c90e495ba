"""`haneul models revisions`, `alias`, `withdraw`, `lineage`: what a name meant, means, led to."""

from __future__ import annotations

import click
from sqlalchemy import Connection

from haneul.base import places
from haneul.base.errors import BadRequest, Conflict
from haneul.base.units import show_bytes, show_time
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.models import lineage as family
from haneul.models import revisions as hub
from haneul.models import serving
from haneul.models.folder.blobs import Blobs
from haneul.models.lineage import Lineage
from haneul.store import audit
from haneul.store import models as model_queries
from haneul.store import revisions as queries
from haneul.store.revisions import RevisionRow


@command("revisions", example="haneul models revisions qwen3:0.6b")
@click.argument("model")
@json_option
def revisions(model: str, as_json: bool) -> None:
    """Lists the revisions of MODEL, the newest first, with their aliases."""

    def read(connection: Connection) -> tuple[list[RevisionRow], dict[str, str], str | None]:
        name = hub.resolve(connection, model).model
        serving_row = model_queries.get(connection, name)
        return (
            queries.of_model(connection, name),
            queries.aliases(connection, name),
            serving_row.revision if serving_row else None,
        )

    rows, aliases, current = database(config()).run(read)
    marks = {
        row.id: [*(["current"] if row.id == current else []), *_of(aliases, row.id)] for row in rows
    }
    if as_json:
        print_json([{"revision": row, "names": marks[row.id]} for row in rows])
        return
    print_table(
        ("REVISION", "NAMES", ">SIZE", "LICENCE", "SOURCE", "SINCE", "STATE"),
        [
            (
                row.id[: hub.SHORT],
                ", ".join(marks[row.id]) or "-",
                show_bytes(row.bytes),
                row.licence or "unknown",
                row.source,
                show_time(row.created_us),
                f"withdrawn: {row.reason}" if row.withdrawn_us else "kept",
            )
            for row in rows
        ],
        empty="No revisions.",
    )


@command("alias", example="haneul models alias qwen3:0.6b@prod 1f0c9e2a77b4")
@click.argument("alias", metavar="NAME@ALIAS")
@click.argument("revision", required=False, metavar="[REVISION]")
@click.option("--remove", "is_gone", is_flag=True, help="Takes the alias away.")
@json_option
def alias(alias: str, revision: str | None, is_gone: bool, as_json: bool) -> None:
    """Points NAME@ALIAS at a revision: its ID, another alias, or the current one if none is said.

    Requests for NAME@ALIAS go there within seconds, and those under way end where they are.
    """
    settings = config()
    model, _, word = alias.rpartition("@")
    if not model or (is_gone and revision):
        raise BadRequest("Say NAME@ALIAS and a revision, or NAME@ALIAS --remove.")

    def move(connection: Connection) -> RevisionRow | None:
        row = None
        if not is_gone:
            row = hub.resolve(connection, f"{model}@{revision}" if revision else model)
        name = row.model if row else model
        hub.point(connection, name, word, row, actor=actor())
        serving.settle(connection, name, Blobs(places.blobs(settings.home)))
        return row

    row = database(settings).run(move)
    if as_json:
        print_json({"alias": alias, "revision": row.id if row else None})
    elif row is None:
        click.echo(f"{alias} leads nowhere any more.")
    else:
        click.echo(f"{alias} is {hub.named(row)}.")


@command("withdraw", example='haneul models withdraw qwen3:0.6b@1f0c9e --reason "wrong template"')
@click.argument("revision", metavar="NAME@REVISION")
@click.option("--reason", required=True, help="Why; whoever asks for it again is told.")
@click.option("--anyway", "is_forced", is_flag=True, help="Although something hangs on it.")
@json_option
def withdraw(revision: str, reason: str, is_forced: bool, as_json: bool) -> None:
    """Takes a revision out of service for good; its files stay until `haneul models gc`.

    Refused, with what would break, where something hangs on it.
    """

    def take(connection: Connection) -> tuple[RevisionRow, Lineage, list[str]]:
        row = hub.resolve(connection, revision)
        tree = family.lineage(connection, row)
        if tree.breaks and not is_forced:
            raise Conflict(f"{'; '.join(tree.breaks)}. With --anyway it is withdrawn nevertheless.")
        gone = serving.withdraw(connection, row, reason)
        told = {"reason": reason, "not_served": gone, "breaks": tree.breaks}
        audit.note(connection, actor(), "revision.withdraw", hub.named(row), after=told)
        return row, tree, gone

    row, tree, gone = database(config()).run(take)
    if as_json:
        print_json({"withdrawn": row.id, "not_served": gone, "breaks": tree.breaks})
        return
    click.echo(f"Withdrew {hub.named(row)}: {reason}")
    for line in tree.breaks:
        click.echo(f"  {line}")


@command("lineage", example="haneul models lineage qwen3:0.6b@prod")
@click.argument("model", metavar="MODEL")
@json_option
def lineage(model: str, as_json: bool) -> None:
    """Shows what MODEL was made of, what was made of it, and what breaks if it is withdrawn."""
    tree = database(config()).run(lambda c: family.lineage(c, hub.resolve(c, model)))
    if as_json:
        print_json(tree)
        return
    for line in family.draw(tree):
        click.echo(line)
    click.echo()
    click.echo("If it is withdrawn:" if tree.breaks else "Nothing hangs on it.")
    for line in tree.breaks:
        click.echo(f"  {line}")


def _of(aliases: dict[str, str], revision: str) -> list[str]:
    return [f"@{alias}" for alias, to in sorted(aliases.items()) if to == revision]
