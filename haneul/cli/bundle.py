"""`haneul bundle`: models for machines that no network joins, in one signed file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Connection

from haneul.base import places
from haneul.base.config import Config
from haneul.base.errors import BadRequest
from haneul.base.units import show_bytes, show_time
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.piped import PIPE, reading, writing
from haneul.cli.progress import PullProgress
from haneul.cli.show import console, print_json, print_table
from haneul.models import catalogue_added
from haneul.models.bundle import create as making
from haneul.models.bundle import keys, register
from haneul.models.bundle import load as loading
from haneul.models.bundle.archive import Reader
from haneul.models.bundle.collect import collect
from haneul.models.bundle.contents import Contents
from haneul.models.bundle.load import Signed
from haneul.models.bundle.register import Placed
from haneul.models.folder.accept import Accepted
from haneul.models.folder.blobs import Blobs
from haneul.models.folder.pins import pinned
from haneul.models.pulling.progress import Meter
from haneul.services.prices import set_price
from haneul.services.targets import EMBEDDED
from haneul.store import audit

signer_option = click.option("--signer", metavar="KEY", help="The one key that is right this time.")
any_option = click.option("--any-signer", "is_any", is_flag=True, help="Whoever signed it.")


@command("create", example="haneul bundle create site-b.tar qwen3:0.6b@prod smollm2:135m")
@click.argument("file")
@click.argument("models", nargs=-1, required=True, metavar="MODEL…")
@click.option("--note", default="", metavar="TEXT", help="What it is for; who loads it reads that.")
@click.option("--no-prices", "has_no_prices", is_flag=True, help="Without what the models cost.")
@click.option(
    "--own-machines", "is_own", is_flag=True, help="Nobody else gets it, whatever the licence says."
)
@click.option("--force", "is_forced", is_flag=True, help="Replaces a file of that name.")
@json_option
def create(
    file: str,
    models: tuple[str, ...],
    note: str,
    has_no_prices: bool,
    is_own: bool,
    is_forced: bool,
    as_json: bool,
) -> None:
    """Writes MODELs into FILE (- is standard output): files, catalogue entries and prices, signed.

    A MODEL is NAME, NAME@ALIAS or NAME@REVISION. Prices go with it where somebody set them.
    """
    settings = config()
    store, blobs = database(settings), Blobs(places.blobs(settings.home))
    key = keys.own_key(places.keys(settings.home))

    def read(connection: Connection) -> Contents:
        return collect(
            connection,
            models,
            engine=EMBEDDED,
            with_prices=not has_no_prices,
            is_shared=not is_own,
            note=note,
        )

    contents = store.run(read)
    making.check_here(contents, blobs)
    output = writing(file, needed_bytes=making.whole_bytes(contents), is_forced=is_forced)
    with output as out, _bytes(contents, "here") as on_bytes:
        making.write(contents, key, blobs, out, on_bytes)
    told = {"file": file, "signer": keys.public(key), "models": _listed(contents)}
    store.run(lambda c: audit.note(c, actor(), "bundle.create", contents.id, file, after=told))
    facts = {**told, "id": contents.id, "bytes": contents.bytes, "prices": len(contents.prices)}
    if as_json:
        print_json(facts)
        return
    names = ", ".join(_listed(contents))
    click.echo(f"{file}: {names}; {show_bytes(contents.bytes)}, {contents.id}", err=file == PIPE)
    click.echo(f"Signed by {keys.public(key)}", err=file == PIPE)


@command("verify", example="haneul bundle verify site-b.tar")
@click.argument("file")
@signer_option
@any_option
@json_option
def verify(file: str, signer: str | None, is_any: bool, as_json: bool) -> None:
    """Reads FILE to its end: its signer, every byte of every file; loads nothing."""
    settings = config()
    with reading(file) as source:
        reader = Reader(source)
        signed = _signed(reader, settings, signer, is_any=is_any)
        with _bytes(signed.contents, file) as on_bytes:
            loading.verify_files(reader, signed.contents, on_bytes)
    if as_json:
        print_json({"signer": signed.signer, "contents": signed.contents})
        return
    _show(signed)


@command("load", example="haneul bundle load site-b.tar")
@click.argument("file")
@signer_option
@any_option
@click.option("--keep-only", "is_kept_only", is_flag=True, help="What serves stays as it is.")
@click.option("--no-prices", "has_no_prices", is_flag=True, help="Takes no price from it.")
@json_option
def load(
    file: str,
    signer: str | None,
    is_any: bool,
    is_kept_only: bool,
    has_no_prices: bool,
    as_json: bool,
) -> None:
    """Takes the models of FILE (- is standard input) in, and serves them; needs no network.

    All of it means something or nothing: a load that was cut changes no name, and the next goes on
    after the files that are here. Aliases and prices that were set here stay.
    """
    settings = config()
    blobs = Blobs(places.blobs(settings.home))
    blobs.open()
    with reading(file) as source:
        reader = Reader(source)
        signed = _signed(reader, settings, signer, is_any=is_any)
        contents = signed.contents
        with pinned(blobs.locks, (blob.sha256 for blob in contents.blobs)):
            with _bytes(contents, file) as on_bytes:
                loading.take_files(reader, contents, blobs, on_bytes)
            proven = loading.prove_all(contents, blobs)
            placed, priced, left = database(settings).run(
                lambda c: _note(
                    c,
                    signed,
                    proven,
                    blobs,
                    currency=None if has_no_prices else settings.currency,
                    is_served=not is_kept_only,
                )
            )
    entries = catalogue_added.add(places.catalogue(settings.home), contents.catalogue)
    if as_json:
        told = {"prices_set": priced, "prices_left": left, "catalogue_added": entries}
        print_json({"bundle": contents.id, "signer": signed.signer, "models": placed, **told})
        return
    _show_placed(placed)
    if priced:
        click.echo(f"{priced} prices were set.")
    for reason in left:
        click.echo(f"No price was set for {reason}.")
    if entries:
        click.echo(f"New in the catalogue: {', '.join(entries)}.")


@command("key", example="haneul bundle key")
@json_option
def key(as_json: bool) -> None:
    """Shows the public key that signs this home's bundles; who loads them trusts it."""
    public = keys.public(keys.own_key(places.keys(config().home)))
    if as_json:
        print_json({"key": public})
    else:
        click.echo(public)


@command("trust", example="haneul bundle trust ed25519:3b6a… --name headquarters")
@click.argument("key", required=False, metavar="[KEY]")
@click.option("--name", metavar="NAME", help="What the key's owner is called here.")
@click.option("--remove", "is_gone", is_flag=True, help="Takes no more bundles of KEY or its name.")
@json_option
def trust(key: str | None, name: str | None, is_gone: bool, as_json: bool) -> None:
    """Takes bundles that KEY signed from now on; without KEY lists whose are taken."""
    settings = config()
    folder = places.keys(settings.home)
    if key is None:
        if name or is_gone:
            raise BadRequest("Say whose key: haneul bundle trust KEY --name NAME.")
        _show_trusted(folder, as_json=as_json)
        return
    if is_gone == (name is not None):
        raise BadRequest("Say --name NAME to trust a key, or --remove.")
    changed = keys.distrust(folder, key) if is_gone else keys.trust(folder, key, name or "")
    action = "bundle.distrust" if is_gone else "bundle.trust"
    database(settings).run(
        lambda c: audit.note(c, actor(), action, changed.key, after={"name": changed.name})
    )
    if as_json:
        print_json({"trusted": not is_gone, "signer": changed})
    else:
        words = "are taken no more" if is_gone else "are taken"
        click.echo(f"Bundles of {changed.name} ({changed.key}) {words}.")


def _note(
    connection: Connection,
    signed: Signed,
    proven: Sequence[Accepted],
    blobs: Blobs,
    *,
    currency: str | None,
    is_served: bool,
) -> tuple[list[Placed], int, list[str]]:
    """What became of each model, how many prices were set, and why others were not.

    currency is what bills are in here; None: no price is taken.
    """
    who = actor()
    placed = register.register(connection, signed, proven, blobs, is_served=is_served, actor=who)
    if currency is None:
        return placed, 0, []
    contents = signed.contents
    rows, left = register.prices(connection, contents, engine=EMBEDDED, currency=currency)
    for row in rows:
        set_price(connection, row, actor=who)
    return placed, len(rows), left


def _signed(reader: Reader, settings: Config, signer: str | None, *, is_any: bool) -> Signed:
    """The contents, of a signer whom this home takes bundles from: itself, or one it trusts."""
    if signer is not None and is_any:
        raise BadRequest("Say --signer KEY or --any-signer.")
    folder = places.keys(settings.home)
    told = keys.parsed(signer) if signer is not None else None
    return loading.read_signed(reader, keys.known(folder), told=told, is_any=is_any)


@contextmanager
def _bytes(contents: Contents, source: str) -> Iterator[Callable[[int], None]]:
    """What is told how many more bytes went by; people see it on standard error."""
    done = 0
    with PullProgress(console(stderr=True)) as progress:
        meter = Meter(progress.report)

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            meter.bytes(source, done, contents.bytes)

        yield on_bytes


def _listed(contents: Contents) -> list[str]:
    return [f"{model.name}@{model.manifest.revision[:12]}" for model in contents.models]


def _show(signed: Signed) -> None:
    contents = signed.contents
    print_table(
        ("MODEL", "REVISION", ">FILES", ">SIZE", "LICENCE"),
        [
            (
                model.name,
                model.manifest.revision[:12],
                str(len(model.manifest.files)),
                show_bytes(model.manifest.bytes),
                model.licence or "unknown",
            )
            for model in contents.models
        ],
        empty="No models.",
    )
    who = signed.signer.name or "whom this home does not know"
    click.echo(f"{contents.id} of {show_time(contents.created_us)} by {contents.made_by}: whole.")
    click.echo(f"Signed by {signed.signer.key} ({who}).")
    if contents.note:
        click.echo(f"Note: {contents.note}")


def _show_placed(placed: list[Placed]) -> None:
    print_table(
        ("MODEL", "REVISION", ">SIZE", "NEW", "ALIASES", "SERVED"),
        [
            (
                model.name,
                model.revision[:12],
                show_bytes(model.bytes),
                "yes" if model.is_new else "was here",
                ", ".join(model.aliases) or "-",
                "yes" if model.is_served else f"no: {model.note}",
            )
            for model in placed
        ],
        empty="No models.",
    )


def _show_trusted(folder: Path, *, as_json: bool) -> None:
    known = keys.trusted(folder)
    if as_json:
        print_json(known)
        return
    print_table(
        ("NAME", "KEY"),
        [(each.name, each.key) for each in known],
        empty="No bundles but this home's own are taken yet: haneul bundle trust KEY --name NAME",
    )


bundle = click.Group(
    "bundle",
    help="Models for machines that no network joins, in one signed file.",
    commands=[create, load, verify, key, trust],
)
