"""Sound and pictures by the genuine client: passed on as they came, metered and billed once."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import wave
from pathlib import Path

import openai
import pytest
import pytest_asyncio

from haneul.base.ids import new_id
from haneul.base.units import now_us, parse_money
from haneul.services.rules import MODEL, decide
from haneul.store import prices
from haneul.store.prices import PriceRow
from tests.flow.media_engine import MediaEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

TESTS = Path(__file__).parent.parent
HEAR, SAY, DRAW = "/v1/audio/transcriptions", "/v1/audio/speech", "/v1/images/generations"
JSON = "application/json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def media(cloud):
    """An engine of three models, each with a price of its own unit."""
    async with MediaEngine() as engine:
        await cloud.put_engine("media", engine.url, ("hear", "say", "draw"), price=("0", "0", "0"))
        for model, unit, amount in (
            ("hear", "audio_us", "0.0001"),
            ("say", "character", "15"),
            ("draw", "image", "0.04"),
        ):
            nano = parse_money(amount) * (1_000_000 if unit == "image" else 1)
            row = PriceRow(
                id=new_id("prc"),
                model=model,
                engine="media",
                currency="USD",
                input_nano=0,
                cached_nano=0,
                output_nano=0,
                unit=unit,
                unit_nano=nano,
                created_us=now_us(),
                from_us=now_us(),
            )
            await cloud.cloud.database.call(prices.add, row)
        await cloud.cloud.roster.refresh()
        yield engine


@pytest.fixture(scope="module")
def talking(start_engine, tmp_path_factory):
    """Our own engine of a tiny SpeechT5 of random weights."""
    folder = tmp_path_factory.mktemp("speech") / "tiny"
    subprocess.run([sys.executable, TESTS / "speech_ir.py", folder], check=True)
    engine = start_engine(folder, "--threads", "1")
    asyncio.run(engine.ready())
    yield engine
    engine.stop()


def sound(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(bytes(int(seconds * 16000)))
    return file.getvalue()


async def hear(cloud, key, file=b"x" * 9000, name="a.mp3", **fields):
    return await cloud.client(key.secret).audio.transcriptions.create(
        model="hear", file=(name, file), **fields
    )


async def test_a_sound_goes_on_part_by_part_and_its_seconds_are_billed(cloud, key, media):
    media.answers[HEAR] = (JSON, [b'{"text":"hi","usage":{"type":"duration","seconds":3}}'], {})
    told = await hear(cloud, key, language="en", timestamp_granularities=["word", "segment"])
    assert told.text == "hi"
    form = [(part.name, part.filename, part.data) for part in media.forms[-1]]
    assert ("model", None, b"hear") in form
    assert ("file", "a.mp3", b"x" * 9000) in form
    assert [data for name, _, data in form if name.startswith("timestamp")] == [b"word", b"segment"]
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.state, row.metering) == ("transcriptions", "done", "engine")
    assert (row.unit, row.units, row.cost_nano) == ("audio_us", 3_000_000, 300_000)
    me = await cloud.me(key.secret)
    assert (me["spent_nano"], me["reserved_nano"]) == (300_000, 0)


@pytest.mark.parametrize(
    ("kind", "answer", "headers", "units", "metering"),
    [
        (JSON, b'{"text":"hi","duration":"2.5"}', {}, 2_500_000, "engine"),
        ("text/plain", b"hi", {"x-haneul-audio-ms": "1200"}, 1_200_000, "engine"),
        ("text/plain", b"hi", {}, 2_000_000, "counted"),  # by the file
    ],
)
async def test_how_long_it_lasts_is_read_where_it_stands(
    cloud, key, media, kind, answer, headers, units, metering
):
    media.answers[HEAR] = (kind, [answer], headers)
    await hear(cloud, key, sound(2), "a.wav")
    (row,) = await cloud.rows(key.key.id)
    assert (row.units, row.metering) == (units, metering)


async def test_of_a_compressed_sound_the_transcripts_last_time_or_its_size_tells(cloud, key, media):
    captions = b"1\n00:00:00,000 --> 00:01:04,500\nhi\n"
    media.answers[HEAR] = ("application/x-subrip", [captions], {})
    assert await hear(cloud, key, response_format="srt") == captions.decode()
    media.answers[HEAR] = ("text/plain", [b"hi"], {})
    await hear(cloud, key, b"x" * 16_000, response_format="text")
    first, second = await cloud.rows(key.key.id)
    assert (first.units, second.units) == (64_500_000, 2_000_000)


async def test_tokens_are_billed_where_an_engine_counts_them(cloud, key, media):
    usage = b'{"type":"tokens","input_tokens":14,"output_tokens":4,"total_tokens":18}'
    media.answers[HEAR] = (
        "text/event-stream",
        [
            b'data: {"type":"transcript.text.delta","delta":"hi"}\n\n',
            b'data: {"type":"transcript.text.done","text":"hi","usage":%b}\n\n' % usage,
        ],
        {},
    )
    stream = await hear(cloud, key, stream=True)
    kinds = [event.type async for event in stream]
    assert kinds == ["transcript.text.delta", "transcript.text.done"]
    (row,) = await cloud.rows(key.key.id)
    assert (row.prompt_tokens, row.completion_tokens, row.metering) == (14, 4, "engine")


async def test_speech_comes_as_it_is_made_and_its_characters_are_billed(cloud, key, media):
    media.answers[SAY] = ("audio/mpeg", [b"ab", b"cd"], {})
    media.pause_s = 0.02
    client = cloud.client(key.secret)
    async with client.audio.speech.with_streaming_response.create(
        model="say", input="안녕하세요", voice="alloy", extra_body={"speed": 1.5}
    ) as answer:
        pieces = [piece async for piece in answer.iter_bytes()]
    assert answer.headers["content-type"] == "audio/mpeg"
    assert b"".join(pieces) == b"abcd"
    assert media.bodies[-1] == {
        "model": "say",
        "input": "안녕하세요",
        "voice": "alloy",
        "speed": 1.5,
    }
    (row,) = await cloud.rows(key.key.id)
    assert (row.unit, row.units, row.cost_nano) == ("character", 5, 75_000)


async def test_pictures_are_billed_by_their_number(cloud, key, media):
    media.answers[DRAW] = (JSON, [b'{"created":1,"data":[{"b64_json":"AA=="}]}'], {})
    drawn = await cloud.client(key.secret).images.generate(model="draw", prompt="a cat", n=3)
    assert len(drawn.data) == 1  # fewer than were asked for
    (row,) = await cloud.rows(key.key.id)
    assert (row.unit, row.units, row.cost_nano) == ("image", 1, 40_000_000)


async def test_the_worst_case_is_reserved_before_an_engine_is_asked(cloud, media):
    poor = await cloud.make_key(budget="0.1")
    media.answers[DRAW] = (JSON, [b'{"created":1,"data":[{"b64_json":"AA=="}]}'], {})
    client = cloud.client(poor.secret)
    with pytest.raises(openai.RateLimitError):
        await client.images.generate(model="draw", prompt="a cat", n=3)
    await client.images.generate(model="draw", prompt="a cat", n=2)
    assert (await cloud.me(poor.secret))["spent_nano"] == 40_000_000


async def test_bad_requests_are_refused_by_name_before_any_engine(cloud, key, media):
    asked = len(media.forms), len(media.bodies)
    bad = {
        DRAW: [
            ({"model": "draw"}, "prompt"),
            ({"model": "draw", "prompt": "x", "n": 11}, "n"),
            ({"prompt": "x"}, "model"),
        ],
        SAY: [({"model": "say", "voice": "a"}, "input"), ({"model": "say", "input": ""}, "input")],
    }
    for path, bodies in bad.items():
        for body, param in bodies:
            answer = await cloud.ask("POST", path, body, secret=key.secret)
            assert (answer.status, answer.error()["param"]) == (400, param), body
    plain = await cloud.ask("POST", HEAR, {"model": "hear"}, secret=key.secret)
    assert plain.status == 400
    assert "multipart/form-data" in plain.error()["message"]
    for fields, param in (({"file": ("a.mp3", b"")}, "file"), ({"model": "nobody"}, "model")):
        given = {"model": "hear", "file": ("a.mp3", b"x"), **fields}
        with pytest.raises(openai.APIStatusError) as refused:
            await cloud.client(key.secret).audio.transcriptions.create(**given)
        assert refused.value.param == param
    assert (len(media.forms), len(media.bodies)) == asked
    get = await cloud.ask("GET", HEAR, secret=key.secret)
    assert get.status == 405


async def test_an_upload_that_is_too_large_is_refused(start_cloud):
    cloud = await start_cloud(body_max_bytes=4096)
    key = await cloud.make_key()
    with pytest.raises(openai.APIStatusError) as refused:
        await hear(cloud, key, b"x" * 5000)
    assert refused.value.status_code == 413


async def test_an_engines_refusal_is_the_clients_and_costs_nothing(cloud, key, media):
    media.answers[DRAW] = (JSON, [b"{}"], {})
    media.status = 400
    try:
        with pytest.raises(openai.BadRequestError):
            await cloud.client(key.secret).images.generate(model="draw", prompt="x")
    finally:
        media.status = 200
    (row,) = await cloud.rows(key.key.id)
    assert (row.state, row.units or 0, row.cost_nano) == ("refused", 0, 0)


async def test_a_guard_hears_no_sound_and_lets_no_placeholder_be_drawn(cloud, key, media):
    async def guard(value):
        await cloud.cloud.database.call(
            lambda c: [decide(c, MODEL, m, "guard", value, actor="t") for m in ("hear", "draw")]
        )
        await cloud.cloud.rules.refresh()

    media.answers[DRAW] = (JSON, [b'{"created":1,"data":[{"b64_json":"AA=="}]}'], {})
    await guard("mask")
    try:
        client = cloud.client(key.secret)
        with pytest.raises(openai.BadRequestError, match="hears no sound"):
            await hear(cloud, key)
        with pytest.raises(openai.BadRequestError, match="1 EMAIL"):
            await client.images.generate(model="draw", prompt="a card for bob@x.io")
        await client.images.generate(model="draw", prompt="a cat")
    finally:
        await guard("none")


@pytest.mark.slow
async def test_a_real_engine_of_sound_is_asked_by_its_address(cloud, key, talking):
    await cloud.put_engine("own", talking.url.removesuffix("/v1"), (talking.model,))
    said = await cloud.client(key.secret).audio.speech.create(
        model=f"own/{talking.model}", input="hello", voice="default", response_format="wav"
    )
    assert said.content[:4] == b"RIFF"
    (row,) = await cloud.rows(key.key.id)
    assert (row.unit, row.units, row.state) == ("character", 5, "done")
