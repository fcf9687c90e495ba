"""Text to speech with the genuine pipeline on a tiny SpeechT5 of random weights."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import openai
import pytest

from haneul.engine.media.resample import resampled
from haneul.engine.media.samples import pcm16, written

TESTS = Path(__file__).parent.parent
PATH = "/v1/audio/speech"
TEXT = "Hello you. The sky is blue today."
DIRECT = """
import sys, numpy as np, openvino, openvino_genai
pipeline = openvino_genai.Text2SpeechPipeline(sys.argv[1], "CPU")
voice = openvino.Tensor(np.load(sys.argv[3])) if len(sys.argv) > 3 else None
parts = ["Hello you.", "The sky is blue today."]
told = [pipeline.generate(part, voice).speeches[0].data.reshape(-1).copy() for part in parts]
np.save(sys.argv[2], np.concatenate(told))
"""


@pytest.fixture(scope="module")
def tiny_speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech") / "tiny"
    subprocess.run([sys.executable, TESTS / "speech_ir.py", folder], check=True)
    (folder / "voices").mkdir()
    voice = np.random.default_rng(1).standard_normal((1, 512)).astype("<f4")
    (folder / "voices" / "slt.bin").write_bytes(voice.tobytes())
    np.save(folder.parent / "slt.npy", voice)
    return folder


@pytest.fixture(scope="module")
def speaking(start_engine, tiny_speech):
    engine = start_engine(tiny_speech, "--threads", "1")
    asyncio.run(engine.ready())
    yield engine
    engine.stop()


async def say(engine, text=TEXT, voice="default", **fields):
    body = {"model": engine.model, "input": text, "voice": voice, **fields}
    status, headers, data = await engine.ask_raw("POST", PATH, body)
    assert status == 200, data
    return headers, data


@pytest.mark.parametrize("voice", ["default", "slt"])
async def test_it_says_what_the_pipeline_says(speaking, tiny_speech, tmp_path, voice):
    file = tmp_path / "said.npy"
    command = [sys.executable, "-c", DIRECT, tiny_speech, file]
    command += [tiny_speech.parent / "slt.npy"] if voice == "slt" else []
    await asyncio.to_thread(subprocess.run, command, check=True)
    expected = np.load(file)
    headers, data = await say(speaking, voice=voice)
    assert headers[b"content-type"] == b"audio/wav"
    assert data == written(expected, 16_000)
    headers, data = await say(speaking, voice=voice, response_format="pcm")
    assert headers[b"content-type"] == b"audio/pcm"
    assert data == pcm16(resampled(expected, 16_000, 24_000))


async def test_another_text_and_another_voice_sound_different(speaking):
    _, first = await say(speaking)
    assert (await say(speaking))[1] == first
    assert (await say(speaking, voice="slt"))[1] != first
    assert (await say(speaking, "Another text."))[1] != first


async def test_the_genuine_client_gets_a_wav_file(speaking):
    def ask():
        with openai.OpenAI(base_url=speaking.url, api_key="x", max_retries=0) as client:
            return client.audio.speech.create(
                model=speaking.model, input=TEXT, voice="default", response_format="wav"
            ).content

    with wave.open(io.BytesIO(await asyncio.to_thread(ask))) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
        assert file.getnframes() > 0


async def test_characters_and_seconds_are_counted(speaking):
    names = ("characters_total", "audio_said_seconds_total")
    before = [await speaking.metric(name) for name in names]
    headers, data = await say(speaking)
    with wave.open(io.BytesIO(data)) as file:
        seconds = file.getnframes() / file.getframerate()
    assert headers[b"x-haneul-characters"] == str(len(TEXT)).encode()
    assert int(headers[b"x-haneul-audio-ms"]) == pytest.approx(seconds * 1000, abs=1)
    after = [await speaking.metric(name) for name in names]
    assert after[0] - before[0] == len(TEXT)
    assert after[1] - before[1] == pytest.approx(seconds, abs=0.002)


async def test_refusals_name_the_field(speaking):
    body = {"model": speaking.model, "input": "x", "voice": "alloy"}
    status, answer = await speaking.ask("POST", PATH, body)
    assert (status, answer["error"]["param"]) == (400, "voice")
    assert "default, slt" in answer["error"]["message"]


def test_a_voice_that_is_none_ends_with_code_3(tiny_speech, tmp_path):
    folder = tmp_path / "speech"
    subprocess.run(["cp", "-r", tiny_speech, folder], check=True)
    (folder / "voices" / "bad.bin").write_bytes(b"\xff" * 2048)
    command = [sys.executable, "-m", "haneul.engine", folder, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "voices/bad.bin" in json.loads(done.stderr.strip().splitlines()[-1])["error"]
