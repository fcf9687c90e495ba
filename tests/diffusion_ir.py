"""Writes a tiny Stable Diffusion of random weights as an OpenVINO folder: `diffusion_ir.py OUT`.

Every part is there and computes; what it draws is coloured noise that hangs on prompt and seed.
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

PLACES, WIDTH, LATENT, BLOCKS = 77, 16, 4, 4  # three doublings: a latent is an eighth of an image


def text_encoder(vocabulary: int, random: np.random.Generator) -> ov.Model:
    """Tokens to vectors that know their places."""
    tokens = ops.parameter([-1, PLACES], np.int64)
    table = ops.constant(random.standard_normal((vocabulary, WIDTH)).astype("f4"))
    places = ops.constant(random.standard_normal((1, PLACES, 1)).astype("f4"))
    x = ops.gather(table, tokens, ops.constant(np.int64(0)))
    x = ops.tanh(ops.multiply(x, places))
    return named_model([x], ["last_hidden_state"], [tokens], ["input_ids"])


def unet(random: np.random.Generator) -> ov.Model:
    """The noise of a latent: a convolution, the mean of the prompt's vectors, and the time."""
    sample = ops.parameter([-1, LATENT, -1, -1], np.float32)
    timestep = ops.parameter([-1], np.int64)
    words = ops.parameter([-1, PLACES, WIDTH], np.float32)
    kernel = ops.constant((random.standard_normal((LATENT, LATENT, 3, 3)) * 0.2).astype("f4"))
    x = ops.convolution(sample, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    said = ops.reduce_mean(words, ops.constant(np.array([1])), False)
    toward = ops.constant((random.standard_normal((WIDTH, LATENT)) * 2).astype("f4"))
    said = ops.reshape(ops.matmul(said, toward, False, False), np.array([0, LATENT, 1, 1]), True)
    time = ops.multiply(ops.convert(timestep, "f32"), ops.constant(np.float32(1e-3)))
    x = ops.tanh(ops.add(ops.add(x, said), ops.reshape(time, np.array([1, 1, 1, 1]), False)))
    inputs = ["sample", "timestep", "encoder_hidden_states"]
    return named_model([x], ["out_sample"], [sample, timestep, words], inputs)


def vae_decoder(random: np.random.Generator) -> ov.Model:
    """A latent to three colours of eight times its size."""
    latent = ops.parameter([-1, LATENT, -1, -1], np.float32)
    kernel = ops.constant(random.standard_normal((LATENT, 3, 8, 8)).astype("f4") * np.float32(0.3))
    x: Any = ops.convolution_backprop_data(latent, kernel, [8, 8])
    return named_model([ops.tanh(x)], ["sample"], [latent], ["latent_sample"])


def write(out: Path) -> None:
    """The folder, whole; always the same."""
    random = np.random.default_rng(11)
    tokens = [*byte_tokens(), "he"]
    special = {"<|startoftext|>": len(tokens), "<|endoftext|>": len(tokens) + 1}
    there, back = tokenizers(tokens, ["h e"], special)
    parts = {
        "text_encoder": (
            text_encoder(len(tokens) + 2, random),
            {"max_position_embeddings": PLACES},
        ),
        "unet": (unet(random), {"in_channels": LATENT, "sample_size": 8}),
        "vae_decoder": (
            vae_decoder(random),
            {
                "in_channels": 3,
                "latent_channels": LATENT,
                "out_channels": 3,
                "scaling_factor": 0.5,
                "block_out_channels": [8] * BLOCKS,
            },
        ),
    }
    for name, (model, config) in parts.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        ov.save_model(model, out / name / "openvino_model.xml")
        (out / name / "config.json").write_text(json.dumps(config))
    (out / "tokenizer").mkdir(exist_ok=True)
    ov.save_model(there, out / "tokenizer" / "openvino_tokenizer.xml")
    ov.save_model(back, out / "tokenizer" / "openvino_detokenizer.xml")
    ends = {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    ends["bos_token"] = "<|startoftext|>"
    (out / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(ends))
    (out / "tokenizer" / "special_tokens_map.json").write_text(json.dumps(ends))
    (out / "scheduler").mkdir(exist_ok=True)
    scheduler = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear"}
    scheduler |= {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
    scheduler |= {"prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1}
    (out / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    (out / "model_index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
