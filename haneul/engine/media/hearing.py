"""Speech to text through OpenVINO GenAI's WhisperPipeline, inside the worker's process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino_genai

from haneul.base.errors import BadRequest, BrokenFile
from haneul.engine.media.folder import read_json
from haneul.engine.media.reason import reason
from haneul.engine.media.resample import resampled
from haneul.engine.media.samples import samples
from haneul.engine.media.to_hear import HEARD_HZ, Hearing, Hears
from haneul.engine.media.transcript import Heard, Span

# Half of the decoder's places are the answer's, the other half the prompt's.
# Source: openai/whisper, decoding.py: sample_len and the cut of the prompt.
PLACES = 448
SPECIAL = 5  # start of the prompt, start, language, task, no timestamps


class _Watched(openvino_genai.StreamerBase):  # type: ignore[misc]
    """Asks after each token, or each 30 s of a long sound, whether anybody still waits."""

    def __init__(self, is_called_off: Callable[[], bool]) -> None:
        super().__init__()
        self._is_called_off = is_called_off

    def write(self, tokens: int | list[int]) -> Any:
        status = openvino_genai.StreamingStatus
        return status.CANCEL if self._is_called_off() else status.RUNNING

    def end(self) -> None:
        pass


class WhisperHearing:
    """One loaded Whisper; hears one sound at a time."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._pipeline: Any = None
        self._has_words = False
        self._languages: list[str] = []
        self.version = f"OpenVINO GenAI {openvino_genai.get_version().split('-')[0]}"

    def load(self) -> Hears:
        """What it can hear. Raises BrokenFile."""
        stated = read_json(self._folder / "generation_config.json")
        self._has_words = bool(stated.get("alignment_heads"))
        try:
            self._pipeline = self._opened()
            config = self._pipeline.get_generation_config()
            self._check()
        except RuntimeError as cause:
            told = reason(cause, self._folder)
            raise BrokenFile(f"OpenVINO cannot use the folder's models: {told}") from cause
        codes = [name.strip("<|>") for name in config.lang_to_id]
        self._languages = sorted(codes) if config.is_multilingual else []
        return Hears(
            languages=self._languages or ["en"],
            translates=bool(self._languages),
            times_words=self._has_words,
        )

    def run(self, value: Any, is_called_off: Callable[[], bool]) -> Heard:
        """What was said. Raises BadRequest for a prompt that is too long."""
        asked = msgspec.convert(value, Hearing)
        mono = resampled(samples(asked.file, asked.sound), asked.sound.rate_hz, HEARD_HZ)
        told = self._pipeline.generate(mono, self._config(asked), _Watched(is_called_off))
        end_s = len(mono) / HEARD_HZ
        return Heard(
            text=told.texts[0].strip(),
            language=told.language or asked.language or "en",
            segments=[_span(chunk, chunk.text, end_s) for chunk in told.chunks or []],
            words=[_span(word, word.word, end_s) for word in told.words or []],
        )

    def _opened(self) -> Any:
        return openvino_genai.WhisperPipeline(
            self._folder,
            "CPU",
            INFERENCE_NUM_THREADS=self._threads,
            PERFORMANCE_HINT="LATENCY",
            **({"word_timestamps": True} if self._has_words else {}),
        )

    def _check(self) -> None:
        """Hears a second of silence, so that a model that cannot is known before it is asked."""
        config = self._pipeline.get_generation_config()
        config.max_new_tokens = 2
        silence = np.zeros(HEARD_HZ, np.float32)
        try:
            self._pipeline.generate(silence, config)
        except RuntimeError:
            if not self._has_words:
                raise
            self._has_words = False  # an export whose attention cannot be looked at
            self._pipeline = self._opened()
            self._check()

    def _config(self, asked: Hearing) -> Any:
        config = self._pipeline.get_generation_config()
        prompt_tokens = self._prompt_tokens(asked.prompt)
        config.max_new_tokens = min(PLACES // 2, PLACES - SPECIAL - prompt_tokens)
        config.return_timestamps = asked.has_segments or asked.has_words
        if self._has_words:
            config.word_timestamps = asked.has_words
        if self._languages:
            config.task = asked.task
            if asked.language:
                config.language = f"<|{asked.language}|>"
        if asked.prompt:
            config.initial_prompt = asked.prompt
        config.do_sample = asked.temperature > 0
        if config.do_sample:
            config.temperature = asked.temperature
        return config

    def _prompt_tokens(self, prompt: str) -> int:
        if not prompt:
            return 0
        tokens = self._pipeline.get_tokenizer().encode(f" {prompt}", add_special_tokens=False)
        count = int(tokens.input_ids.shape[1])
        if count >= PLACES // 2:
            raise BadRequest(
                f"'prompt' has {count} tokens; {PLACES // 2 - 1} at most.", param="prompt"
            )
        return count


def _span(timed: Any, text: str, end_s: float) -> Span:
    """A span that ends where the sound does when the model gave no end."""
    start = min(max(0.0, timed.start_ts), end_s)
    end = timed.end_ts if timed.end_ts >= start else end_s
    return Span(round(start, 3), round(min(end, end_s), 3), text)
