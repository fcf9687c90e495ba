"""The proof that a converted vocabulary reads text as the makers' own tokenizer does.

How a vocabulary cuts text before it looks up words has no name in a repository, but GGUF wants one.
So the ways are tried: the one under which the kernel reads a long, nasty text token for token as
the `tokenizers` library does is the right one, and where none does the model is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from haneul.base.errors import BadRequest, BrokenFile
from haneul.engine.derive.convert.checkpoint import Checkpoint
from haneul.engine.derive.convert.vocabularies import Pairs, described, kind_of, ways
from haneul.engine.derive.texts import passages, spelling

Read = Callable[[str], list[int]]
Reader = Callable[[Pairs], Read]


class Words(Struct, frozen=True, kw_only=True):
    """Metadata of the tokenizer. `cut`: the proven way of cutting; `proven`: tokens compared.

    `unlike`: languages that an encoder's kernel reads otherwise than its makers' tokenizer.
    """

    pairs: Pairs
    cut: str
    proven: int
    unlike: tuple[str, ...] = ()


def words(held: Checkpoint, *, is_encoder: bool, reader: Reader) -> Words:
    """The vocabulary as GGUF holds it. `reader` gives the kernel's way to read text under pairs.

    Raises BadRequest for one that the kernel cannot be brought to read alike, and BrokenFile.
    """
    said = held.json("tokenizer.json")
    kind = kind_of(said)
    sure = described(held, said, kind)
    theirs = _theirs(held.folder / "tokenizer.json")
    wanted = [(name, text, theirs(text)) for name, text in _texts()]
    for way in ways(said, kind):
        pairs = {**sure, **way}
        ours = reader(pairs)
        unlike = {name for name, text, tokens in wanted if ours(text) != tokens}
        # llama.cpp folds accents otherwise than BERT does, and takes Hangul apart with them
        if not unlike or (is_encoder and "English" not in unlike):
            alike = sum(len(tokens) for name, _, tokens in wanted if name not in unlike)
            cut = str(way["tokenizer.ggml.pre"]) if kind == "gpt2" else kind
            return Words(pairs=pairs, cut=cut, proven=alike, unlike=tuple(sorted(unlike)))
    raise BadRequest("The kernel knows no way to cut text as this model's tokenizer does.")


def _texts() -> list[tuple[str, str]]:
    return [("spelling", spelling()), *((each.language, each.text) for each in passages()[1])]


def _theirs(path: Path) -> Read:
    import tokenizers  # of the extra [convert]

    try:
        reader = tokenizers.Tokenizer.from_file(str(path))
    except Exception as cause:  # the library raises nothing narrower
        raise BrokenFile("tokenizer.json cannot be read.") from cause
    reader.no_truncation()
    reader.no_padding()

    def read(text: str) -> list[int]:
        try:
            return list(reader.encode(text, add_special_tokens=True).ids)
        except Exception as cause:
            raise BrokenFile("tokenizer.json cannot read text.") from cause

    return read
