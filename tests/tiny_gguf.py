"""Writes a deterministic llama model of random weights, about 0.5 MB.

`tiny_gguf.py OUT [SEED [N]]`; with N in files of N tensors each, as engines take them.

For the protocol, concurrency, counting and faults; its text is meaningless on purpose. The
vocabulary is 256 bytes, ChatML's specials and a few merges; the template knows tools. One residual
channel is held constant and lowers the logits of unprintable bytes, so answers are printable.
"""

from __future__ import annotations

import sys

import gguf
import numpy as np

LAYERS, WIDTH, HIDDEN, HEADS, CONTEXT = 2, 64, 128, 4, 4096
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PAIRS = ["th", "he", "in", "er", "an", "on", "re", "at"]
END_OF_TURN = 2

TEMPLATE = """{%- if tools %}<|im_start|>system
{%- if messages[0].role == 'system' %}
{{ messages[0].content }}
{%- endif %}
# Tools
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
For each call answer with the name and arguments as JSON:
<tool_call>
{"name": <name>, "arguments": <arguments>}
</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}
{%- if not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}{{ message.content }}
{%- elif message.content %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}
{%- if message.tool_calls %}
{%- for tool_call in message.tool_calls %}
{%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '\\n<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
{{- tool_call.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in shown}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(shown))
    return [letters[byte] for byte in range(256)]


def write(path: str, seed: int = 7, tensors_a_part: int = 0) -> None:
    """Writes the model; the same seed gives the same bytes. In parts, when told how large."""
    random = np.random.default_rng(seed)
    letters = byte_letters()
    tokens = [*SPECIALS, *letters, *PAIRS]
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_a_part)
    _describe(writer, tokens)

    def matrix(*shape: int, scale: float) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    embedding = matrix(len(tokens), WIDTH, scale=1.0)
    embedding[:, 0] = 8.0  # the constant channel
    head = matrix(len(tokens), WIDTH, scale=0.25)
    printable = {*letters[32:127], *PAIRS}
    head[:, 0] = [0.0 if token in printable else -6.0 for token in tokens]
    head[END_OF_TURN, 0] = -0.6  # rare, but possible
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", head)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v"):
            writer.add_tensor(f"{block}{name}.weight", matrix(WIDTH, WIDTH, scale=0.2))
        for name, inner in (("attn_output", WIDTH), ("ffn_down", HIDDEN)):
            weights = matrix(WIDTH, inner, scale=0.2)
            weights[0] = 0.0  # nothing writes to the constant channel
            writer.add_tensor(f"{block}{name}.weight", weights)
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"{block}{name}.weight", matrix(HIDDEN, WIDTH, scale=0.2))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    kinds = [gguf.TokenType.CONTROL] * len(SPECIALS)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIALS))
    writer.add_name("haneul-tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{pair[0]} {pair[1]}" for pair in PAIRS])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(END_OF_TURN)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


if __name__ == "__main__":
    write(sys.argv[1], *(int(number) for number in sys.argv[2:4]))
