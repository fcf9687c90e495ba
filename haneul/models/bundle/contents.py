"""What a bundle says is in it: models with their files and family, catalogue entries, prices.

It is one JSON document in one form: what decodes to the same and is written otherwise is refused,
so that all who read it read the same.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from haneul.base import strict_json
from haneul.base.errors import BrokenFile
from haneul.models import manifest, quality
from haneul.models.manifest import SHA256, Manifest

VERSION = 1
NAME_MAX = 255

Text = Annotated[str, Meta(max_length=1024)]
Long = Annotated[str, Meta(max_length=1 << 20)]
Nano = Annotated[int, Meta(ge=0, le=1 << 62)]
VALUES_MAX = 1 << 20


class Blob(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the bundle."""

    sha256: str
    bytes: Annotated[int, Meta(ge=0, le=1 << 50)]


class Edge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a revision was made of; see store.revisions.DerivationRow."""

    child: Text
    parent: Text
    relation: Text
    recipe: Long
    tools: Long
    licence: Text | None = None


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a revision was measured against its parent; see store.revisions.QualityRow."""

    id: Text
    child: Text
    parent: Text
    suite: Text
    measures: Long
    created_us: int


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A price that somebody set; see store.prices.PriceRow. From 0: from when it is loaded."""

    model: Text
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    input_nano: Nano
    cached_nano: Nano
    output_nano: Nano
    reasoning_nano: Nano | None = None
    unit: Text | None = None
    unit_nano: Nano | None = None
    from_us: Nano = 0


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One revision of a model."""

    name: Text
    manifest: Manifest
    digest: str
    source: Text
    source_revision: Text = ""
    licence: Text | None = None
    facts: Long = "{}"
    aliases: tuple[Text, ...] = ()


class Contents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All of it. The blobs are in the order in which they lie in the file.

    made_of and measured are of the models and of all they were made of, however far back: a loss
    is multiplied along the line. The catalogue's documents have the form of its files.
    """

    haneul_bundle: int
    id: Text
    created_us: int
    made_by: Text
    note: Text = ""
    models: tuple[Model, ...]
    made_of: tuple[Edge, ...] = ()
    measured: tuple[Measured, ...] = ()
    prices: tuple[Price, ...] = ()
    catalogue: tuple[dict[str, Any], ...] = ()
    blobs: tuple[Blob, ...]

    @property
    def bytes(self) -> int:
        """Of all blobs."""
        return sum(blob.bytes for blob in self.blobs)


def dump(contents: Contents) -> bytes:
    """The one form."""
    return msgspec.json.encode(contents, order="sorted")


def read(data: bytes) -> Contents:
    """The contents, checked. Raises BrokenFile with the reason."""
    strict_json.check_values(data, "The bundle's list", values_max=VALUES_MAX)
    version = _version(data)
    if version != VERSION:
        raise BrokenFile(f"This bundle is of version {version}; this haneul reads {VERSION}.")
    try:
        contents = msgspec.json.decode(data, type=Contents)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise BrokenFile(
            f"The contents of the bundle are not as they should be: {cause}."
        ) from cause
    if dump(contents) != data:
        raise BrokenFile("The contents of the bundle are not written in their one form.")
    _check_models(contents)
    return contents


class _Version(Struct):
    haneul_bundle: int


def _version(data: bytes) -> int:
    try:
        return msgspec.json.decode(data, type=_Version).haneul_bundle
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise BrokenFile("This is no bundle of haneul.") from cause


def _check_models(contents: Contents) -> None:
    """Every file of every model is a blob, every blob a file of a model, each once."""
    sizes = {blob.sha256: blob.bytes for blob in contents.blobs}
    if len(sizes) != len(contents.blobs) or not all(map(SHA256.fullmatch, sizes)):
        raise BrokenFile("The bundle names a file twice, or not by its digest.")
    wanted: dict[str, int] = {}
    _check_words(contents)
    for model in contents.models:
        if not _is_name(model.name):
            raise BrokenFile(f"A model of the bundle is called {model.name[:100]!r}.")
        checked = manifest.manifest(model.manifest.format, model.manifest.files)
        if checked != model.manifest:
            raise BrokenFile(f"The files of {model.name} are not in their order.")
        single = checked.weights[0].sha256 if len(checked.weights) == 1 else checked.revision
        if model.digest != single:
            raise BrokenFile(f"The weights of {model.name} are called {model.digest[:100]!r}.")
        for file in checked.files:
            if wanted.setdefault(file.sha256, file.bytes) != file.bytes:
                raise BrokenFile(f"{file.path} of {model.name} has two sizes.")
    if wanted != sizes:
        raise BrokenFile("The bundle's files are not those of its models.")


def _is_name(name: str) -> bool:
    """Whether a model may be called so: what can be shown, and typed as a command's argument."""
    is_plain = name.isprintable() and name.strip() == name and not name.startswith("-")
    return is_plain and 1 <= len(name) <= NAME_MAX


def _check_words(contents: Contents) -> None:
    """What people are shown has no signs that steer a terminal; what is measured can be read."""
    words = [contents.id, contents.note, contents.made_by]
    for edge in contents.made_of:
        words += [edge.child, edge.parent, edge.relation, edge.recipe, edge.tools]
    for model in contents.models:
        words += [model.source, model.source_revision, model.licence or "", *model.aliases]
    if not all(text.isprintable() for text in words):
        raise BrokenFile("The bundle's own words have signs that cannot be shown.")
    for measured in contents.measured:
        try:
            quality.read(measured.measures)
        except (msgspec.MsgspecError, RecursionError) as cause:
            raise BrokenFile("The bundle holds a measurement that cannot be read.") from cause
