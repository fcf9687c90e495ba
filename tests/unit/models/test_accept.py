"""What is put here is held to what a pull is held to."""

from __future__ import annotations

import hashlib
import json

import pytest

from haneul.base.errors import BadRequest, BrokenFile
from haneul.models.folder.accept import accept, check_name
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File
from haneul.testing.gguf import gguf_bytes
from haneul.testing.safetensors import safetensors_bytes


@pytest.fixture
def store(tmp_path):
    blobs = Blobs(tmp_path)
    blobs.open()
    return blobs


def keeper(blobs):
    def keep(content):
        sha256 = hashlib.sha256(content).hexdigest()
        blobs.path(sha256).write_bytes(content)
        return File(path="", sha256=sha256, bytes=len(content))

    return keep


def put(blobs, **files):
    keep = keeper(blobs)
    made = []
    for path, content in files.items():
        kept = keep(content)
        made.append(File(path=path.replace("__", "."), sha256=kept.sha256, bytes=kept.bytes))
    return accept(made, blobs.path, keep)


@pytest.fixture
def gguf():
    return gguf_bytes()


def test_a_gguf_and_its_card_are_a_revision_with_licence_and_shape(store, gguf):
    card = b"---\ntags: [x]\nlicense: apache-2.0\n---\n# license: other\n"
    made = put(store, m__gguf=gguf, README__md=card)
    assert made.manifest.format == "gguf"
    assert made.digest == hashlib.sha256(gguf).hexdigest()
    assert made.licence == "apache-2.0"
    assert made.facts.shape is not None
    assert made.facts.shape.layers > 0


def test_safetensors_are_a_revision_and_an_adapter_is_one_of_its_own_format(store):
    weights = safetensors_bytes({"w": ("F32", [2, 2])})
    config = b'{"model_type": "llama"}'
    assert put(store, model__safetensors=weights, config__json=config).manifest.format == (
        "safetensors"
    )
    adapter = put(store, adapter_model__safetensors=weights, adapter_config__json=config)
    assert adapter.manifest.format == "adapter"


def test_what_would_import_code_is_dropped_from_a_configuration(store):
    weights = safetensors_bytes({"w": ("F32", [2, 2])})
    config = json.dumps({"auto_map": {"AutoModel": "x.Y"}, "hidden_size": 4}).encode()
    made = put(store, model__safetensors=weights, config__json=config)
    (kept,) = [file for file in made.manifest.files if file.path == "config.json"]
    assert json.loads(store.path(kept.sha256).read_bytes()) == {"hidden_size": 4}
    assert kept.sha256 != hashlib.sha256(config).hexdigest()


def test_weights_that_lie_about_themselves_are_no_revision(store, gguf):
    with pytest.raises(BrokenFile, match=r"m\.gguf"):
        put(store, m__gguf=gguf[:-100])
    with pytest.raises(BrokenFile, match=r"model\.safetensors"):
        put(store, model__safetensors=b"\x08" + b"\0" * 7 + b"{}      " + b"\0" * 9)


def test_an_index_must_say_what_the_files_hold(store):
    weights = safetensors_bytes({"w": ("F32", [2, 2])})
    wrong = json.dumps({"weight_map": {"other": "model.safetensors"}}).encode()
    keep = keeper(store)
    files = []
    for path, content in {
        "model.safetensors": weights,
        "model.safetensors.index.json": wrong,
    }.items():
        kept = keep(content)
        files.append(File(path=path, sha256=kept.sha256, bytes=kept.bytes))
    with pytest.raises(BrokenFile, match="other"):
        accept(files, store.path, keep)


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["README.md"],
        ["a.gguf", "b.gguf"],
        ["a.gguf", "model.safetensors"],
        ["m-00001-of-00002.gguf"],
    ],
)
def test_a_revision_holds_one_model_whole(store, gguf, paths):
    with pytest.raises(BadRequest, match=r"weights|not both|not one|one model"):
        put(store, **{path.replace(".", "__"): gguf for path in paths})


@pytest.mark.parametrize(
    "path",
    [
        "x.bin",
        "x.pt",
        "deep/x.pkl",
        "modeling.py",
        "run.sh",
        "x.png",
        "../m.gguf",
        "a/b/c.json",
        "",
    ],
)
def test_files_that_no_revision_holds_are_refused_by_name(path):
    with pytest.raises(BadRequest, match=path.replace(".", r"\.").replace("/", "/") or "file"):
        check_name(path)


@pytest.mark.parametrize(
    "path",
    [
        "m.gguf",
        "model.safetensors",
        "README.md",
        "LICENSE",
        "tokenizer.model",
        "1_Pooling/config.json",
    ],
)
def test_files_of_a_model_are_taken(path):
    check_name(path)
