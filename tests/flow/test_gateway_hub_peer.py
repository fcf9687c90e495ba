"""One haneul pulls from another: its hub is a source like any other."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from hub_models import a_name, put_model

from haneul.base.errors import FetchFailed
from haneul.models import manifest
from haneul.models.folder.blobs import Blobs
from haneul.models.preview import preview
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.pull import pull
from haneul.models.reference import parse
from haneul.testing.gguf import TINY, Weights, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODEL = gguf_bytes({**TINY, "tokenizer.chat_template": "hello"}, [Weights("w", (1024, 600))])


@pytest.fixture
async def peer(cloud):
    """The environment that points at the running cloud, with a key of it."""
    secret = (await cloud.make_key(scopes=("pull",))).secret
    return {"HANEUL_PEERS": cloud.root, "HANEUL_PEER_KEY": secret}


@pytest_asyncio.fixture(loop_scope="module")
async def fetcher():
    async with Fetcher(connect_s=5, idle_s=5) as opened:
        yield opened


async def bring(text, environ, fetcher, folder):
    return await pull(parse(text), blobs=Blobs(folder), fetcher=fetcher, environ=environ)


async def test_model_of_another_haneul_comes_with_its_bytes_and_its_revision(
    cloud, peer, fetcher, tmp_path
):
    name = a_name()
    made = await put_model(cloud, name, {"m-Q4_K_M.gguf": MODEL})
    seen = await preview(parse(f"haneul:{name}"), fetcher=fetcher, environ=peer)
    assert (seen.template, seen.shape.layers) == ("hello", 1)
    pulled = await bring(f"haneul:{name}", peer, fetcher, tmp_path)
    assert pulled.manifest == made
    assert pulled.path.read_bytes() == MODEL
    assert pulled.source == "haneul at 127.0.0.1"
    assert made.revision.startswith(pulled.revision)


async def test_repository_of_safetensors_comes_whole(cloud, peer, fetcher, tmp_path):
    name = a_name()
    files = {
        "model.safetensors": safetensors_bytes({"w": ("F32", [8, 8])}),
        "config.json": json.dumps({"model_type": "llama"}).encode(),
        "tokenizer.json": b"{}",
    }
    made = await put_model(cloud, name, files)
    pulled = await bring(f"haneul:haneul/{name}", peer, fetcher, tmp_path)
    assert pulled.manifest.files == made.files
    assert manifest.manifest("safetensors", made.files) == pulled.manifest


async def test_what_a_haneul_pulled_from_a_hub_is_found_under_the_hubs_name(
    cloud, peer, fetcher, tmp_path
):
    name = a_name()
    await put_model(cloud, f"hf:org/{name}:Q4_K_M", {"m-Q4_K_M.gguf": MODEL})
    away = {**peer, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    pulled = await bring(f"hf:org/{name}:Q4_K_M", away, fetcher, tmp_path)
    assert pulled.source == "haneul at 127.0.0.1"
    with pytest.raises(FetchFailed, match="HF_HUB_OFFLINE"):
        await bring(f"hf:org/{a_name()}", away, fetcher, tmp_path)


async def test_key_that_may_not_pull_is_refused(cloud, fetcher, tmp_path):
    name = a_name()
    await put_model(cloud, name, {"m-Q4_K_M.gguf": MODEL})
    secret = (await cloud.make_key(scopes=("infer",))).secret
    for key in (secret, ""):
        environ = {"HANEUL_PEERS": cloud.root, "HANEUL_PEER_KEY": key}
        with pytest.raises(FetchFailed, match="127"):
            await bring(f"haneul:{name}", environ, fetcher, tmp_path)
