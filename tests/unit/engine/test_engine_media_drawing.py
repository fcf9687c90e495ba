"""Requests to draw, PNG files, and what a folder of a diffusion model needs."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from haneul.base.errors import BadRequest, BrokenFile, UnknownField, UnsupportedValue
from haneul.engine.media.folder import kind_of
from haneul.engine.media.png import SIGNATURE, png
from haneul.engine.media.to_draw import Draws, accept_drawing

TESTS = Path(__file__).parents[2]
CAN = Draws(width_px=512, height_px=256, steps=20, step_px=16, takes_negative=True)
CANNOT = Draws(width_px=512, height_px=256, steps=4, step_px=16, takes_negative=False)


def accept(can=CAN, **fields):
    return accept_drawing(json.dumps({"model": "m", "prompt": "sky", **fields}).encode(), can)


def read_png(data):
    """An own reader: checks every sum, and takes the filter away."""
    assert data.startswith(SIGNATURE)
    at, parts = len(SIGNATURE), {}
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        parts[name] = data[at + 8 : at + 8 + size]
        (told,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        assert told == zlib.crc32(name + parts[name])
        at += 12 + size
    width, height, *kind = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert (kind, list(parts)) == ([8, 2, 0, 0, 0], [b"IHDR", b"IDAT", b"IEND"])
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 1).all()
    return rows[:, 1:].reshape(height, width, 3).cumsum(axis=1, dtype=np.uint8)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda sides: arrays.arrays(np.uint8, (*sides, 3))
    )
)
def test_a_png_has_the_pixels_it_was_given(pixels):
    assert (read_png(png(pixels)) == pixels).all()


def test_a_plain_request_is_drawn_as_the_model_states():
    asked = accept()
    assert (asked.width_px, asked.height_px, asked.steps, asked.count) == (512, 256, 20, 1)
    assert (asked.seed, asked.guidance_scale, asked.negative_prompt) == (None, None, None)


def test_every_field_is_taken():
    asked = accept(
        n=2,
        size="640x320",
        response_format="b64_json",
        output_format="png",
        quality="auto",
        stream=False,
        user="u",
        seed=7,
        steps=3,
        guidance_scale=1.5,
        negative_prompt="rain",
    )
    assert (asked.width_px, asked.height_px, asked.pixels) == (640, 320, 2 * 640 * 320)
    assert (asked.seed, asked.steps, asked.negative_prompt) == (7, 3, "rain")


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"style": "vivid"}, UnknownField, "style"),
        ({"response_format": "url"}, UnsupportedValue, "response_format"),
        ({"output_format": "webp"}, UnsupportedValue, "output_format"),
        ({"quality": "hd"}, UnsupportedValue, "quality"),
        ({"background": "transparent"}, UnsupportedValue, "background"),
        ({"stream": True}, UnsupportedValue, "stream"),
        ({"size": "big"}, BadRequest, "size"),
        ({"size": "100x100"}, UnsupportedValue, "size"),
        ({"size": "4096x512"}, UnsupportedValue, "size"),
        ({"size": "0x64"}, UnsupportedValue, "size"),
        ({"size": "2048x2048", "n": 3}, UnsupportedValue, "n"),
        ({"n": 11}, BadRequest, "n"),
        ({"steps": 0}, BadRequest, "steps"),
        ({"seed": -1}, BadRequest, "seed"),
        ({"prompt": ""}, BadRequest, "prompt"),
        ({"prompt": "x" * 4097}, BadRequest, "prompt"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(fields, error, param):
    with pytest.raises(error) as refused:
        accept(**fields)
    assert refused.value.param == param


def test_a_negative_prompt_is_refused_where_the_model_takes_none():
    with pytest.raises(UnsupportedValue, match="negative"):
        accept(CANNOT, negative_prompt="rain")


@pytest.fixture(scope="module")
def tiny_diffusion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion") / "tiny"
    subprocess.run([sys.executable, TESTS / "diffusion_ir.py", folder], check=True)
    return folder


@pytest.mark.parametrize(
    "part",
    [
        "unet/openvino_model.bin",
        "vae_decoder/config.json",
        "tokenizer/openvino_tokenizer.xml",
        "scheduler/scheduler_config.json",
        "text_encoder/openvino_model.xml",
    ],
)
def test_a_folder_says_which_part_it_lacks(tiny_diffusion, tmp_path, part):
    folder = tmp_path / "cut"
    shutil.copytree(tiny_diffusion, folder)
    assert kind_of(folder) == "text-to-image"
    (folder / part).unlink()
    with pytest.raises(BrokenFile, match=part.replace(".", r"\.")):
        kind_of(folder)
