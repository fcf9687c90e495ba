"""Writes a tiny SpeechT5 of random weights as an OpenVINO folder: `speech_ir.py OUT`.

Every part is there and computes; what it says is noise that hangs on the text and the voice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops

sys.path.insert(0, str(Path(__file__).parent))
from whisper_ir import byte_tokens, named_model, tokenizers

WIDTH, MELS, VOICE, HOP = 16, 80, 512, 64
FRAMES = 2  # of one step


def constant(random: np.random.Generator, *shape: int, scale: float = 1.0) -> Any:
    return ops.constant((random.standard_normal(shape) * scale).astype("f4"))


def encoder(vocabulary: int, random: np.random.Generator) -> ov.Model:
    tokens = ops.parameter([-1, -1], np.int64)
    x = ops.gather(constant(random, vocabulary, WIDTH), tokens, ops.constant(np.int64(0)))
    ones = ops.broadcast(ops.constant(np.int64(1)), ops.shape_of(tokens))
    outputs = ["last_hidden_state", "encoder_attention_mask"]
    return named_model([ops.tanh(x), ones], outputs, [tokens], ["input_ids"])


def decoder(random: np.random.Generator) -> ov.Model:
    """A step: looks at the text from where the last frame and a state left off."""
    last = ops.parameter([-1, -1, MELS], np.float32)
    voice = ops.parameter([-1, VOICE], np.float32)
    text = ops.parameter([-1, -1, WIDTH], np.float32)
    mask = ops.parameter([-1, -1], np.int64)
    beams = ops.parameter([-1], np.int32)
    zero = ops.constant(np.int64(0))
    start = ops.constant(np.zeros((1, 1, WIDTH), np.float32))
    kept = ops.gather(ops.read_value(start, "past", np.float32, [-1, 1, WIDTH]), beams, zero)
    frame = ops.gather(last, ops.constant(np.array([-1])), ops.constant(np.int64(1)))
    spoken = ops.matmul(voice, constant(random, VOICE, WIDTH, scale=0.5), False, False)
    moved = ops.matmul(frame, constant(random, MELS, WIDTH, scale=0.1), False, False)
    query = ops.add(ops.add(moved, kept), ops.unsqueeze(spoken, ops.constant(np.int64(1))))
    seen = ops.unsqueeze(ops.convert(mask, "f32"), ops.constant(np.int64(1)))
    weighed = ops.softmax(ops.multiply(ops.matmul(query, text, False, True), seen), 2)
    x = ops.tanh(ops.add(ops.matmul(weighed, text, False, False), query))
    state = ops.assign(
        ops.tanh(ops.matmul(x, constant(random, WIDTH, WIDTH), False, False)), "past"
    )
    flat = ops.matmul(x, constant(random, WIDTH, FRAMES * MELS), False, False)
    spectrum = ops.reshape(flat, ops.constant(np.array([-1, FRAMES, MELS])), False)
    newest = ops.gather(spectrum, ops.constant(np.array([-1])), ops.constant(np.int64(1)))
    grown = ops.concat([last, newest], 1)
    ends = ops.matmul(x, constant(random, WIDTH, FRAMES, scale=0.3), False, False)
    ends = ops.add(ends, ops.constant(np.float32(-2.5)))  # so that it ends later than at once
    prob = ops.reshape(ops.sigmoid(ends), ops.constant(np.array([-1])), False)
    inputs = ["inputs_embeds", "speaker_embeddings", "encoder_hidden_states"]
    return named_model(
        [grown, spectrum, prob],
        ["output_sequence_out", "spectrum", "prob"],
        [last, voice, text, mask, beams],
        [*inputs, "encoder_attention_mask", "beam_idx"],
        [state],
    )


def postnet(random: np.random.Generator) -> ov.Model:
    """[steps, batch, frames, mels] to one spectrogram of [batch, steps * frames, mels]."""
    raw = ops.parameter([-1, -1, FRAMES, MELS], np.float32)
    turned = ops.transpose(raw, ops.constant(np.array([1, 0, 2, 3])))
    x = ops.reshape(turned, ops.constant(np.array([0, -1, MELS])), True)
    x = ops.add(x, ops.matmul(x, constant(random, MELS, MELS, scale=0.01), False, False))
    return named_model([x], ["postnet_spectrogram"], [raw], ["raw_spectrogram"])


def vocoder(random: np.random.Generator) -> ov.Model:
    """A frame to HOP samples."""
    spectrogram = ops.parameter([-1, -1, MELS], np.float32)
    x = ops.tanh(ops.matmul(spectrogram, constant(random, MELS, HOP, scale=0.05), False, False))
    x = ops.reshape(x, ops.constant(np.array([-1])), False)
    return named_model([x], ["waveform"], [spectrogram], ["spectrogram"])


def write(out: Path) -> None:
    """The folder, whole; always the same."""
    random = np.random.default_rng(13)
    tokens = [*byte_tokens(), "he"]
    special = {"<|startoftext|>": len(tokens), "<|endoftext|>": len(tokens) + 1}
    out.mkdir(parents=True, exist_ok=True)
    there, back = tokenizers(tokens, ["h e"], special)
    parts = {
        "encoder_model": encoder(len(tokens) + 2, random),
        "decoder_model": decoder(random),
        "postnet": postnet(random),
        "vocoder": vocoder(random),
        "tokenizer": there,
        "detokenizer": back,
    }
    for name, model in parts.items():
        ov.save_model(model, out / f"openvino_{name}.xml")
    config = {"model_type": "speecht5", "architectures": ["SpeechT5ForTextToSpeech"]}
    config |= {"reduction_factor": FRAMES, "num_mel_bins": MELS}
    (out / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
