"""The vocabulary of a tokenizer.json as GGUF holds it: words, their kinds, special tokens.

Four ways are known: bytes and merges (GPT-2's), SentencePiece's merges and its unigrams, and BERT's
WordPieces. What a repository does not say of itself is given as ways to be tried.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Iterator
from typing import Any, Literal

from haneul.base.errors import BadRequest, BrokenFile
from haneul.engine.derive.convert.checkpoint import Checkpoint
from haneul.engine.derive.convert.families import number
from haneul.engine.derive.gguf_copy import Value

Kind = Literal["gpt2", "llama", "bert", "t5"]  # as llama.cpp calls them
Pairs = dict[str, Value]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # llama_token_type
WORDS_MAX = 1 << 20
BYTE_WORD = re.compile(r"<0x[0-9A-F]{2}>")
LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<｜.*｜>|<pad>|<mask>|<2mass>|\[@BOS@\]|<unused.*>", re.S)
SPACE = "\u2581"
# The names llama.cpp knows, the usual ones first; of several for one way the first.
CUTS: tuple[str, ...] = ("qwen2", "llama-bpe", "smollm", "gpt-2", "starcoder", "gpt-4o", "tekken")
CUTS += ("deepseek-llm", "deepseek-v3", "deepseek-coder", "dbrx", "falcon", "mpt", "command-r")
CUTS += ("stablelm2", "olmo", "refact", "smaug-bpe", "glm4", "chatglm-bpe", "exaone", "exaone4")
CUTS += ("trillion", "kimi-k2", "hunyuan", "hunyuan-dense", "bailingmoe", "seed-coder", "superbpe")
CUTS += ("minimax-m2", "qwen35")


def kind_of(said: dict[str, Any]) -> Kind:
    """Which way a tokenizer.json goes. Raises BadRequest for one that is not converted."""
    model = said.get("model")
    if not isinstance(model, dict) or not model.get("vocab"):
        raise BadRequest("tokenizer.json has no vocabulary.")
    named = model.get("type") or ("BPE" if "merges" in model else "")
    if named == "BPE":
        return "llama" if model.get("byte_fallback") else "gpt2"
    if named == "WordPiece":
        return "bert"
    if named == "Unigram":
        return "t5"
    raise BadRequest(f"Vocabularies of the kind {str(named)[:32]!r} are not converted here.")


def described(held: Checkpoint, said: dict[str, Any], kind: Kind) -> Pairs:
    """What is sure of the vocabulary. Raises BrokenFile."""
    import gguf  # of the extra [convert]

    spelled, scores = _spelled(said, kind)
    added = _added(said)
    spelled |= {place: each["content"] for place, each in added.items()}
    size = held.config.get("vocab_size", max(spelled) + 1)
    if not isinstance(size, int) or not max(spelled) < size <= WORDS_MAX or min(spelled) < 0:
        raise BrokenFile("config.json and tokenizer.json do not agree on the vocabulary's size.")
    unknown = _unknown(said, spelled)
    texts, kinds = [], []
    for place in range(size):
        text, what = _word(spelled.get(place), added.get(place), place, kind)
        what = UNKNOWN if kind in ("llama", "t5") and place == unknown else what
        texts.append(_phantom(text) if kind == "bert" and what == NORMAL else text)
        kinds.append(what)
    pairs: Pairs = {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": kinds,
    }
    if scores:
        pairs["tokenizer.ggml.scores"] = [scores.get(place, -10_000.0) for place in range(size)]
    if kind in ("bert", "t5"):
        kinds_of_text = number(held.config, "type_vocab_size", default=1)
        pairs["tokenizer.ggml.token_type_count"] = kinds_of_text
    if charsmap := _charsmap(said.get("normalizer")):
        pairs["tokenizer.ggml.precompiled_charsmap"] = charsmap
    try:
        special = gguf.SpecialVocab(held.folder, load_merges=kind == "gpt2", n_vocab=size)
        return pairs | dict(_special(special))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as cause:
        raise BrokenFile("The special words of the tokenizer cannot be read.") from cause


def ways(said: dict[str, Any], kind: Kind) -> Iterator[Pairs]:
    """What is not sure: ways to cut text before words are looked up, the likely ones first."""
    if kind == "gpt2":
        for cut in _likely(said):
            yield {"tokenizer.ggml.pre": cut}
    elif kind == "bert":
        yield {"tokenizer.ggml.pre": "default"}
    else:
        stated = str(said.get("normalizer")) + str(said.get("pre_tokenizer"))
        has_prefix = "Prepend" in stated or "Metaspace" in stated
        for prefix, removes in itertools.product((has_prefix, not has_prefix), (False, True)):
            yield {
                "tokenizer.ggml.pre": "default",
                "tokenizer.ggml.add_space_prefix": prefix,
                "tokenizer.ggml.remove_extra_whitespaces": removes,
            }


def _spelled(said: dict[str, Any], kind: Kind) -> tuple[dict[int, str], dict[int, float]]:
    """Words by their numbers, and their scores where the way of looking up goes by them."""
    vocabulary = said["model"]["vocab"]
    try:
        if kind == "t5":
            spelled = {place: str(text) for place, (text, _) in enumerate(vocabulary)}
            return spelled, {place: float(score) for place, (_, score) in enumerate(vocabulary)}
        spelled = {int(place): str(text) for text, place in vocabulary.items()}
    except (AttributeError, TypeError, ValueError) as cause:
        raise BrokenFile("tokenizer.json has a vocabulary that is none.") from cause
    # merges are learned in the order of their words' numbers: the earlier, the sooner they apply
    return spelled, {place: float(-place) for place in spelled} if kind == "llama" else {}


def _added(said: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Words that were added to the vocabulary, by their numbers."""
    found = {}
    for each in said.get("added_tokens") or []:
        is_word = isinstance(each, dict) and isinstance(each.get("content"), str)
        if not is_word or type(each.get("id")) is not int:
            raise BrokenFile("tokenizer.json has an added token that is none.")
        found[each["id"]] = each
    return found


def _unknown(said: dict[str, Any], spelled: dict[int, str]) -> int:
    model = said["model"]
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    return next((place for place, text in spelled.items() if text == model.get("unk_token")), -1)


def _word(
    text: str | None, added: dict[str, Any] | None, place: int, kind: Kind
) -> tuple[str, int]:
    if text is None:
        return f"[PAD{place}]", UNUSED
    if kind == "llama" and BYTE_WORD.fullmatch(text):
        return text, BYTE
    if added is None:
        return text, NORMAL
    is_special = bool(added.get("special")) or LOOKS_SPECIAL.fullmatch(text)
    return text, CONTROL if is_special else USER_DEFINED


def _phantom(text: str) -> str:
    """A WordPiece as llama.cpp spells it: where a word begins is marked, not where it goes on."""
    return text[2:] if text.startswith("##") else f"{SPACE}{text}"


def _charsmap(normalizer: Any) -> bytes:
    """SentencePiece's own table of what letters become, if there is one."""
    for each in _steps(normalizer):
        stated = each.get("precompiled_charsmap")
        if each.get("type") == "Precompiled" and isinstance(stated, str):
            try:
                return base64.b64decode(stated, validate=True)
            except binascii.Error as cause:
                raise BrokenFile("tokenizer.json has a table of letters that is none.") from cause
    return b""


def _steps(normalizer: Any) -> list[dict[str, Any]]:
    if not isinstance(normalizer, dict):
        return []
    if normalizer.get("type") != "Sequence":
        return [normalizer]
    steps = normalizer.get("normalizers")
    return [each for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []


def _special(special: Any) -> Iterator[tuple[str, Value]]:
    """What the `gguf` package reads of a repository: merges, special tokens, the template."""
    if special.merges:
        if not all(isinstance(merge, str) for merge in special.merges):
            raise BrokenFile("tokenizer.json has merges that are none.")
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
