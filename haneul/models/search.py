"""Finding a model by what it is to do, in which language, under which licence, on which chip."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate
from haneul.chips.footprint import Fit, fits, footprint
from haneul.models.catalogue import Catalogue
from haneul.models.families.entry import Entry, Service, size_of
from haneul.models.query import Query

CONTEXT_TOKENS = 4096  # unless more is asked for: enough to talk, as the cloud gives by itself
ALIKE = 0.79  # of a word and a part of a name: two signs in ten may be wrong
EXACT, BEGINS, WITHIN, NEARLY = 4, 3, 2, 1


class Fitting(Struct, frozen=True):
    """The finest file of a model that fits a chip, or the smallest where none does."""

    quantisation: str
    size: Estimate
    fit: Fit


class Hit(Struct, frozen=True):
    """A model that was found, the better the higher its score; `fitting` where a chip was named."""

    entry: Entry
    score: int
    fitting: Fitting | None = None


def search(
    catalogue: Catalogue,
    query: Query,
    *,
    chip: Chip | None = None,
    context_tokens: int = CONTEXT_TOKENS,
) -> list[Hit]:
    """What answers the query, the best first; with a chip only what surely fits it.

    Of equals, what can be pulled comes before what cannot, and more parameters before fewer. Where
    nothing has the words as they stand, what looks like them is found.
    """
    kept = [entry for entry in catalogue.entries if _passes(entry, query)]
    hits = _hits(kept, query.words, {}) or _hits(kept, query.words, _alike(kept, query.words))
    if chip is not None:
        fitted = ((hit, best_fit(hit.entry, chip, context_tokens=context_tokens)) for hit in hits)
        hits = [replace(hit, fitting=found) for hit, found in fitted if found.fit.fits]
    return sorted(hits, key=lambda hit: _rank(hit, query), reverse=True)


def services(catalogue: Catalogue, query: Query) -> list[Service]:
    """The services that answer it: those have no size, so a query for one finds none."""
    if query.parameters_min or query.parameters_max < math.inf or query.bytes_max < math.inf:
        return []
    return [service for service in catalogue.services if _answers(service, query)]


def suggestion(catalogue: Catalogue, query: Query) -> str:
    """A sentence with names that look like the words; "" where none does."""
    known = {part for entry in catalogue.entries for part in _parts(_names(entry))}
    alike = [
        near
        for word in query.words
        for near in difflib.get_close_matches(word, known, n=2, cutoff=0.6)
        if near != word
    ]
    return f"Did you mean {' or '.join(dict.fromkeys(alike))}?" if alike else ""


def best_fit(entry: Entry, chip: Chip, *, context_tokens: int = CONTEXT_TOKENS) -> Fitting:
    """The finest known file that fits with so much context; else the smallest, and why not."""
    context = min(context_tokens, entry.shape.context_tokens)
    kinds = dict.fromkeys((*entry.quantisations, entry.shape.quantisation))
    files = [(kind, size) for kind in kinds if (size := size_of(entry, kind)) is not None]
    files.sort(key=lambda file: file[1].mid, reverse=True)
    for kind, size in files:
        fitting = Fitting(kind, size, _fit(entry, size, chip, context))
        if fitting.fit.fits:
            return fitting
    return fitting


def _fit(entry: Entry, size: Estimate, chip: Chip, context_tokens: int) -> Fit:
    """Whether it fits, the doubt about the file's size included."""
    shape = replace(entry.shape, weight_bytes=round(size.mid))
    need = footprint(shape, context_tokens=context_tokens, slots=1)
    total = replace(
        need.total,
        low=need.total.low - size.mid + size.low,
        high=need.total.high - size.mid + size.high,
    )
    return fits(replace(need, total=total), chip)


def _passes(entry: Entry, query: Query) -> bool:
    """Whether every filter that is set holds for it."""
    return (
        set(query.tasks) <= set(entry.tasks)
        and set(query.languages) <= set(entry.languages)
        and (not query.licence or _has_licence(entry.licence, query.licence))
        and (not query.is_commercial or bool(entry.terms.allows_commercial))
        and query.parameters_min <= entry.shape.parameters <= query.parameters_max
        and (query.bytes_max == math.inf or _smallest(entry) <= query.bytes_max)
    )


def _has_licence(licence: str, wanted: str) -> bool:
    parts = licence.lower().split(" and ")  # of weights under several licences all hold
    return all(part.startswith(wanted.removesuffix("-terms")) for part in parts)


def _smallest(entry: Entry) -> float:
    kinds = (*entry.quantisations, entry.shape.quantisation)
    return min(size.mid for kind in kinds if (size := size_of(entry, kind)) is not None)


def _answers(service: Service, query: Query) -> bool:
    names = (service.name, service.family, service.maker, service.upstream, service.task)
    return (
        set(query.tasks) <= {service.task}
        and not query.languages
        and (not query.licence or _has_licence(service.licence, query.licence))
        and (not query.is_commercial or bool(service.terms.allows_commercial))
        and _words_score(query.words, tuple(name.lower() for name in names), {}) is not None
    )


def _names(entry: Entry) -> tuple[str, ...]:
    """Everything a word may mean the model by, the names it is called by first."""
    words = (entry.name, *entry.aliases, entry.family, entry.maker, entry.upstream, entry.base)
    return tuple(word.lower() for word in words if word)


def _hits(
    entries: Sequence[Entry], words: tuple[str, ...], alike: Mapping[str, set[str]]
) -> list[Hit]:
    scored = [(entry, _words_score(words, _names(entry), alike)) for entry in entries]
    return [Hit(entry, score) for entry, score in scored if score is not None]


def _alike(entries: Sequence[Entry], words: tuple[str, ...]) -> dict[str, set[str]]:
    """For each word the parts of names that look like it."""
    known = {part for entry in entries for part in _parts(_names(entry))}
    return {word: set(difflib.get_close_matches(word, known, n=8, cutoff=ALIKE)) for word in words}


def _words_score(
    words: tuple[str, ...], names: tuple[str, ...], alike: Mapping[str, set[str]]
) -> int | None:
    """How well all words are met; None where one is not."""
    scores = [_word_score(word, names, alike.get(word, set())) for word in words]
    return sum(scores) if all(scores) else None


def _word_score(word: str, names: tuple[str, ...], alike: set[str]) -> int:
    if word in names:
        return EXACT
    if any(name.startswith(word) for name in names):
        return BEGINS
    if any(word in name for name in names):
        return WITHIN
    return NEARLY if alike & _parts(names) else 0


def _parts(names: Iterable[str]) -> set[str]:
    return {part for name in names for part in re.split(r"[^0-9a-z.]+", name) if len(part) > 2}


def _rank(hit: Hit, query: Query) -> tuple[float, ...]:
    """What stands higher: words met better, the typed size nearer, a file to pull, more weights."""
    parameters = hit.entry.shape.parameters
    wanted = math.sqrt(query.parameters_min * query.parameters_max)
    is_near = query.parameters_min > 0 and query.parameters_max < math.inf
    distance = abs(math.log(parameters / wanted)) if is_near else 0.0
    return (hit.score, bool(hit.entry.sources), -round(distance, 1), parameters)
