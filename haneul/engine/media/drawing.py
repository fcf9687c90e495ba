"""Text to image through OpenVINO GenAI's Text2ImagePipeline, inside the worker's process."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import openvino_genai

from haneul.base.errors import BrokenFile, EngineFailed
from haneul.engine.media.folder import read_json
from haneul.engine.media.png import png
from haneul.engine.media.reason import reason
from haneul.engine.media.to_draw import SIDE_PX, Drawing, Draws

STEP_PX = 16  # what all the pipelines' sizes divide by: an eighth of it must be even for some
DEFAULT_PX, DEFAULT_STEPS = 512, 28
# Pipelines without guidance against another prompt: a field that changes nothing is refused.
WITHOUT_NEGATIVE = ("FluxPipeline", "Flux2KleinPipeline", "LatentConsistencyModelPipeline")


class DiffusionDrawing:
    """One loaded diffusion model; draws one request at a time."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._pipeline: Any = None
        self.version = f"OpenVINO GenAI {openvino_genai.get_version().split('-')[0]}"

    def load(self) -> Draws:
        """What it draws by itself. Raises BrokenFile."""
        stated = read_json(self._folder / "model_index.json")
        try:
            self._pipeline = openvino_genai.Text2ImagePipeline(
                self._folder, "CPU", INFERENCE_NUM_THREADS=self._threads
            )
            config = self._pipeline.get_generation_config()
            least = SIDE_PX[0]
            self._pipeline.generate("x", width=least, height=least, num_inference_steps=1)
        except RuntimeError as cause:
            told = reason(cause, self._folder)
            raise BrokenFile(f"OpenVINO cannot use the folder's models: {told}") from cause
        return Draws(
            width_px=_side(config.width),
            height_px=_side(config.height),
            steps=config.num_inference_steps if config.num_inference_steps > 0 else DEFAULT_STEPS,
            step_px=STEP_PX,
            takes_negative=stated.get("_class_name") not in WITHOUT_NEGATIVE,
        )

    def run(self, value: Any, is_called_off: Callable[[], bool]) -> list[bytes]:
        """PNG files; none when it was called off, which is asked after every step."""
        asked = msgspec.convert(value, Drawing)
        given: dict[str, Any] = {}
        if asked.guidance_scale is not None:
            given["guidance_scale"] = asked.guidance_scale
        if asked.negative_prompt is not None:
            given["negative_prompt"] = asked.negative_prompt
        images = self._pipeline.generate(
            asked.prompt,
            width=asked.width_px,
            height=asked.height_px,
            num_images_per_prompt=asked.count,
            num_inference_steps=asked.steps,
            rng_seed=secrets.randbits(32) if asked.seed is None else asked.seed,
            callback=lambda step, steps, latent: is_called_off(),
            **given,
        ).data
        if is_called_off():
            return []
        if images.shape != (asked.count, asked.height_px, asked.width_px, 3):
            raise EngineFailed("The model drew something else than was asked for.")
        return [png(image) for image in images]


def _side(stated: int) -> int:
    """What the model states, where it states it, within what is drawn here."""
    least, most = SIDE_PX
    side = stated if stated > 0 else DEFAULT_PX
    return min(max(side, least), most) // STEP_PX * STEP_PX
