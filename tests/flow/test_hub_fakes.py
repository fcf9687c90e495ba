"""The fake hubs are honest: the hubs' own clients take models from them; and what these clients
leave in their caches serves haneul, which does not touch it.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from client_places import python_of

from haneul.models.folder.blobs import Blobs
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.pull import pull
from haneul.models.reference import parse
from haneul.testing.gguf import gguf_bytes
from haneul.testing.hub import FakeHub

pytestmark = pytest.mark.timeout(300)
FILES = {
    "m-Q4_K_M.gguf": gguf_bytes(),
    "config.json": b"{}",
    "README.md": b"# A card\n",
    "sub/words.txt": b"one",
    "modeling.py": b"raise SystemExit",
}
HUGGINGFACE = """
import sys
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
print(snapshot_download("org/repo"))
assert {file for file in HfApi().list_repo_files("org/repo")} == set(sys.argv[1:])
for repository, revision, kind in [
    ("org/none", None, RepositoryNotFoundError),
    ("org/repo", "v9", RevisionNotFoundError),
    ("org/gated", None, GatedRepoError),
]:
    try:
        HfApi().model_info(repository, revision=revision)
        if repository != "org/gated":
            raise SystemExit(f"{repository} was found")
    except kind:
        pass
"""
MODELSCOPE = """
from modelscope_hub.compat import snapshot_download
print(snapshot_download("org/repo"))
"""


@pytest.fixture
async def hub(tmp_path):
    folder = tmp_path / "hub"
    for name, data in FILES.items():
        path = folder / "models" / "org" / "repo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    gated = folder / "models" / "org" / "gated"
    gated.mkdir()
    (gated / "m.gguf").write_bytes(FILES["m-Q4_K_M.gguf"])
    async with FakeHub(folder) as served:
        served.faults["huggingface"].has_cdn = True
        served.faults["huggingface"].page_entries = 2
        served.tokens["org/gated"], served.is_gated = "hf_other", True
        yield served


async def run(lock, program, *words, **environ):
    """Runs a program with the clients of a lock; it must end well."""
    python = await asyncio.to_thread(python_of, lock)
    asking = await asyncio.create_subprocess_exec(
        *(str(python), "-c", program, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HF_HUB_DISABLE_XET": "1", **environ},
    )
    told, _ = await asyncio.wait_for(asking.communicate(), 120)
    assert asking.returncode == 0, told.decode(errors="replace")[-3000:]


def state(folder):
    """Every file and link below with its time and size."""
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


async def take(text, hub, folder, **environ):
    """Pulls without a hub that could be asked."""
    seen = len(hub.seen)
    async with Fetcher(trusted_hosts=[hub.url], connect_s=2) as fetcher:
        pulled = await pull(parse(text), blobs=Blobs(folder), fetcher=fetcher, environ=environ)
    assert pulled.path.read_bytes() == FILES["m-Q4_K_M.gguf"]
    assert "cache" in pulled.source
    return len(hub.seen) - seen


@pytest.mark.parametrize("lock", ["huggingface_0", "huggingface_1", "huggingface"])
async def test_what_huggingface_hub_took_from_the_fake_serves_from_its_cache(hub, tmp_path, lock):
    home = tmp_path / "hf"
    await run(lock, HUGGINGFACE, *FILES, HF_ENDPOINT=hub.url, HF_HOME=str(home))
    before = state(home)
    away = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    assert await take("hf:org/repo", hub, tmp_path / "away", **away) == 0
    there = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
    assert await take("hf:org/repo", hub, tmp_path / "there", **there) == 1  # the listing
    assert state(home) == before


async def test_what_modelscopes_client_took_from_the_fake_serves_from_its_cache(hub, tmp_path):
    cache = tmp_path / "ms"
    places = {"MODELSCOPE_ENDPOINT": hub.url, "MODELSCOPE_CACHE": str(cache)}
    await run("modelscope", MODELSCOPE, **places)
    before = state(cache)
    assert await take("modelscope:org/repo", hub, tmp_path / "there", **places) <= 2
    away = {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_CACHE": str(cache)}
    assert await take("modelscope:org/repo", hub, tmp_path / "away", **away) == 0
    assert state(cache) == before
