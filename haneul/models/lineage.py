"""The family tree of a revision: what it was made of, what was made of it, what hangs on it."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.models import revisions, serving
from haneul.store import models as model_queries
from haneul.store import revisions as queries
from haneul.store import routes as route_queries
from haneul.store.revisions import RevisionRow

DEPTH_MAX = 32


class Node(Struct, frozen=True, kw_only=True):
    """A revision in the tree, or what is only known by its name elsewhere (id "")."""

    id: str = ""
    name: str  # NAME@ID
    relation: str = ""  # to what it was made of: quantized, merged, …; "": not made here
    source: str
    licence: str | None = None
    bytes: int | None = None
    loss: float | None = None  # by which share perplexity grew; None: not measured
    aliases: tuple[str, ...] = ()
    is_withdrawn: bool = False
    others: tuple[Node, ...] = ()  # further from the subject


class Lineage(Struct, frozen=True, kw_only=True):
    """A revision with its parents (up) and its derivatives (down)."""

    subject: Node
    up: tuple[Node, ...]
    down: tuple[Node, ...]
    breaks: tuple[str, ...]  # what would break if the subject were withdrawn, in words


def lineage(connection: Connection, row: RevisionRow) -> Lineage:
    """The tree of a revision, both ways."""
    down = _down(connection, row.id, DEPTH_MAX)
    return Lineage(
        subject=_of(connection, row.id),
        up=_up(connection, row.id, DEPTH_MAX),
        down=down,
        breaks=tuple(_breaks(connection, row, down)),
    )


def draw(tree: Lineage) -> list[str]:
    """The tree as lines of text: parents above, derivatives below."""
    lines: list[str] = []
    _ancestors(tree.up, lines, "")
    lines.append(f"● {_words(tree.subject)}")
    _branches(tree.down, lines, "")
    return lines


def _up(connection: Connection, revision: str, depth: int) -> tuple[Node, ...]:
    ends = [edge.parent for edge in queries.parents(connection, revision)] if depth else []
    return tuple(_of(connection, end, _up(connection, end, depth - 1)) for end in _once(ends))


def _down(connection: Connection, revision: str, depth: int) -> tuple[Node, ...]:
    ends = [edge.child for edge in queries.children(connection, revision)] if depth else []
    return tuple(_of(connection, end, _down(connection, end, depth - 1)) for end in _once(ends))


def _once(ends: list[str]) -> list[str]:
    return list(dict.fromkeys(ends))


def _of(connection: Connection, end: str, others: tuple[Node, ...] = ()) -> Node:
    rows = queries.of_id(connection, end)
    if not rows:
        return Node(name=end, source="elsewhere", others=others)
    row = rows[0]
    pointed = queries.aliases(connection, row.model)
    made = {edge.relation for edge in queries.parents(connection, end)}
    return Node(
        id=row.id,
        name=revisions.named(row),
        relation=", ".join(sorted(made)),
        source=f"{row.source}@{row.source_revision}" if row.source_revision else row.source,
        licence=row.licence,
        bytes=row.bytes,
        loss=revisions.loss(connection, row.id),
        aliases=tuple(sorted(alias for alias, to in pointed.items() if to == row.id)),
        is_withdrawn=row.withdrawn_us is not None,
        others=others,
    )


def _breaks(connection: Connection, row: RevisionRow, down: tuple[Node, ...]) -> list[str]:
    """What hangs on a revision: names that are served, aliases, routes, derivatives."""
    served = [each.name for each in model_queries.every(connection) if each.revision == row.id]
    said = [f"{name} is served from it" for name in served]
    for alias, name in serving.routes(connection).items():
        if name in served:
            served.append(alias)
            said.append(f"the alias {alias} points at it")
    for route in route_queries.every(connection):
        led = {*_names(route.members), *_names(route.fallbacks), *_names(route.scarce)}
        if named := sorted(led & set(served)):
            said.append(f"the route {route.name} leads to {', '.join(named)}")
    for node in _all(down):
        to = f" ({', '.join(node.aliases)})" if node.aliases else ""
        said.append(f"{node.name}{to} was made of it")
    return said


def _names(text: str) -> list[str]:
    listed = msgspec.json.decode(text)
    return [each[0] if isinstance(each, list) else each for each in listed]


def _all(nodes: tuple[Node, ...]) -> list[Node]:
    """The nodes and all behind them, each once."""
    found: dict[str, Node] = {}
    for node in nodes:
        for each in (node, *_all(node.others)):
            found.setdefault(each.id or each.name, each)
    return list(found.values())


def _ancestors(nodes: tuple[Node, ...], lines: list[str], indent: str) -> None:
    for number, node in enumerate(nodes):
        _ancestors(node.others, lines, indent + "   ")
        is_first = number == 0
        lines.append(f"{indent}{'┌' if is_first else '├'}─ {_words(node)}")


def _branches(nodes: tuple[Node, ...], lines: list[str], indent: str) -> None:
    for number, node in enumerate(nodes):
        is_last = number == len(nodes) - 1
        lines.append(f"{indent}{'└' if is_last else '├'}─ {_words(node)}")
        _branches(node.others, lines, indent + ("   " if is_last else "│  "))


def _words(node: Node) -> str:
    parts = [
        node.name,
        f"[{', '.join(node.aliases)}]" if node.aliases else "",
        node.relation,
        f"perplexity +{node.loss:.1%}" if node.loss is not None else "",
        node.licence or "licence unknown",
        "WITHDRAWN" if node.is_withdrawn else "",
    ]
    return "  ".join(part for part in parts if part)
