"""The family tree of a revision: what it was made of, what was made of it, what hangs on it."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.models import revisions, serving
from haneul.store import models as model_queries
from haneul.store import revisions as queries
from haneul.store import routes as route_queries
from haneul.store.revisions import DerivationRow, RevisionRow

DEPTH_MAX = 32


class Node(Struct, frozen=True, kw_only=True):
    """A revision in the tree, or what is only known by its name elsewhere (id "")."""

    id: str
    name: str  # NAME@ID
    relation: str  # to the node it hangs on: quantized, merged, …; "" for the subject
    source: str
    licence: str | None
    bytes: int | None
    loss: float | None  # by which share perplexity grew; None: not measured, or nothing to measure
    aliases: tuple[str, ...]
    is_withdrawn: bool
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
        subject=_node(connection, row.id, row, ""),
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
    edges = queries.parents(connection, revision) if depth else []
    return tuple(
        _of(connection, edge, edge.parent, _up(connection, edge.parent, depth - 1))
        for edge in edges
    )


def _down(connection: Connection, revision: str, depth: int) -> tuple[Node, ...]:
    edges = queries.children(connection, revision) if depth else []
    return tuple(
        _of(connection, edge, edge.child, _down(connection, edge.child, depth - 1))
        for edge in edges
    )


def _of(connection: Connection, edge: DerivationRow, end: str, others: tuple[Node, ...]) -> Node:
    rows = queries.of_id(connection, end)
    return _node(connection, end, rows[0] if rows else None, edge.relation, others)


def _node(
    connection: Connection,
    end: str,
    row: RevisionRow | None,
    relation: str,
    others: tuple[Node, ...] = (),
) -> Node:
    if row is None:  # only known by name
        return Node(
            id="",
            name=end,
            relation=relation,
            source="elsewhere",
            licence=None,
            bytes=None,
            loss=None,
            aliases=(),
            is_withdrawn=False,
            others=others,
        )
    pointed = queries.aliases(connection, row.model)
    return Node(
        id=row.id,
        name=revisions.named(row),
        relation=relation,
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
