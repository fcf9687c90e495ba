"""What a folder of OpenVINO models is: its kind, told by its files, or what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from haneul.base.errors import BrokenFile

Kind = Literal["speech-to-text", "text-to-speech", "text-to-image"]
JSON_MAX_BYTES = 4 << 20

# Optimum's layout, whole: a graph is an .xml with its weights in the .bin beside it.
_WHISPER = (
    "openvino_encoder_model.xml",
    "openvino_encoder_model.bin",
    "openvino_decoder_model.xml",
    "openvino_decoder_model.bin",
    "openvino_tokenizer.xml",
    "openvino_detokenizer.xml",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
)
_SPEECHT5 = tuple(
    f"openvino_{part}.{ending}"
    for part in ("encoder_model", "decoder_model", "postnet", "vocoder")
    for ending in ("xml", "bin")
)
_GRAPH = ("openvino_model.xml", "openvino_model.bin", "config.json")


def kind_of(folder: Path) -> Kind:
    """What the folder's models do. Raises BrokenFile that names what is missing."""
    kind, needed = _meant(folder)
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        told = ", ".join(missing)
        raise BrokenFile(f"The folder is meant for {kind} but lacks {told}.")
    return kind


def read_json(path: Path) -> dict[str, Any]:
    """An object from a small file. Raises BrokenFile."""
    try:
        with path.open("rb") as file:
            data = file.read(JSON_MAX_BYTES + 1)
    except OSError as cause:
        raise BrokenFile(f"{path.name} cannot be read.") from cause
    if len(data) > JSON_MAX_BYTES:
        raise BrokenFile(f"{path.name} is larger than {JSON_MAX_BYTES >> 20} MiB.")
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as cause:
        raise BrokenFile(f"{path.name} is no JSON object.") from cause


def size_bytes(folder: Path) -> int:
    """What the models take on disk."""
    return sum(path.stat().st_size for path in folder.rglob("*.bin"))


def _meant(folder: Path) -> tuple[Kind, tuple[str, ...]]:
    """The kind that the folder's descriptions name, and the files such a folder needs."""
    if (folder / "model_index.json").is_file():
        return "text-to-image", _of_diffusion(read_json(folder / "model_index.json"))
    served = f"Served are folders of OpenVINO models for {', '.join(get_args(Kind))}."
    if not (folder / "config.json").is_file():
        raise BrokenFile(
            f"The folder holds no model: neither config.json nor model_index.json. {served}"
        )
    stated = str(read_json(folder / "config.json").get("model_type"))[:64]
    if stated == "whisper":
        return "speech-to-text", _WHISPER
    if stated == "speecht5":
        return "text-to-speech", (*_SPEECHT5, "openvino_tokenizer.xml")
    raise BrokenFile(f"A folder with a model of type '{stated}' is not served. {served}")


def _of_diffusion(index: dict[str, Any]) -> tuple[str, ...]:
    """Files of the parts that a model_index.json names; those it says null of are left out."""
    parts = [name for name, made in index.items() if isinstance(made, list) and made[:1] != [None]]
    needed = ["scheduler/scheduler_config.json"]
    for name in parts:
        if name.startswith("text_encoder") or name in ("unet", "transformer"):
            needed += [f"{name}/{file}" for file in _GRAPH]
        elif name.startswith("tokenizer"):
            needed.append(f"{name}/openvino_tokenizer.xml")
    return (*needed, *(f"vae_decoder/{file}" for file in _GRAPH))
