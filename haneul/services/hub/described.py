"""A revision in the words of the hubs: its facts, its tree, its names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from msgspec import UNSET

from haneul.base.errors import NotFound
from haneul.base.units import MILLION
from haneul.models.manifest import File
from haneul.services.hub.shelf import COMMIT_DIGITS, Found, Repository, commit_of
from haneul.services.hub.wire import (
    CommitAuthor,
    CommitShown,
    HaneulFacts,
    LastCommit,
    Lfs,
    LfsOfSibling,
    Ref,
    Refs,
    RepositoryInfo,
    ScopeFile,
    ScopeModel,
    Sibling,
    TreeEntry,
)
from haneul.store.shelf import StateRow

FULL = (
    *("modelId", "author", "sha", "lastModified", "createdAt", "private", "gated", "disabled"),
    *(
        "downloads",
        "likes",
        "library_name",
        "tags",
        "cardData",
        "usedStorage",
        "siblings",
        "haneul",
    ),
)
LISTED = (
    *("modelId", "author", "sha", "lastModified", "createdAt", "private", "downloads", "tags"),
    *("likes", "library_name"),
)
LIBRARIES = {"gguf": "gguf", "safetensors": "transformers", "adapter": "peft"}


def info(
    found: Found,
    *,
    downloads: int,
    parents: tuple[str, ...] = (),
    blobs: bool = False,
    wanted: Iterable[str] = FULL,
) -> RepositoryInfo:
    """The facts of a repository at a revision: of those that are wanted, what is known."""
    repository, state = found.repository, found.state
    facts: dict[str, Any] = {
        "modelId": repository.id,
        "author": repository.id.partition("/")[0],
        "sha": found.commit,
        "lastModified": moment(repository.newest.created_us),
        "createdAt": moment(repository.states[-1].created_us),
        "private": True,
        "gated": False,
        "disabled": False,
        "downloads": downloads,
        "downloadsAllTime": downloads,
        "likes": 0,
        "library_name": LIBRARIES[found.manifest.format],
        "tags": tags(found),
        "cardData": {"license": state.licence} if state.licence else {},
        "usedStorage": state.bytes,
        "siblings": [_sibling(file, blobs) for file in found.manifest.files],
        "haneul": _own(found, parents),
    }
    chosen = {_snake(name): facts[name] for name in wanted if name in facts}
    return RepositoryInfo(id=repository.id, internal_id=state.id[:24], **chosen)


def tags(found: Found) -> list[str]:
    """What a revision can be looked for by: its format, its licence."""
    licence = found.state.licence
    return [found.manifest.format, *([f"license:{licence}"] if licence else [])]


def tree(found: Found, folder: str, *, is_recursive: bool, is_expanded: bool) -> list[TreeEntry]:
    """The files and folders below a folder. Raises NotFound where there is none."""
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    below = [file for file in found.manifest.files if file.path.startswith(prefix)]
    if not below:
        raise NotFound(f"There is no folder '{folder[:200]}' there.", param="path")
    last = _last(found) if is_expanded else UNSET
    entries = {}
    for file in below:
        steps = file.path[len(prefix) :].split("/")
        for depth in range(1, len(steps) if is_recursive else min(2, len(steps))):
            path = prefix + "/".join(steps[:depth])
            entries[path] = TreeEntry(
                type="directory", oid=_name(path), size=0, path=path, last_commit=last
            )
        if is_recursive or len(steps) == 1:
            entries[file.path] = entry(file, last)
    return [entries[path] for path in sorted(entries)]


def paths(found: Found, wanted: Iterable[str], *, is_expanded: bool) -> list[TreeEntry]:
    """What is there of the paths that are asked for."""
    last = _last(found) if is_expanded else UNSET
    entries = []
    for path in dict.fromkeys(text.strip("/") for text in wanted):
        file = found.paths.get(path)
        if file is not None:
            entries.append(entry(file, last))
        elif any(each.startswith(f"{path}/") for each in found.paths):
            entries.append(
                TreeEntry(type="directory", oid=_name(path), size=0, path=path, last_commit=last)
            )
    return entries


def entry(file: File, last: Any = UNSET) -> TreeEntry:
    """A file of a tree. Every file is told with its SHA-256, as large ones are elsewhere."""
    lfs = Lfs(oid=file.sha256, size=file.bytes, pointer_size=len(_pointer(file)))
    return TreeEntry(
        type="file", oid=blob_id(file), size=file.bytes, path=file.path, lfs=lfs, last_commit=last
    )


def refs(repository: Repository) -> Refs:
    """The names of a repository's revisions."""
    named = {"main": repository.newest.id, **repository.aliases}
    standing = {state.id for state in repository.states}
    branches = [
        Ref(name=name, ref=f"refs/heads/{name}", target_commit=commit_of(revision))
        for name, revision in named.items()
        if revision in standing
    ]
    return Refs(branches=branches)


def commits(repository: Repository, state: StateRow) -> list[CommitShown]:
    """A revision and those before it, the newest first."""
    return [
        CommitShown(
            id=commit_of(each.id),
            title=f"from {each.source}",
            message="",
            authors=[CommitAuthor(user=each.source)],
            date=moment(each.created_us),
        )
        for each in repository.states
        if each.created_us <= state.created_us
    ]


def scope_model(found: Found, downloads: int) -> ScopeModel:
    """The same as `info`, for ModelScope's clients."""
    repository, state = found.repository, found.state
    organisation, _, name = repository.id.partition("/")
    return ScopeModel(
        id=repository.id,
        name=name,
        path=organisation,
        revision="master",
        license=state.licence,
        downloads=downloads,
        storage_size=state.bytes,
        created_time=repository.states[-1].created_us // MILLION,
        last_updated_time=repository.newest.created_us // MILLION,
    )


def scope_files(found: Found, folder: str, *, is_recursive: bool) -> list[ScopeFile]:
    """The same as `tree`, for ModelScope's clients."""
    at_s = found.state.created_us // MILLION
    return [
        ScopeFile(
            path=each.path,
            name=each.path.rpartition("/")[2],
            type="tree" if each.type == "directory" else "blob",
            size=each.size,
            revision=found.commit,
            committed_date=at_s,
            sha256=each.lfs.oid if each.lfs else "",
            is_lfs=each.type == "file",
        )
        for each in tree(found, folder, is_recursive=is_recursive, is_expanded=False)
    ]


def blob_id(file: File) -> str:
    """What git calls the file that stands for the content: of the pointer, as of any large file."""
    pointer = _pointer(file)
    data = b"blob %d\0%b" % (len(pointer), pointer)
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def moment(at_us: int) -> str:
    """As the hubs write times."""
    at = datetime.fromtimestamp(at_us / MILLION, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _pointer(file: File) -> bytes:
    text = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.bytes}\n"
    )
    return text.encode()


def _sibling(file: File, blobs: bool) -> Sibling:
    if not blobs:
        return Sibling(rfilename=file.path)
    lfs = LfsOfSibling(sha256=file.sha256, size=file.bytes, pointer_size=len(_pointer(file)))
    return Sibling(rfilename=file.path, blob_id=blob_id(file), size=file.bytes, lfs=lfs)


def _own(found: Found, parents: tuple[str, ...]) -> HaneulFacts:
    weights = found.manifest.weights
    return HaneulFacts(
        model=found.repository.model,
        revision=found.state.id,
        format=found.manifest.format,
        digest=weights[0].sha256 if len(weights) == 1 else found.state.id,
        source=found.state.source,
        parents=parents,
    )


def _last(found: Found) -> LastCommit:
    state = found.state
    return LastCommit(id=found.commit, title=f"from {state.source}", date=moment(state.created_us))


def _name(path: str) -> str:
    """A folder has no content of its own here: its name stands for it."""
    return hashlib.sha256(path.encode()).hexdigest()[:COMMIT_DIGITS]


@lru_cache(maxsize=256)
def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
