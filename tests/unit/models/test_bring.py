"""What a pull comes to: a revision, and a row that serves it where an engine reads it."""

import json
from pathlib import Path

import pytest

from haneul.base.errors import CommandError
from haneul.models import hub as models
from haneul.models import manifest, revisions
from haneul.models.folder import removal
from haneul.models.folder.blobs import Blobs
from haneul.store import audit
from haneul.store import models as queries
from haneul.store import revisions as revision_queries
from haneul.store.database import open_database
from haneul.testing.gguf import TINY, Weights, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

TEMPLATE = "hello\n{{ messages }}\n"


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def bring(hub, database, tmp_path, monkeypatch):
    """Brings a reference from the fake hubs."""
    for name, value in hub.environ.items():
        monkeypatch.setenv(name, value)  # ensure() reads what the process has

    async def go(text, **options):
        return await models.bring(
            text,
            database=database,
            folder=tmp_path / "home" / "models",
            environ=hub.environ,
            **options,
        )

    return go


@pytest.fixture
def repository(hub):
    def write(name, **files):
        folder = hub.folder / "models" / "org" / name
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data if isinstance(data, bytes) else data.encode())
        return folder

    return write


def tiny(template=TEMPLATE, **metadata):
    return gguf_bytes({**TINY, "tokenizer.chat_template": template, **metadata})


def content(row, name=None):
    """The bytes of the served file, or of the one of that name beside it."""
    path = Path(row.path)
    return path.with_name(name or path.name).read_bytes()


async def test_model_is_a_revision_that_serves(repository, bring, database):
    repository("m", **{"m-Q4_K_M.gguf": tiny(), "code.py": "1/0"})
    brought = await bring("hf:org/m")
    row = database.run(queries.get, "hf:org/m")
    assert brought.row == row
    assert row.revision == brought.revision.id
    assert row.digest == brought.revision.digest
    assert content(row) == tiny()
    facts = revisions.facts(brought.revision)
    assert facts.upstream == "org/m"
    assert facts.shape.layers == 1
    assert facts.template_sha256
    assert facts.left_out == ("code.py: code of a model's repository is never taken",)
    assert brought.revision.licence == "mit"
    (kept,) = manifest.read(brought.revision.manifest).files
    assert kept.path == "m-Q4_K_M.gguf"
    acts = [act.action for act in database.run(audit.recent)]
    assert sorted(acts) == ["model.pull", "revision.add"]


async def test_second_pull_asks_nobody_and_changes_nothing(hub, repository, bring, database):
    repository("m", **{"m-Q4_K_M.gguf": tiny()})
    first = await bring("hf:org/m")
    asked = len(hub.seen)
    assert await bring("hf:org/m") == first
    assert len(hub.seen) == asked
    assert len(database.run(audit.recent)) == 2


async def test_update_brings_a_new_revision_and_shows_what_the_template_changes(
    repository, bring, database
):
    repository("m", **{"m-Q4_K_M.gguf": tiny()})
    first = await bring("hf:org/m")
    repository("m", **{"m-Q4_K_M.gguf": tiny("good bye\n{{ messages }}\n")})
    assert (await bring("hf:org/m")).revision == first.revision
    second = await bring("hf:org/m", is_update=True)
    assert second.revision.id != first.revision.id
    assert {"-hello", "+good bye"} <= set(second.template_change)
    assert database.run(queries.get, "hf:org/m").revision == second.revision.id
    known = database.run(revision_queries.of_model, "hf:org/m")
    assert {row.id for row in known} == {first.revision.id, second.revision.id}
    assert (await bring("hf:org/m", is_update=True)).template_change == ()


async def test_safetensors_are_kept_as_a_revision_and_not_served(
    repository, bring, database, hub, tmp_path
):
    config = {"model_type": "x", "auto_map": {"A": "b.C"}}
    weights = safetensors_bytes({"w": ("F32", [4])})
    repository("t", **{"model.safetensors": weights, "config.json": json.dumps(config)})
    brought = await bring("hf:org/t")
    assert brought.row is None
    assert database.run(queries.get, "hf:org/t") is None
    files = manifest.read(brought.revision.manifest)
    assert [file.path for file in files.files] == ["config.json", "model.safetensors"]
    blobs = Blobs(tmp_path / "home" / "models")
    assert database.run(removal.unserved, blobs) == [brought.revision]
    with pytest.raises(CommandError, match="haneul models convert hf:org/t"):
        await models.ensure("hf:org/t", database=database, folder=tmp_path / "home" / "models")


async def test_unserved_model_is_removed_and_can_come_again(repository, bring, database, tmp_path):
    weights = safetensors_bytes({"w": ("F32", [4])})
    repository("t", **{"model.safetensors": weights, "tokenizer.json": b"{}"})
    brought = await bring("hf:org/t")
    unused = database.run(removal.forget_unserved, brought.revision, "test")
    removal.remove_files(brought.revision.digest, unused, tmp_path / "home")
    assert list((tmp_path / "home" / "models" / "blobs").iterdir()) == []
    assert database.run(removal.unserved, Blobs(tmp_path / "home" / "models")) == []
    assert (await bring("hf:org/t")).revision == brought.revision
    assert len(list((tmp_path / "home" / "models" / "blobs").iterdir())) == 2


async def test_split_model_is_served_by_its_first_part_and_removed_whole(
    repository, bring, database, tmp_path
):
    told = {"split.count": 2, "split.tensors.count": 3}
    first = gguf_bytes({**TINY, "split.no": 0, **told}, [Weights("token_embd.weight", (32, 4))])
    rest = [Weights("blk.0.attn_q.weight", (32, 32)), Weights("blk.0.ffn_up.weight", (32, 64))]
    second = gguf_bytes({"split.no": 1, **told}, rest)
    names = [f"m-Q4_K_M-0000{number}-of-00002.gguf" for number in (1, 2)]
    repository("s", **dict(zip(names, (first, second), strict=True)))
    brought = await bring("hf:org/s")
    assert brought.row.path.endswith(names[0])
    assert content(brought.row, names[1]) == second
    assert brought.row.bytes == len(first) + len(second)
    folder = tmp_path / "home" / "models"
    assert await models.ensure("hf:org/s", database=database, folder=folder) == brought.row
    unused = database.run(removal.forget, brought.row, "test")
    assert len(unused) == 2
    removal.remove_files(brought.row.digest, unused, tmp_path / "home")
    assert list((folder / "blobs").iterdir()) == []
    assert list((folder / "revisions").iterdir()) == []


async def test_file_goes_with_the_last_model_that_needs_it(repository, bring, database):
    repository("m", **{"m-Q4_K_M.gguf": tiny()})
    repository("n", **{"n-Q4_K_M.gguf": tiny()})
    first, second = await bring("hf:org/m"), await bring("hf:org/n")
    assert first.row.digest == second.row.digest
    assert database.run(removal.forget, first.row, "test") == ()
    assert database.run(removal.forget, second.row, "test") == (second.row.digest,)


async def test_file_of_an_older_revision_stays_while_its_model_is_served(
    repository, bring, database
):
    repository("m", **{"m-Q4_K_M.gguf": tiny()})
    old = await bring("hf:org/m")
    repository("m", **{"m-Q4_K_M.gguf": tiny("new")})
    await bring("hf:org/m", is_update=True)
    repository("n", **{"n-Q4_K_M.gguf": tiny()})
    other = await bring("hf:org/n")
    assert other.row.digest == old.row.digest
    assert database.run(removal.forget, other.row, "test") == ()
    newest = database.run(queries.get, "hf:org/m")
    unused = database.run(removal.forget, newest, "test")
    assert set(unused) == {old.row.digest, newest.digest}
