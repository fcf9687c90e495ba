"""What a folder of OpenVINO models is: its kind, told by its files, or what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from haneul.base.errors import BrokenFile

Kind = Literal["speech-to-text", "text-to-speech", "text-to-image"]
HEARS, SPEAKS, DRAWS = "speech-to-text", "text-to-speech", "text-to-image"
JSON_MAX_BYTES = 4 << 20

# Optimum's layout, whole: a graph is an .xml with its weights in the .bin beside it.
_NEEDS: dict[Kind, tuple[str, ...]] = {
    "speech-to-text": (
        "openvino_encoder_model.xml",
        "openvino_encoder_model.bin",
        "openvino_decoder_model.xml",
        "openvino_decoder_model.bin",
        "openvino_tokenizer.xml",
        "openvino_detokenizer.xml",
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
    ),
}


def kind_of(folder: Path) -> Kind:
    """What the folder's models do. Raises BrokenFile that names what is missing."""
    kind = _meant(folder)
    missing = [name for name in _NEEDS[kind] if not (folder / name).is_file()]
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


def _meant(folder: Path) -> Kind:
    if not (folder / "config.json").is_file():
        raise BrokenFile(
            "The folder holds no model this engine serves: config.json is missing. "
            f"Served are folders of OpenVINO models for {', '.join(_NEEDS)}."
        )
    stated = read_json(folder / "config.json")
    if stated.get("model_type") == "whisper":
        return "speech-to-text"
    shown = str(stated.get("model_type"))[:64]
    raise BrokenFile(
        f"A folder with a model of type '{shown}' is not served; "
        f"served are OpenVINO models for {', '.join(_NEEDS)}."
    )
