"""Models of several files: all of them, each proven, beside each other; or nothing."""

import asyncio
import hashlib
import json

import pytest

from haneul.base import gguf_parts
from haneul.base.errors import BrokenFile, CommandError, FetchFailed
from haneul.models.folder.pins import Pins
from haneul.models.pulling.bring import Bringing
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.progress import Meter
from haneul.models.pulling.pull import pull
from haneul.models.pulling.supply import Supply
from haneul.models.reference import parse
from haneul.models.sources.offer import Offer, Offered, Part
from haneul.testing.gguf import TINY, TINY_WEIGHTS, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

PARTS = [TINY_WEIGHTS[:1], TINY_WEIGHTS[1:2], TINY_WEIGHTS[2:]]


def split(number):
    told = {"split.no": number, "split.count": 3, "split.tensors.count": 3}
    return (TINY if number == 0 else {}) | told


SHARDS = {
    "model-00001-of-00002.safetensors": safetensors_bytes({"a": ("F32", (64, 64))}),
    "model-00002-of-00002.safetensors": safetensors_bytes({"b": ("BF16", (128,))}, fill=b"\2"),
}
INDEX = {
    "metadata": {"total_size": 64 * 64 * 4 + 256},
    "weight_map": dict(zip("ab", SHARDS, strict=True)),
}


@pytest.fixture
def parts(hub):
    """A split GGUF on the hub; its files by their names."""
    folder = hub.folder / "models" / "org" / "split"
    (folder / "Q8_0").mkdir(parents=True)
    for number, weights in enumerate(PARTS):
        path = folder / "Q8_0" / f"tiny-Q8_0-{number + 1:05d}-of-00003.gguf"
        path.write_bytes(gguf_bytes(split(number), weights))
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.gguf"))}


@pytest.fixture
def tensors(hub):
    folder = hub.folder / "models" / "org" / "tensors"
    folder.mkdir(parents=True)
    for name, data in SHARDS.items():
        (folder / name).write_bytes(data)
    (folder / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    (folder / "config.json").write_text('{"model_type": "llama", "auto_map": {"A": "x.A"}}')
    (folder / "modeling_x.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def pulling(hub, blobs, fetcher):
    def go(text, **options):
        return pull(parse(text), blobs=blobs, fetcher=fetcher, environ=hub.environ, **options)

    return go


async def test_split_file_comes_whole_and_lies_as_an_engine_wants_it(pulling, parts, blobs):
    pulled = await pulling("hf:org/split:Q8_0")
    assert [file.path for file in pulled.manifest.files] == list(parts)
    assert pulled.path == blobs.revisions / pulled.manifest.revision / next(iter(parts))
    assert gguf_parts.check_files(pulled.path).parts == 3
    assert pulled.sha256 == pulled.manifest.revision
    assert pulled.bytes == sum(path.stat().st_size for path in parts.values())
    assert list(blobs.partial.iterdir()) == []


async def test_both_hubs_give_the_same_revision(pulling, parts, hub):
    first = await pulling("hf:org/split:Q8_0")
    hub.seen.clear()
    second = await pulling("modelscope:org/split:Q8_0")
    assert second.manifest == first.manifest
    assert hub.downloads() == []


async def test_second_pull_of_several_files_touches_no_network(pulling, parts, hub):
    first = await pulling("hf:org/split:Q8_0")
    hub.seen.clear()
    assert await pulling("hf:org/split:Q8_0") == first
    assert hub.seen == []


async def test_folder_that_somebody_removed_is_laid_out_again(pulling, parts):
    first = await pulling("hf:org/split:Q8_0")
    first.path.unlink()
    again = await pulling("hf:org/split:Q8_0")
    assert gguf_parts.check_files(again.path).parts == 3


async def test_repository_of_safetensors_comes_without_its_code(pulling, tensors, blobs):
    pulled = await pulling("hf:org/tensors")
    names = [file.path for file in pulled.manifest.files]
    assert names == ["config.json", *SHARDS, "model.safetensors.index.json"]
    folder = blobs.revisions / pulled.manifest.revision
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "llama"}
    assert (folder / names[1]).read_bytes() == SHARDS[names[1]]
    assert pulled.manifest.format == "safetensors"
    assert pulled.path == folder / names[1]


async def test_part_that_is_damaged_keeps_the_whole_revision_out(pulling, parts, blobs):
    list(parts.values())[1].write_bytes(b"GGUF" + b"\xff" * 500)
    with pytest.raises(BrokenFile):
        await pulling("hf:org/split:Q8_0")
    assert list(blobs.revisions.iterdir()) == []
    assert blobs.recall("hf:org/split:Q8_0") is None


async def test_parts_of_different_models_are_refused_together(pulling, parts, blobs):
    other = {**TINY, "split.no": 1, "split.count": 3, "split.tensors.count": 9}
    list(parts.values())[1].write_bytes(gguf_bytes(other, PARTS[1]))
    with pytest.raises(BrokenFile, match="different models"):
        await pulling("hf:org/split:Q8_0")
    assert list(blobs.revisions.iterdir()) == []


async def test_index_that_names_what_is_not_there_is_refused(pulling, tensors, blobs):
    wrong = {**INDEX, "weight_map": {"a": "model-00002-of-00002.safetensors", "b": "x"}}
    (tensors / "model.safetensors.index.json").write_text(json.dumps(wrong))
    with pytest.raises(BrokenFile):
        await pulling("hf:org/tensors")
    assert list(blobs.revisions.iterdir()) == []


async def test_files_that_came_before_a_failure_are_not_fetched_again(pulling, parts, hub, blobs):
    *_, third = parts.values()
    whole = third.read_bytes()
    third.write_bytes(b"GGUF" + b"\xff" * 500)
    with pytest.raises(BrokenFile):
        await pulling("hf:org/split:Q8_0")
    third.write_bytes(whole)
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in parts.items()}
    missing = {name for name, digest in digests.items() if blobs.size(digest) is None}
    hub.seen.clear()
    await pulling("hf:org/split:Q8_0")
    assert {seen.path.partition("/Q8_0/")[2] for seen in hub.downloads()} == {
        name.removeprefix("Q8_0/") for name in missing
    }


async def test_source_that_fails_in_the_middle_gives_way_and_its_files_stay(
    pulling, parts, hub, entry
):
    hub.faults["huggingface"].cut_after_bytes = 10
    hub.faults["huggingface"].ignores_range = True
    with pytest.raises(FetchFailed):
        await pulling("hf:org/split:Q8_0")
    assert (await pulling("modelscope:org/split:Q8_0")).source == "modelscope"


async def test_two_pulls_that_share_files_fetch_each_once(pulling, parts, hub):
    hub.faults["huggingface"].pause_s = 0.05
    first, second = await asyncio.gather(
        pulling("hf:org/split:Q8_0"), pulling("hf:org/split@main:Q8_0")
    )
    assert first.manifest == second.manifest
    assert len(hub.downloads()) == 3


async def test_progress_is_of_all_files_together(pulling, parts, hub):
    reports = []
    hub.faults["huggingface"].pause_s = 0.2
    await pulling("hf:org/split:Q8_0", on_progress=reports.append)
    moving = [report for report in reports if report.stage == "downloading"]
    size = sum(path.stat().st_size for path in parts.values())
    assert {report.total_bytes for report in moving} == {size}
    assert max(report.done_bytes for report in moving) == size


async def test_revision_larger_than_the_disk_is_refused_before_its_first_byte(hub, blobs, fetcher):
    blobs.open()
    files = tuple(
        Offered(
            path=f"m-{number}.gguf",
            parts=(Part(piece=Piece(url=f"{hub.url}/files/tiny.gguf", sha256=str(number) * 64)),),
            sha256=str(number) * 64,
            bytes=1 << 58,
        )
        for number in range(3)
    )
    async with Pins(blobs.locks) as pins:
        bringing = Bringing(
            Offer(source="url", revision="", files=files),
            blobs=blobs,
            fetcher=fetcher,
            supply=Supply([], []),
            pins=pins,
            meter=Meter(None),
        )
        with pytest.raises(CommandError, match=r"disk is too full: \d"):
            await bringing.bring()
    assert hub.seen == []
