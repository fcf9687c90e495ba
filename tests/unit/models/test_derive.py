"""Models made here: registered with parent, recipe and licence, served once they were measured."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from haneul.base import places
from haneul.base.errors import BadRequest, CommandError, NotAllowed
from haneul.base.gguf import read_header
from haneul.models import hub, revisions, serving
from haneul.models.derive import child, make
from haneul.models.derive.make import Kitchen
from haneul.models.folder.gc import collect, referenced
from haneul.store import models as rows
from haneul.store import revisions as queries
from haneul.store.database import open_database
from tests import checkpoints, lora_gguf


@pytest.fixture
def kitchen(tmp_path):
    database = open_database("", tmp_path)
    yield Kitchen(database=database, home=tmp_path / "home", actor="me", threads=1)
    database.close()


async def bring(kitchen, path):
    folder = places.blobs(kitchen.home)
    brought = await hub.bring(str(path), database=kitchen.database, folder=folder, actor="me")
    return brought.revision


def parents_of(kitchen, row):
    return kitchen.database.run(queries.parents, row.id)


def with_licence(kitchen, row, licence):
    """The same files under another name and licence."""
    from haneul.models.manifest import read

    return kitchen.database.run(
        lambda connection: revisions.register(
            connection,
            "licensed",
            read(row.manifest),
            digest=row.digest,
            source="test",
            licence=licence,
            facts=revisions.facts(row),
            actor="me",
        )
    )


async def test_quantised_model_is_served_with_its_parent_recipe_tools_and_loss(kitchen, tiny_model):
    parent = await bring(kitchen, tiny_model)
    licensed = with_licence(kitchen, parent, "Apache-2.0")
    steps = []
    listening = msgspec.structs.replace(kitchen, on_step=steps.append)
    made = await make.quantize(listening, "licensed", "Q8_0")
    (edge,) = parents_of(kitchen, made.revision)
    assert (edge.parent, edge.relation, edge.licence) == (licensed.id, "quantized", "Apache-2.0")
    assert json.loads(edge.recipe) == {"type": "Q8_0", "lossy_parent_allowed": False}
    assert {"haneul", "xllamacpp", "numpy"} <= json.loads(edge.tools).keys()
    assert made.measures is not None
    assert made.measures.kl_nats is not None
    assert 0 < made.measures.kl_nats.mid < 0.1
    assert [each.done for each in steps][:2] == [1, 2]
    row = kitchen.database.run(rows.get, "licensed-q8_0")
    assert row == made.row
    assert row.revision == made.revision.id
    assert read_header(row.path).metadata["haneul.derived_from"] == parent.digest
    left = [path.name for path in places.derived(kitchen.home).iterdir()]
    assert left == []


async def test_same_recipe_gives_the_same_revision_and_notes_it_once(kitchen, tiny_model):
    await bring(kitchen, tiny_model)
    one = await make.quantize(kitchen, "tiny", "Q5_0", is_measured=False)
    other = await make.quantize(kitchen, "tiny", "Q5_0", is_measured=False)
    assert one.revision == other.revision
    assert len(parents_of(kitchen, one.revision)) == 1


async def test_child_that_was_not_measured_is_not_served_until_it_is(kitchen, tiny_model):
    parent = await bring(kitchen, tiny_model)
    made = await make.quantize(kitchen, "tiny", "Q4_0", is_measured=False)
    assert made.row is None
    with pytest.raises(NotAllowed, match="not measured"):
        kitchen.database.run(serving.serve, made.revision, kitchen.blobs)
    await make.measure(kitchen, made.revision, parent)
    row = kitchen.database.run(serving.serve, made.revision, kitchen.blobs)
    assert row.name == "tiny-q4_0"
    assert kitchen.database.run(revisions.loss, made.revision.id) is not None


async def test_licence_that_forbids_derivatives_refuses_before_any_work(kitchen, tiny_model):
    parent = await bring(kitchen, tiny_model)
    with_licence(kitchen, parent, "CC-BY-ND-4.0")
    with pytest.raises(NotAllowed, match="allows nothing to be made"):
        await make.quantize(kitchen, "licensed", "Q8_0")
    assert not places.derived(kitchen.home).exists()


async def test_reason_of_a_refusal_reaches_whoever_asked(kitchen, tiny_model):
    await bring(kitchen, tiny_model)
    await make.quantize(kitchen, "tiny", "Q4_0", is_measured=False)
    with pytest.raises(CommandError, match="in Q4_0 already"):
        await make.quantize(kitchen, "tiny-q4_0", "Q8_0")
    with pytest.raises(CommandError, match="no file type 'Q9'"):
        await make.quantize(kitchen, "tiny", "Q9")
    made = await make.quantize(
        kitchen, "tiny-q4_0", "Q8_0", is_lossy_allowed=True, is_measured=False
    )
    assert "rounded to Q4_0" in made.warnings[0]


async def test_importance_matrix_is_measured_once_and_stands_in_the_recipe(kitchen, tiny_model):
    await bring(kitchen, tiny_model)
    made = await make.quantize(kitchen, "tiny", "IQ4_NL", importance="measure", is_measured=False)
    assert made.made.weighed > 10
    (edge,) = parents_of(kitchen, made.revision)
    (matrix,) = places.derived(kitchen.home).glob("*.importance-*")
    written = matrix.stat().st_mtime_ns
    assert len(json.loads(edge.recipe)["importance_sha256"]) == 64
    await make.quantize(kitchen, "tiny", "Q4_1", importance="measure", is_measured=False)
    assert matrix.stat().st_mtime_ns == written


@pytest.fixture
def adapter(tmp_path):
    file = tmp_path / "dates.gguf"
    subprocess.run([sys.executable, lora_gguf.__file__, file, "3"], check=True)
    return file


async def test_merged_model_has_two_parents_and_warns_of_four_bits(kitchen, tiny_model, adapter):
    base = await bring(kitchen, tiny_model)
    made = await make.merge(kitchen, "tiny", str(adapter), is_measured=False)
    assert made.warnings == ()
    edges = parents_of(kitchen, made.revision)
    added = kitchen.database.run(revisions.resolve, "dates")
    assert {edge.parent for edge in edges} == {base.id, added.id}
    assert made.revision.model == "tiny-dates"
    again = await make.merge(kitchen, "tiny", "dates", "Q4_0", name="small", is_measured=False)
    assert "may vanish" in again.warnings[0]
    with pytest.raises(BadRequest, match="no adapter"):
        await make.merge(kitchen, "tiny", str(tiny_model))


async def test_converted_repository_is_served_under_its_own_name(kitchen, tmp_path):
    folder = tmp_path / "small-qwen"
    checkpoints.write_decoder(folder, "qwen3", dtype="BF16")
    parent = await bring(kitchen, f"{folder}/")
    made = await make.convert(kitchen, parent.model)
    (edge,) = parents_of(kitchen, made.revision)
    assert (edge.parent, edge.relation) == (parent.id, "converted")
    recipe = json.loads(edge.recipe)
    assert (recipe["type"], recipe["cut"]) == ("BF16", "qwen2")
    assert recipe["proven_tokens"] > 3000
    assert made.measures is not None
    assert made.measures.perplexity_ratio is not None
    assert made.measures.perplexity_ratio.mid == 1
    assert "bit by bit" in made.measures.perplexity_ratio.source
    row = kitchen.database.run(rows.get, parent.model)
    assert row is not None
    assert row.revision == made.revision.id
    smaller = await make.quantize(kitchen, parent.model, "Q8_0")
    assert smaller.made.lossy_parent == ""


async def test_work_that_is_called_off_ends_its_process_and_leaves_no_model(kitchen, tmp_path):
    from bench.formats import MODELS, write_model

    path = tmp_path / "big.gguf"
    write_model(path, {**MODELS["tied"], "layers": 40, "ff": 1024})
    await bring(kitchen, path)
    begun = asyncio.Event()
    listening = msgspec.structs.replace(kitchen, on_step=lambda step: begun.set())
    work = asyncio.create_task(make.quantize(listening, "big", "Q2_K"))
    await asyncio.wait_for(begun.wait(), 60)
    (working,) = _working()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert working not in _working()
    assert kitchen.database.run(rows.get, "big-q2_k") is None
    made = await make.quantize(kitchen, "big", "Q8_0", is_measured=False)
    assert made.revision.bytes > 0


async def test_job_that_nobody_knows_is_refused_in_words():
    class Broken(msgspec.Struct, tag_field="job", tag="none"):
        """A job that nobody knows."""

    with pytest.raises(CommandError, match=r"Invalid value 'none'"):
        await child.run(Broken())


def _working() -> list[str]:
    """Process ids of ours that make models."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except FileNotFoundError:
            continue
        found += [pid] if "haneul.engine.derive" in command else []
    return found


async def test_unfinished_work_of_a_model_that_is_gone_is_rubbish(kitchen, tiny_model):
    parent = await bring(kitchen, tiny_model)
    folder = places.derived(kitchen.home)
    folder.mkdir(parents=True)
    left = [folder / f"{digest}.quantize-0.gguf.part" for digest in (parent.digest, "0" * 64)]
    for path in left:
        path.write_bytes(b"unfinished")
    ask = functools.partial(kitchen.database.run, referenced)
    collect(kitchen.home, ask, is_dry=False, recent_s=0)
    assert [path.exists() for path in left] == [True, False]
