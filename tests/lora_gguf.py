"""Writes a LoRA adapter of random weights for the tiny model: `lora_gguf.py OUT SEED`."""

from __future__ import annotations

import sys

import gguf
import numpy as np

LAYERS, WIDTH, RANK = 2, 64, 4


def main(out: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 16.0)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_v", "attn_output"):
            for half, shape in (("a", (RANK, WIDTH)), ("b", (WIDTH, RANK))):
                weights = chance.standard_normal(shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{name}.weight.lora_{half}", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
