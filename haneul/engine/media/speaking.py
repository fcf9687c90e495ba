"""Text to speech through OpenVINO GenAI's Text2SpeechPipeline, inside the worker's process.

A voice is a file voices/NAME.bin in the folder: the 512 little-endian floats of an x-vector, which
is what SpeechT5 takes. "default" is the one that comes with OpenVINO GenAI.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino
import openvino_genai

from haneul.base.errors import BrokenFile, EngineFailed
from haneul.engine.media.reason import reason
from haneul.engine.media.resample import resampled
from haneul.engine.media.samples import Samples, pcm16, written
from haneul.engine.media.to_say import Said, Saying, Says, pieces

DEFAULT_VOICE = "default"
VOICE_FLOATS = 512
PCM_HZ = 24_000  # what OpenAI's clients take headless samples for
SAID_MAX_S = 600  # a model that goes on beyond has lost its way


class SpeechSpeaking:
    """One loaded SpeechT5; says one text at a time."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._pipeline: Any = None
        self._voices: dict[str, Any] = {}
        self.version = f"OpenVINO GenAI {openvino_genai.get_version().split('-')[0]}"

    def load(self) -> Says:
        """The voices it has. Raises BrokenFile."""
        for file in sorted((self._folder / "voices").glob("*.bin")):
            self._voices[file.stem] = _voice(file)
        try:
            self._pipeline = openvino_genai.Text2SpeechPipeline(
                self._folder, "CPU", INFERENCE_NUM_THREADS=self._threads
            )
            self._pipeline.generate("a", None, maxlenratio=1.0)
        except RuntimeError as cause:
            told = reason(cause, self._folder)
            raise BrokenFile(f"OpenVINO cannot use the folder's models: {told}") from cause
        return Says(voices=[DEFAULT_VOICE, *self._voices])

    def run(self, value: Any, is_called_off: Callable[[], bool]) -> Said:
        """The sound; cut short when it is called off, which is asked after every sentence."""
        asked = msgspec.convert(value, Saying)
        parts: list[Samples] = []
        length = rate_hz = 0
        for piece in pieces(asked.text):
            if is_called_off():
                break
            told = self._pipeline.generate(piece, self._voices.get(asked.voice))
            rate_hz = told.output_sample_rate
            parts.append(np.array(told.speeches[0].data, np.float32).reshape(-1))
            length += len(parts[-1])
            if length > SAID_MAX_S * rate_hz:
                raise EngineFailed("The model does not come to an end.")
        mono = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        duration_ms = -(-length * 1000 // rate_hz) if rate_hz else 0
        if asked.form == "pcm" and rate_hz:
            return Said(data=pcm16(resampled(mono, rate_hz, PCM_HZ)), duration_ms=duration_ms)
        return Said(data=written(mono, rate_hz), duration_ms=duration_ms)


def _voice(file: Path) -> Any:
    """Raises BrokenFile for a file that is no x-vector."""
    data = file.read_bytes() if file.stat().st_size == VOICE_FLOATS * 4 else b""
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if len(vector) != VOICE_FLOATS or not np.isfinite(vector).all():
        raise BrokenFile(f"voices/{file.name} is not {VOICE_FLOATS} floats.")
    return openvino.Tensor(vector.reshape(1, -1))
