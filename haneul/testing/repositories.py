"""What the fake hubs answer about the repositories in a folder, as the real ones would.

    FOLDER/ORG/REPO/FILE        the main revision
    FOLDER/ORG/REPO@NAME/FILE   a branch or tag

Shapes as the genuine clients read them: huggingface_hub 2.4 (hf_api.py: ModelInfo, RepoFile) and
modelscope-hub 0.5.1 (_legacy_api.py).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

LARGE = (".gguf", ".safetensors", ".bin", ".pt", ".onnx", ".model")  # kept as LFS objects


class Repository(NamedTuple):
    """One revision: its files by their paths, and its commit."""

    name: str
    files: dict[str, Path]
    commit: str


def find(folder: Path, name: str, revision: str, main: str) -> Repository | None:
    """The repository at a branch, tag or commit; None where there is no such thing."""
    for place in (folder / name, *sorted(folder.glob(f"{name}@*"))):
        files = files_of(place)
        commit = commit_of(files)
        is_meant = revision in (commit, place.name.partition("@")[2] or main)
        if files and is_meant:
            return Repository(name, files, commit)
    return None


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below the folder, by its path in there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def commit_of(files: dict[str, Path]) -> str:
    """Forty digits that change whenever a file does."""
    state = hashlib.sha1(usedforsecurity=False)
    for name, path in files.items():
        state.update(f"{name} {git_hash(path)}\n".encode())
    return state.hexdigest()


def sha256(path: Path) -> str:
    """Of the file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def git_hash(path: Path) -> str:
    """As git names the file's bytes."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def etag(path: Path) -> str:
    """As the hub tags it: a large file by its SHA-256, any other by git's hash."""
    return f'"{sha256(path) if is_large(path.name) else git_hash(path)}"'


def is_large(name: str) -> bool:
    """Whether the hub keeps the file as an LFS object."""
    return name.lower().endswith(LARGE)


def huggingface_model(
    repository: Repository, *, has_blobs: bool, has_hashes: bool, licence: str
) -> dict[str, Any]:
    """GET /api/models/ORG/REPO: without blobs the siblings have names only."""
    siblings = []
    for name, path in repository.files.items():
        sibling: dict[str, Any] = {"rfilename": name}
        if has_blobs:
            sibling |= {"size": path.stat().st_size, "blobId": git_hash(path)}
            if has_hashes and is_large(name):
                size = path.stat().st_size
                sibling["lfs"] = {"sha256": sha256(path), "size": size, "pointerSize": 134}
        siblings.append(sibling)
    return {
        "_id": repository.commit[:24],
        "id": repository.name,
        "modelId": repository.name,
        "sha": repository.commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": ["gguf", f"license:{licence}"],
        "cardData": {"license": licence},
        "siblings": siblings,
    }


def huggingface_tree(repository: Repository) -> list[dict[str, Any]]:
    """GET /api/models/ORG/REPO/tree/REVISION?recursive=true: folders and files."""
    entries: dict[str, dict[str, Any]] = {}
    for name, path in repository.files.items():
        for parent in reversed(Path(name).parents[:-1]):
            folder = parent.as_posix()
            entries[folder] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
        size = path.stat().st_size
        entry = {"type": "file", "oid": git_hash(path), "size": size, "path": name}
        if is_large(name):
            entry["lfs"] = {"oid": sha256(path), "size": size, "pointerSize": 134}
        entries[name] = entry
    return list(entries.values())


def modelscope_files(
    repository: Repository, *, root: str, is_deep: bool, has_hashes: bool
) -> list[dict[str, Any]]:
    """GET /api/v1/models/ORG/REPO/repo/files: folders and files below the root."""
    entries: dict[str, dict[str, Any]] = {}
    for name, path in repository.files.items():
        if root and not name.startswith(f"{root}/"):
            continue
        depth = len(Path(root).parts) + 1
        for parent in reversed(Path(name).parents[:-1]):
            if len(parent.parts) >= depth and (is_deep or len(parent.parts) == depth):
                folder = parent.as_posix()
                entries[folder] = {"Path": folder, "Name": parent.name, "Type": "tree", "Size": 0}
        if is_deep or len(Path(name).parts) == depth:
            entries[name] = {
                "Path": name,
                "Name": Path(name).name,
                "Type": "blob",
                "Size": path.stat().st_size,
                "Revision": repository.commit,
                "IsLFS": is_large(name),
                "Sha256": sha256(path) if has_hashes else "",
            }
    return list(entries.values())
