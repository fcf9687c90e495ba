"""Text to image with the genuine pipeline on a tiny diffusion model of random weights."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path

import numpy as np
import openai
import pytest

from haneul.engine.media.png import png

TESTS = Path(__file__).parent.parent
PATH = "/v1/images/generations"
DIRECT = """
import sys, numpy as np, openvino_genai
pipeline = openvino_genai.Text2ImagePipeline(sys.argv[1], "CPU")
given = {"width": 96, "height": 64, "num_inference_steps": 4, "rng_seed": 7}
images = pipeline.generate("a sky", num_images_per_prompt=2, negative_prompt="rain", **given)
np.save(sys.argv[2], images.data)
"""


@pytest.fixture(scope="module")
def tiny_diffusion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion") / "tiny"
    subprocess.run([sys.executable, TESTS / "diffusion_ir.py", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def drawing(start_engine, tiny_diffusion):
    engine = start_engine(tiny_diffusion, "--threads", "1")
    asyncio.run(engine.ready())
    yield engine
    engine.stop()


async def draw(engine, **fields):
    body = {"model": engine.model, "prompt": "a sky", "size": "96x64", "steps": 4, **fields}
    status, answer = await engine.ask("POST", PATH, body)
    assert status == 200, answer
    return [image["b64_json"] for image in answer["data"]]


async def test_it_draws_what_the_pipeline_draws(drawing, tiny_diffusion, tmp_path):
    file = tmp_path / "images.npy"
    command = [sys.executable, "-c", DIRECT, tiny_diffusion, file]
    await asyncio.to_thread(subprocess.run, command, check=True)
    drawn = await draw(drawing, n=2, seed=7, negative_prompt="rain")
    assert [b64decode(image) for image in drawn] == [png(image) for image in np.load(file)]


async def test_prompt_seed_size_and_steps_are_obeyed(drawing):
    (first,) = await draw(drawing, seed=1)
    assert await draw(drawing, seed=1) == [first]
    for other in ({"prompt": "a sea"}, {"seed": 2}, {"steps": 5}, {"guidance_scale": 2}):
        assert await draw(drawing, **{"seed": 1, **other}) != [first]
    (wide,) = await draw(drawing, size="128x64")
    assert b64decode(wide)[16:24] == (128).to_bytes(4, "big") + (64).to_bytes(4, "big")


async def test_without_a_seed_each_image_is_another(drawing):
    assert await draw(drawing) != await draw(drawing)


async def test_the_genuine_client_understands_the_answer(drawing):
    def ask():
        with openai.OpenAI(base_url=drawing.url, api_key="x", max_retries=0) as client:
            return client.images.generate(
                model=drawing.model,
                prompt="a sky",
                n=2,
                size="64x64",
                response_format="b64_json",
                extra_body={"steps": 2},
            )

    answer = await asyncio.to_thread(ask)
    assert len(answer.data) == 2
    assert b64decode(answer.data[0].b64_json).startswith(b"\x89PNG")


async def test_images_and_pixels_are_counted(drawing):
    before = await drawing.metric("images_total"), await drawing.metric("image_pixels_total")
    body = {"model": drawing.model, "prompt": "x", "n": 3, "size": "64x128", "steps": 1}
    _, headers, data = await drawing.ask_raw("POST", PATH, body)
    pixels = 3 * 64 * 128
    usage = json.loads(data)["usage"]
    assert usage == {"type": "images", "images": 3, "pixels": pixels}
    assert (headers[b"x-haneul-images"], headers[b"x-haneul-image-pixels"]) == (b"3", b"24576")
    after = await drawing.metric("images_total"), await drawing.metric("image_pixels_total")
    assert after == (before[0] + 3, before[1] + pixels)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"response_format": "url"}, 400, "unsupported_value"),
        ({"style": "vivid"}, 400, "unknown_parameter"),
        ({"model": "another"}, 404, "model_not_found"),
    ],
)
async def test_refusals_have_their_codes(drawing, fields, status, code):
    body = {"model": drawing.model, "prompt": "x", **fields}
    told, answer = await drawing.ask("POST", PATH, body)
    assert (told, answer["error"]["code"]) == (status, code)


async def test_a_hang_up_stops_after_the_step(drawing):
    body = {"model": drawing.model, "prompt": "x", "size": "1024x1024", "steps": 20}
    began = time.monotonic()
    await draw(drawing, size="1024x1024", steps=20)
    one_s = (time.monotonic() - began) / 20
    data = json.dumps({**body, "steps": 150}).encode()
    _, writer = await asyncio.open_connection(drawing.to.host, drawing.to.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode())
    writer.write(data)
    await drawing.until_metric("running", 1, within_s=10)
    writer.close()
    await writer.wait_closed()
    began = time.monotonic()
    await draw(drawing, steps=1)
    assert time.monotonic() - began < 75 * one_s
    assert await drawing.metric("hang_ups_total") == 1


async def test_it_describes_itself_and_does_not_hear(drawing):
    _, models = await drawing.ask("GET", "/v1/models")
    assert models["data"][0]["task"] == "text-to-image"
    assert models["data"][0]["can"]["step_px"] == 16
    assert (await drawing.ask("POST", "/v1/audio/transcriptions", {}))[0] == 404
