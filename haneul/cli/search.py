"""`haneul models search`, `info`: which models there are, and what is known of one."""

from __future__ import annotations

from typing import Any

import click
from msgspec.structs import replace

from haneul.base import places
from haneul.base.units import show_bytes, show_parameters
from haneul.chips.chip import Chip
from haneul.chips.detect import detect
from haneul.chips.estimate import show
from haneul.chips.footprint import kv_bytes
from haneul.cli.command import command, config, json_option
from haneul.cli.show import print_json, print_table
from haneul.models.catalogue import Entry, Service, size_of
from haneul.models.catalogue_added import of_home
from haneul.models.licences import Licence
from haneul.models.query import LANGUAGES, TASKS, Query, parse_bytes, read_query
from haneul.models.search import Hit, best_fit, search, services, suggestion

YES = {True: "yes", False: "no", None: "unknown"}
COLUMNS = ("NAME", ">PARAMETERS", ">FILE", "WEIGHTS", ">CONTEXT", "LICENCE", "TASKS", "HOW")


@command("search", example='haneul models search "korean 8b apache" --fits')
@click.argument("words", nargs=-1)
@click.option("--licence", default="", help="Only licences whose id begins so: apache, mit, …")
@click.option("--commercial", is_flag=True, help="Only what may surely serve paying users.")
@click.option("--task", type=click.Choice(sorted(set(TASKS.values()))), help="Only for this.")
@click.option("--language", default="", help="Only what its makers say speaks it: ko, korean, …")
@click.option("--max-size", default="", help="Only what has a file up to this size: 8GB.")
@click.option("--fits", is_flag=True, help="Only what surely fits the memory that is free here.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="So many at most.")
@json_option
def find(words: tuple[str, ...], limit: int, fits: bool, as_json: bool, **filters: Any) -> None:
    """Finds models of the catalogue by words: a language, a size, a licence, a task, a name."""
    query = _query(words, **filters)
    known = of_home(places.catalogue(config().home))
    hits = search(known, query, chip=_roomiest() if fits else None)
    asked = [] if fits else services(known, query)
    if as_json:
        print_json({"models": [_row(hit) for hit in hits[:limit]], "services": asked})
        return
    rows = [_cells(hit) for hit in hits[:limit]] + [_service(service) for service in asked]
    empty = "Nothing in the catalogue answers that."
    print_table(COLUMNS, rows, empty=" ".join(filter(None, (empty, suggestion(known, query)))))
    if len(hits) > limit:
        click.echo(f"{len(hits) - limit} more: --limit {len(hits)}")


@command("info", example="haneul models info qwen3:8b")
@click.argument("model")
@json_option
def info(model: str, as_json: bool) -> None:
    """Shows what the catalogue knows of a model, and where it knows it from."""
    entry = of_home(places.catalogue(config().home)).find(model)
    chip = _roomiest()
    found = best_fit(entry, chip)
    if as_json:
        print_json({**_row(Hit(entry, 0, found)), "evidence": entry.evidence, "facts": entry.facts})
        return
    for label, value in _lines(entry):
        if value:
            click.echo(f"{label:<11}{value}")
    click.echo(f"{'here':<11}{found.quantisation}: {found.fit.reason}")


def _query(words: tuple[str, ...], **filters: Any) -> Query:
    """What was typed, with the options over it."""
    query = read_query(" ".join(words))
    if filters["licence"]:
        query = replace(query, licence=filters["licence"].lower())
    if filters["commercial"]:
        query = replace(query, is_commercial=True)
    if filters["task"]:
        query = replace(query, tasks=(*query.tasks, filters["task"]))
    if filters["language"]:
        said = filters["language"].lower()
        query = replace(query, languages=(*query.languages, LANGUAGES.get(said, said)))
    if filters["max_size"]:
        query = replace(query, bytes_max=parse_bytes(filters["max_size"]))
    return query


def _roomiest() -> Chip:
    """The chip of this machine with the most free memory; its bandwidth is not measured."""
    return max(detect(measure=False), key=lambda chip: (chip.memory_free_bytes or 0) * chip.count)


def _parameters(entry: Entry) -> str:
    shape = entry.shape
    whole = show_parameters(shape.parameters)
    active = show_parameters(shape.active_parameters)
    return f"{whole}, {active} active" if shape.experts else whole


def _cells(hit: Hit) -> tuple[str, ...]:
    entry, fitting = hit.entry, hit.fitting
    return (
        entry.name,
        _parameters(entry),
        show(fitting.size if fitting else entry.size),
        fitting.quantisation if fitting else entry.shape.quantisation,
        f"{entry.shape.context_tokens:,}",
        entry.licence,
        ", ".join(entry.tasks),
        "can be pulled" if entry.sources else "can be planned for",
    )


def _service(service: Service) -> tuple[str, ...]:
    size = "unknown"
    return (service.name, size, "", "", size, service.licence, service.task, "can only be asked")


def _row(hit: Hit) -> dict[str, Any]:
    entry = hit.entry
    return {
        "name": entry.name,
        "aliases": entry.aliases,
        "family": entry.family,
        "maker": entry.maker,
        "licence": entry.terms,
        "licence_note": entry.licence_note,
        "tasks": entry.tasks,
        "languages": entry.languages,
        "languages_told": entry.languages_told,
        "thinking": entry.thinking,
        "tools": entry.tools,
        "shape": entry.shape,
        "size": entry.size,
        "quantisations": {kind: size_of(entry, kind) for kind in entry.quantisations},
        "repositories": {
            "huggingface": entry.upstream,
            "modelscope": entry.modelscope or None,
            "gguf": entry.gguf or None,
        },
        "can_be_pulled": bool(entry.sources),
        "fits": hit.fitting.fit.fits if hit.fitting else None,
        "fitting": hit.fitting.quantisation if hit.fitting else None,
        "dated": entry.dated,
    }


def _lines(entry: Entry) -> list[tuple[str, str]]:
    """What is shown of an entry, a line each."""
    shape = entry.shape
    kept = kv_bytes(shape, shape.context_tokens)
    attention = f"{shape.heads} heads, {shape.kv_heads} with keys and values"
    experts = f", {shape.experts_used} of {shape.experts} experts" if shape.experts else ""
    told = f" ({entry.languages_told} told)" if entry.languages_told else ""
    sizes = [(kind, size_of(entry, kind)) for kind in entry.quantisations]
    return [
        ("name", ", ".join((entry.name, *entry.aliases))),
        ("family", f"{entry.family}, of {entry.maker}"),
        ("made from", entry.base),
        ("tasks", ", ".join(entry.tasks)),
        ("languages", (", ".join(entry.languages) or "unknown") + told),
        ("parameters", _parameters(entry)),
        ("build", f"{shape.layers} layers of {shape.hidden}, {attention}{experts}"),
        ("context", f"{shape.context_tokens:,} tokens, which take {show_bytes(kept)}"),
        ("thinking", " ".join(filter(None, (entry.thinking, entry.thinking_form)))),
        ("tools", entry.tools),
        ("licence", _licence(entry.terms)),
        *(("asks", sentence) for sentence in entry.terms.conditions),
        ("note", entry.note),
        ("weights", f"huggingface.co/{entry.upstream}"),
        ("", f"modelscope.cn/models/{entry.modelscope}" if entry.modelscope else ""),
        ("gguf", f"huggingface.co/{entry.gguf}" if entry.gguf else "unknown"),
        *((kind, show(size)) for kind, size in sizes if size is not None),
        ("evidence", f"{entry.evidence} ({entry.dated})"),
        ("facts", entry.facts),
    ]


def _licence(terms: Licence) -> str:
    said = (
        f"commercial use {YES[terms.allows_commercial]}",
        f"derivatives {YES[terms.allows_derivatives]}",
        f"giving on {YES[terms.allows_sharing]}",
    )
    return f"{terms.id}: {', '.join(said)} ({terms.source})"
