"""Small safetensors repositories of random weights, and what they answer, computed by hand.

The forward passes are written after the papers and Hugging Face's layout of weights (halves of a
head are turned against each other), and share nothing with the converter or the kernel.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

from haneul.engine.derive.texts import passages, spelling

Array = np.ndarray
CUTS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
LAYERS, WIDTH, HIDDEN, HEADS, SHARED, VOCABULARY = 2, 64, 96, 4, 2, 700
DECODER = {
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": SHARED,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": VOCABULARY,
}
MAKES: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "cut": "llama-bpe"},
    "llama3": {
        "architectures": ["LlamaForCausalLM"],
        "cut": "llama-bpe",
        "head_dim": 32,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "smollm2": {
        "architectures": ["LlamaForCausalLM"],
        "cut": "smollm",
        "tie_word_embeddings": True,
    },
    "mistral": {"architectures": ["MistralForCausalLM"], "cut": "sentencepiece"},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "cut": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "cut": "qwen2", "head_dim": 32},
    "qwen3moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "cut": "qwen2",
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "norm_topk_prob": True,
    },
}


def write_decoder(folder: Path, make: str, *, dtype: str = "F32", parts: int = 1) -> dict[str, Any]:
    """Writes the repository; gives its configuration and weights as float32."""
    config = {**DECODER, **MAKES[make]}
    cut = config.pop("cut")
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: _as(array, dtype) for name, array in _decoder_weights(config).items()}
    (folder / "config.json").write_text(json.dumps(config))
    if cut == "sentencepiece":
        sentence_pieces(folder)
    else:
        byte_level(folder, cut)
    _write_parts(folder, weights, dtype, parts)
    return {"config": config, "weights": weights}


def _decoder_weights(config: dict[str, Any]) -> dict[str, Array]:
    random = np.random.default_rng(3)
    head = config.get("head_dim", WIDTH // HEADS)

    def matrix(*shape: int, scale: float = 0.2) -> Array:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(VOCABULARY, WIDTH, scale=1.0)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name, rows in (("q", HEADS), ("k", SHARED), ("v", SHARED)):
            weights[f"{at}self_attn.{name}_proj.weight"] = matrix(rows * head, WIDTH)
            if config["architectures"] == ["Qwen2ForCausalLM"]:
                weights[f"{at}self_attn.{name}_proj.bias"] = matrix(rows * head)
        weights[f"{at}self_attn.o_proj.weight"] = matrix(WIDTH, HEADS * head)
        if "Qwen3" in config["architectures"][0]:
            for name in "qk":
                weights[f"{at}self_attn.{name}_norm.weight"] = 1 + matrix(head)
        if count := config.get("num_experts"):
            weights[f"{at}mlp.gate.weight"] = matrix(count, WIDTH)
            feeds = [(f"experts.{each}.", config["moe_intermediate_size"]) for each in range(count)]
        else:
            feeds = [("", HIDDEN)]
        for place, hidden in feeds:
            weights[f"{at}mlp.{place}gate_proj.weight"] = matrix(hidden, WIDTH)
            weights[f"{at}mlp.{place}up_proj.weight"] = matrix(hidden, WIDTH)
            weights[f"{at}mlp.{place}down_proj.weight"] = matrix(WIDTH, hidden)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}{name}.weight"] = 1 + matrix(WIDTH)
    weights["model.norm.weight"] = 1 + matrix(WIDTH)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(VOCABULARY, WIDTH)
    return weights


def decode(made: dict[str, Any], tokens: list[int]) -> Array:
    """Logits at each token, (tokens, vocabulary)."""
    config, weights = made["config"], made["weights"]
    state = weights["model.embed_tokens.weight"][tokens]
    for layer in range(LAYERS):
        mine = {
            name.split(".", 3)[3]: array
            for name, array in weights.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        state = state + _attend(config, mine, _rms(state, mine["input_layernorm.weight"]))
        state = state + _feed(config, mine, _rms(state, mine["post_attention_layernorm.weight"]))
    state = _rms(state, weights["model.norm.weight"])
    return state @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T


def _attend(config: dict[str, Any], mine: dict[str, Array], given: Array) -> Array:
    count, head = len(given), config.get("head_dim", WIDTH // HEADS)

    def project(name: str, heads: int) -> Array:
        bias = mine.get(f"self_attn.{name}_proj.bias", 0.0)
        rows = given @ mine[f"self_attn.{name}_proj.weight"].T + bias
        return rows.reshape(count, heads, head).swapaxes(0, 1)

    q, k, v = project("q", HEADS), project("k", SHARED), project("v", SHARED)
    if "self_attn.q_norm.weight" in mine:
        q, k = _rms(q, mine["self_attn.q_norm.weight"]), _rms(k, mine["self_attn.k_norm.weight"])
    q, k = _turn(config, q), _turn(config, k)
    k, v = (np.repeat(each, HEADS // SHARED, axis=0) for each in (k, v))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(head)
    scores[:, np.triu(np.ones((count, count), bool), 1)] = -np.inf
    mixed = _softmax(scores) @ v
    return mixed.swapaxes(0, 1).reshape(count, -1) @ mine["self_attn.o_proj.weight"].T


def _turn(config: dict[str, Any], rows: Array) -> Array:
    """Halves of a head turned against each other by an angle that grows with the place."""
    head = rows.shape[-1]
    speeds = config["rope_theta"] ** (-np.arange(0, head, 2) / head)
    if scaling := config.get("rope_scaling"):
        trained = scaling["original_max_position_embeddings"]
        turns = trained * speeds / (2 * np.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        speeds = (1 - smooth) * speeds / scaling["factor"] + smooth * speeds
    angles = np.arange(rows.shape[1])[:, None] * speeds
    first, second = rows[..., : head // 2], rows[..., head // 2 :]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _feed(config: dict[str, Any], mine: dict[str, Array], given: Array) -> Array:
    def feed(place: str, rows: Array) -> Array:
        gate = rows @ mine[f"mlp.{place}gate_proj.weight"].T
        up = rows @ mine[f"mlp.{place}up_proj.weight"].T
        return (gate / (1 + np.exp(-gate)) * up) @ mine[f"mlp.{place}down_proj.weight"].T

    if "num_experts" not in config:
        return feed("", given)
    shares = _softmax(given @ mine["mlp.gate.weight"].T)
    out = np.zeros_like(given)
    for place, row in enumerate(shares):
        best = np.argsort(-row)[: config["num_experts_per_tok"]]
        for expert in best:
            share = row[expert] / row[best].sum()
            out[place] += share * feed(f"experts.{expert}.", given[place : place + 1])[0]
    return out


def _rms(rows: Array, scale: Array) -> Array:
    return rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + 1e-5) * scale


def _softmax(rows: Array) -> Array:
    shares = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def write_encoder(
    folder: Path, *, pooling: str = "mean", make: str = "BertModel"
) -> dict[str, Any]:
    """A BERT of random weights with sentence-transformers' pooling; gives what it is made of."""
    folder.mkdir(parents=True, exist_ok=True)
    is_bert = make == "BertModel"
    size = word_pieces(folder) if is_bert else unigrams(folder)
    config = {
        "architectures": [make],
        "pad_token_id": 0 if is_bert else 1,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "vocab_size": size,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
    said = {mode: name == pooling for name, mode in modes.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    random = np.random.default_rng(4)

    def matrix(*shape: int) -> Array:
        return (random.standard_normal(shape) * 0.2).astype(np.float32)

    at = "embeddings."
    weights = {
        f"{at}word_embeddings.weight": matrix(size, WIDTH),
        f"{at}position_embeddings.weight": matrix(512, WIDTH),
        f"{at}token_type_embeddings.weight": matrix(2, WIDTH),
        f"{at}LayerNorm.weight": 1 + matrix(WIDTH),
        f"{at}LayerNorm.bias": matrix(WIDTH),
        "pooler.dense.weight": matrix(WIDTH, WIDTH),
        "pooler.dense.bias": matrix(WIDTH),
    }
    sizes = {
        "attention.self.query": (WIDTH, WIDTH),
        "attention.self.key": (WIDTH, WIDTH),
        "attention.self.value": (WIDTH, WIDTH),
        "attention.output.dense": (WIDTH, WIDTH),
        "intermediate.dense": (HIDDEN, WIDTH),
        "output.dense": (WIDTH, HIDDEN),
    }
    for layer in range(LAYERS):
        for name, shape in sizes.items():
            weights[f"encoder.layer.{layer}.{name}.weight"] = matrix(*shape)
            weights[f"encoder.layer.{layer}.{name}.bias"] = matrix(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights[f"encoder.layer.{layer}.{name}.weight"] = 1 + matrix(WIDTH)
            weights[f"encoder.layer.{layer}.{name}.bias"] = matrix(WIDTH)
    write_safetensors(folder / "model.safetensors", weights, "F32")
    first = 0 if is_bert else 2  # XLM-RoBERTa counts places from behind those of padding
    return {"config": config, "weights": weights, "pooling": pooling, "first": first}


def embed(made: dict[str, Any], tokens: list[int]) -> Array:
    """The vector of a text, of length one."""
    weights, count = made["weights"], len(tokens)

    def norm(rows: Array, name: str) -> Array:
        rows = rows - rows.mean(axis=-1, keepdims=True)
        rows = rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + 1e-12)
        return rows * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def dense(rows: Array, name: str) -> Array:
        return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    at = "embeddings."
    state = weights[f"{at}word_embeddings.weight"][tokens]
    first = made["first"]
    state = state + weights[f"{at}position_embeddings.weight"][first : first + count]
    state = norm(state + weights[f"{at}token_type_embeddings.weight"][0], f"{at}LayerNorm")
    for layer in range(LAYERS):
        mine = f"encoder.layer.{layer}."
        q, k, v = (
            dense(state, f"{mine}attention.self.{name}").reshape(count, HEADS, -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        mixed = _softmax(q @ k.swapaxes(1, 2) / np.sqrt(WIDTH / HEADS)) @ v
        mixed = mixed.swapaxes(0, 1).reshape(count, WIDTH)
        added = dense(mixed, f"{mine}attention.output.dense")
        state = norm(state + added, f"{mine}attention.output.LayerNorm")
        fed = dense(_gelu(dense(state, f"{mine}intermediate.dense")), f"{mine}output.dense")
        state = norm(state + fed, f"{mine}output.LayerNorm")
    vector = state.mean(axis=0) if made["pooling"] == "mean" else state[0]
    return vector / np.linalg.norm(vector)


def _gelu(rows: Array) -> Array:
    from math import erf

    return rows * 0.5 * (1 + np.vectorize(erf)(rows / np.sqrt(2)))


def byte_level(folder: Path, cut: str) -> None:
    """A vocabulary of bytes and merges, learned on the texts here, that cuts text in that way."""
    tokenizer = Tokenizer(models.BPE())
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut not in CUTS)
    if cut == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), whole]
    else:
        steps = [pre_tokenizers.Split(Regex(CUTS[cut]), "isolated"), whole]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=680, special_tokens=special, initial_alphabet=alphabet)
    texts = [passage.text for passage in passages()[1]]
    tokenizer.train_from_iterator([*texts, spelling()], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>", "chat_template": "{{ 1 }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def sentence_pieces(folder: Path) -> None:
    """SentencePiece's merges with single bytes for what is in no word, as Mistral has them."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace()
    texts = [passage.text for passage in passages()[1]]
    learned.train_from_iterator(texts, BpeTrainer(vocab_size=420, limit_alphabet=60))
    model = json.loads(learned.to_str())["model"]
    words = sorted(model["vocab"], key=lambda word: model["vocab"][word])
    special = ["<unk>", "<s>", "</s>"]
    every = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    vocabulary = {word: place for place, word in enumerate(every)}
    merges = [tuple(pair) for pair in model["merges"]]
    made = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(made)
    steps = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.post_processor = _around("<s>", "")
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def unigrams(folder: Path) -> int:
    """SentencePiece's unigrams as XLM-RoBERTa has them; gives the vocabulary's size."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = UnigramTrainer(vocab_size=900, special_tokens=special, unk_token="<unk>")
    texts = [line for passage in passages()[1] for line in passage.text.splitlines()]
    tokenizer.train_from_iterator([*texts, *spelling().splitlines()], trainer)
    tokenizer.post_processor = _around("<s>", "</s>", tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>"}
    settings = {f"{name}_token": word for name, word in {**names, "unk": "<unk>"}.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


def _around(first: str, last: str, tokenizer: Tokenizer | None = None) -> Any:
    """What puts special words before and after a text."""
    numbers = {first: 1, last: 2}
    if tokenizer is not None:
        numbers = {word: tokenizer.token_to_id(word) for word in (first, last)}
    end = f" {last}" if last else ""
    return processors.TemplateProcessing(
        single=f"{first} $A{end}",
        pair=f"{first} $A{end} $B:1{end}",
        special_tokens=[(word, number) for word, number in numbers.items() if word],
    )


def word_pieces(folder: Path) -> int:
    """A vocabulary of WordPieces; gives its size."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts = [passage.text for passage in passages()[1]]
    tokenizer.train_from_iterator(texts, WordPieceTrainer(vocab_size=1500, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("pad", "unk", "cls", "sep", "mask")
    settings = {f"{name}_token": f"[{name.upper()}]" for name in names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


def _write_parts(folder: Path, weights: dict[str, Array], dtype: str, parts: int) -> None:
    if parts == 1:
        write_safetensors(folder / "model.safetensors", weights, dtype)
        return
    names, index = list(weights), {}
    for part in range(parts):
        mine = names[part::parts]
        file = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        write_safetensors(folder / file, {name: weights[name] for name in mine}, dtype)
        index |= dict.fromkeys(mine, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def write_safetensors(path: Path, weights: dict[str, Array], dtype: str) -> None:
    """A safetensors file; the numbers must be of that kind already."""
    head: dict[str, Any] = {}
    end, size = 0, {"BF16": 2, "F16": 2, "F32": 4}[dtype]
    for name, array in weights.items():
        place = [end, end := end + array.size * size]
        head[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": place}
    text = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in weights.values():
            file.write(_bytes(array, dtype))


def _as(array: Array, dtype: str) -> Array:
    """The nearest numbers of that kind, as float32."""
    if dtype == "F16":
        return array.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        return (array.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return array


def _bytes(array: Array, dtype: str) -> bytes:
    if dtype == "BF16":
        return (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return array.astype({"F32": np.float32, "F16": np.float16}[dtype]).tobytes()
