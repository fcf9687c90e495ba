"""The vocabulary of a repository, and the proof that it reads text as the makers' own does.

How a vocabulary cuts text before it looks up words has no name in a repository, but GGUF wants one.
So the names are tried: the one under which the kernel reads a long, nasty text token for token as
the `tokenizers` library does is the right one, and where none does the model is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from haneul.base.errors import BadRequest, BrokenFile
from haneul.engine.derive.convert.checkpoint import Checkpoint
from haneul.engine.derive.gguf_copy import Value
from haneul.engine.derive.texts import passages, spelling

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama_token_type
WORDS_MAX = 1 << 20
LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<｜.*｜>|<pad>|<mask>|<2mass>|\[@BOS@\]|<unused.*>", re.S)
# The names llama.cpp knows, the usual ones first; several stand for one way and are left out.
CUTS: tuple[str, ...] = (
    "qwen2",
    "llama-bpe",
    "smollm",
    "gpt-2",
    "starcoder",
    "gpt-4o",
    "tekken",
    "deepseek-llm",
)
CUTS += ("deepseek-v3", "deepseek-coder", "dbrx", "falcon", "mpt", "command-r", "stablelm2", "olmo")
CUTS += ("refact", "smaug-bpe", "glm4", "chatglm-bpe", "exaone", "exaone4", "trillion", "kimi-k2")
CUTS += ("hunyuan", "hunyuan-dense", "bailingmoe", "seed-coder", "superbpe", "minimax-m2", "qwen35")


class Words(Struct, frozen=True, kw_only=True):
    """Metadata of the tokenizer. `cut`: the proven way of cutting; `proven`: tokens compared.

    `unlike`: languages that an encoder's kernel reads otherwise than its makers' tokenizer.
    """

    pairs: dict[str, Value]
    cut: str = ""
    proven: int = 0
    unlike: tuple[str, ...] = ()


Reader = Callable[[dict[str, Value]], Callable[[str], list[int]]]


def words(held: Checkpoint, *, is_bert: bool, reader: Reader) -> Words:
    """The vocabulary as GGUF holds it. `reader` gives the kernel's way to read text under pairs.

    Raises BadRequest for one that the kernel cannot be brought to read alike, and BrokenFile.
    """
    said = held.json("tokenizer.json")
    model = said.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise BadRequest("Only vocabularies of the kinds BPE and WordPiece are converted.")
    kind = "WordPiece" if is_bert else "BPE"
    if model.get("type", kind) != kind or model.get("byte_fallback"):
        raise BadRequest(f"The vocabulary is of a kind that is not converted here, not {kind}.")
    base = _base(held, said, model["vocab"], is_bert=is_bert)
    theirs = _theirs(held.folder / "tokenizer.json")
    wanted = [(name, text, theirs(text)) for name, text in _texts()]
    for cut in ("default",) if is_bert else _likely(said):
        pairs: dict[str, Value] = {**base, "tokenizer.ggml.pre": cut}
        ours = reader(pairs)
        unlike = {name for name, text, tokens in wanted if ours(text) != tokens}
        # llama.cpp folds accents otherwise than BERT does, and takes Hangul apart with them
        if not unlike or (is_bert and "English" not in unlike):
            alike = sum(len(tokens) for name, _, tokens in wanted if name not in unlike)
            return Words(pairs=pairs, cut=cut, proven=alike, unlike=tuple(sorted(unlike)))
    raise BadRequest("The kernel knows no way to cut text as this model's tokenizer does.")


def _texts() -> list[tuple[str, str]]:
    return [("spelling", spelling()), *((each.language, each.text) for each in passages()[1])]


def _base(
    held: Checkpoint, said: dict[str, Any], vocabulary: dict[str, Any], *, is_bert: bool
) -> dict[str, Value]:
    import gguf  # of the extra [convert]

    added = {each["id"]: each for each in said.get("added_tokens", [])}
    spelled = {place: text for text, place in vocabulary.items()}
    spelled |= {place: each["content"] for place, each in added.items()}
    size = held.config.get("vocab_size", max(spelled) + 1)
    if not isinstance(size, int) or not max(spelled) < size <= WORDS_MAX or min(spelled) < 0:
        raise BrokenFile("config.json and tokenizer.json do not agree on the vocabulary's size.")
    special = gguf.SpecialVocab(held.folder, load_merges=not is_bert, n_vocab=size)
    texts, kinds = [], []
    for place in range(size):
        text, kind = _word(spelled.get(place), added.get(place), place)
        texts.append(_phantom(text) if is_bert and kind == NORMAL else text)
        kinds.append(kind)
    pairs: dict[str, Value] = {
        "tokenizer.ggml.model": "bert" if is_bert else "gpt2",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": kinds,
    }
    if is_bert:
        count = held.config.get("type_vocab_size", 1)
        pairs["tokenizer.ggml.token_type_count"] = count if isinstance(count, int) else 1
    return pairs | dict(_special(special, held.config))


def _special(special: Any, config: dict[str, Any]) -> Iterator[tuple[str, Value]]:
    """What the `gguf` package reads of a repository: merges, special tokens, the template."""
    if special.merges:
        yield "tokenizer.ggml.merges", list(special.merges)
    names = {"unk": "unknown", "sep": "seperator", "pad": "padding"}  # their spelling
    for name, place in special.special_token_ids.items():
        yield f"tokenizer.ggml.{names.get(name, name)}_token_id", int(place)
    for name, is_added in special.add_special_token.items():
        yield f"tokenizer.ggml.add_{name}_token", bool(is_added)
    if isinstance(special.chat_template, str):
        yield "tokenizer.chat_template", special.chat_template
    for flag in ("lowercase", "strip_accents"):
        value = getattr(special, f"normalizer_{flag}", None)
        if value is not None:
            yield f"tokenizer.ggml.normalizer.{flag}", bool(value)


def _word(text: str | None, added: dict[str, Any] | None, place: int) -> tuple[str, int]:
    if text is None:
        return f"[PAD{place}]", UNUSED
    if added is None:
        return text, NORMAL
    is_special = bool(added.get("special")) or LOOKS_SPECIAL.fullmatch(text)
    return text, CONTROL if is_special else USER_DEFINED


def _phantom(text: str) -> str:
    """A WordPiece as llama.cpp spells it: where a word begins is marked, not where it goes on."""
    return text[2:] if text.startswith("##") else f"\u2581{text}"


def _likely(said: dict[str, Any]) -> list[str]:
    """The names, those first whose way of cutting stands in the repository."""
    stated = str(said.get("pre_tokenizer"))
    if "\\p{N}{1,3}" in stated:
        first = ["llama-bpe", "gpt-4o", "dbrx"]
    elif "\\p{N}" in stated:
        first = ["qwen2"]
    else:
        first = ["smollm"] if "Digits" in stated else ["gpt-2"]
    return [*first, *(cut for cut in CUTS if cut not in first)]


def _theirs(path: Path) -> Callable[[str], list[int]]:
    import tokenizers  # of the extra [convert]

    try:
        reader = tokenizers.Tokenizer.from_file(str(path))
    except Exception as cause:  # the library raises nothing narrower
        raise BrokenFile("tokenizer.json cannot be read.") from cause
    reader.no_truncation()
    reader.no_padding()

    def read(text: str) -> list[int]:
        return list(reader.encode(text, add_special_tokens=True).ids)

    return read
