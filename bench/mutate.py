"""Model files that lie: honest ones with a few fields, bytes or names changed, by a seed.

A random byte hits a length or an offset too seldom, so half of the changes go to a field: where the
reader read a number of a GGUF, or a number or name in the JSON of a safetensors file.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from haneul.base.first_bytes import Cursor
from haneul.base.gguf import BOUNDS, _Reader
from haneul.base.safetensors import DTYPES
from haneul.testing.gguf import TINY, TINY_WEIGHTS, Weights, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

EDGES = [0, 1, 2, 3, 7, 31, 32, 63, 64, 255, 256, 4095, 4096, 65_535, 1 << 16, 1 << 20, 1 << 24]
EDGES += [power + step for power in (1 << 31, 1 << 32, 1 << 62, 1 << 63) for step in (-1, 0, 1)]
EDGES += [(1 << 64) - 1, (1 << 64) - 32, (1 << 60) + 32]
TEXTS = ["", "__metadata__", "a" * 5000, "\ud83d", "\u0000", "F32", "F4", "I64", "../x", "NaN"]
CHANGES = (1, 1, 1, 2, 3, 4)


class _Noting(Cursor):
    """Notes where each number was read."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fields: list[tuple[int, int]] = []

    def number(self, layout: struct.Struct, what: str) -> int:
        self.fields.append((self.position, layout.size))
        return super().number(layout, what)


def gguf_seeds() -> list[bytes]:
    """Honest files of several kinds, each of a few kilobytes."""
    kinds = ["F16", "Q4_K", "IQ2_XS", "MXFP4", "BF16", "I64"]
    mixed = [Weights(f"blk.{n}.x", (256, 2), kind) for n, kind in enumerate(kinds)]
    values = {"a.numbers": [1, 2, 3], "a.words": ["x" * 40] * 9, "a.flag": True, "a.real": 1.5}
    split = {**TINY, "split.no": 0, "split.count": 2, "split.tensors.count": 9}
    return [
        gguf_bytes(),
        gguf_bytes(version=2),
        gguf_bytes({**TINY, "general.alignment": 64}),
        gguf_bytes({**TINY, **values}, [*TINY_WEIGHTS, *mixed]),
        gguf_bytes(split),
        gguf_bytes({**TINY, "a.long": [7] * 5000}, TINY_WEIGHTS[:1]),
    ]


def safetensors_seeds() -> list[bytes]:
    """Honest files of several kinds, each of a few kilobytes."""
    many = {f"model.layers.{n}.mlp.up_proj.weight": ("BF16", [4, 2]) for n in range(30)}
    return [
        safetensors_bytes({"a": ("F32", [2, 3]), "b": ("F8_E4M3", [5])}),
        safetensors_bytes({"a": ("F4", [8]), "empty": ("I64", [0, 4]), "one": ("F64", [])}),
        safetensors_bytes(many, metadata={"format": "pt", "note": '하늘 \\ " }'}),
        safetensors_bytes({}),
    ]


class Mutants:
    """Endless changed files of one format; the same seed gives the same ones."""

    def __init__(self, format: str, seed: int) -> None:
        self._random = Random(seed)
        is_gguf = format == "gguf"
        self._seeds = gguf_seeds() if is_gguf else safetensors_seeds()
        self._fields = [_fields(data) for data in self._seeds] if is_gguf else []
        self._own = self._field if is_gguf else self._json
        self._heads = [_head_bytes(data, is_gguf=is_gguf) for data in self._seeds]

    def next(self) -> bytes:
        """A file with one to four changes, one as often as several."""
        which = self._random.randrange(len(self._seeds))
        data = bytearray(self._seeds[which])
        if not self._fields and self._random.random() < 0.3:
            return self._drawn()
        changes: Sequence[Callable[[bytearray, int], None]] = [self._own] * 4 + [
            self._poke,
            self._flip,
            self._cut,
            self._insert,
            self._double,
            self._end,
        ]
        for _ in range(self._random.choice(CHANGES)):
            self._random.choice(changes)(data, which)
        return bytes(data)

    def json_changed(self, data: bytes, seed: int) -> bytes:
        """A safetensors file with one change to the JSON of its head."""
        self._random.seed(seed)
        changed = bytearray(data)
        self._json(changed, 0)
        return bytes(changed)

    def _drawn(self) -> bytes:
        """A safetensors file drawn anew, honest or with one fact of one tensor wrong."""
        random = self._random
        names = [f"t{n}" for n in range(random.randrange(6))]
        shapes = [[random.randrange(5) for _ in range(random.randrange(4))] for _ in names]
        kinds = [random.choice(list(DTYPES)) for _ in names]
        tensors = dict(zip(names, zip(kinds, shapes, strict=True), strict=True))
        if not names or random.random() < 0.4:
            return safetensors_bytes(tensors)
        lie: dict[str, Any] = random.choice(
            [
                {"dtype": random.choice(list(DTYPES))},
                {"shape": [random.randrange(4) for _ in range(random.randrange(4))]},
                {"shape": [self._edge(), random.randrange(3), self._edge()]},
                {"data_offsets": sorted(random.randrange(60) for _ in range(2))},
                {"data_offsets": [self._edge(), self._edge()]},
            ]
        )
        return safetensors_bytes(tensors, **{random.choice(names): lie})

    def _at(self, data: bytearray, which: int) -> int:
        """A place, in the head nine times of ten."""
        end = self._heads[which] if self._random.random() < 0.9 else len(data)
        return self._random.randrange(max(1, min(end, len(data))))

    def _edge(self) -> int:
        random = self._random
        return random.choice(EDGES) if random.random() < 0.7 else random.getrandbits(64)

    def _field(self, data: bytearray, which: int) -> None:
        at, size = self._random.choice(self._fields[which])
        data[at : at + size] = (self._edge() % (1 << 8 * size)).to_bytes(size, "little")

    def _poke(self, data: bytearray, which: int) -> None:
        size = self._random.choice([1, 2, 4, 8])
        at = self._at(data, which)
        data[at : at + size] = (self._edge() % (1 << 8 * size)).to_bytes(size, "little")

    def _flip(self, data: bytearray, which: int) -> None:
        if data:
            data[self._at(data, which)] ^= 1 << self._random.randrange(8)

    def _cut(self, data: bytearray, which: int) -> None:
        at = self._at(data, which)
        del data[at : at + self._random.randint(1, 40)]

    def _insert(self, data: bytearray, which: int) -> None:
        at = self._at(data, which)
        data[at:at] = self._random.randbytes(self._random.randint(1, 24))

    def _double(self, data: bytearray, which: int) -> None:
        at = self._at(data, which)
        part = data[at : at + self._random.randint(1, 200)]
        data[at:at] = part

    def _end(self, data: bytearray, which: int) -> None:
        if self._random.random() < 0.5:
            del data[self._random.randrange(len(data) + 1) :]
        else:
            data += self._random.randbytes(self._random.randint(1, 100))

    def _json(self, data: bytearray, which: int) -> None:
        """Changes the JSON of the head; its length is put right three times of four."""
        length = int.from_bytes(data[:8], "little")
        text = bytes(data[8 : 8 + length]).decode("utf-8", "replace")
        changed = self._changed(text).encode("utf-8", "replace")
        stated = len(changed) if self._random.random() < 0.75 else self._edge() % (1 << 64)
        data[: 8 + length] = struct.pack("<Q", stated) + changed

    def _changed(self, text: str) -> str:
        kind = self._random.randrange(6)
        if kind == 0:
            return self._swap(text, r"-?\d+", str(self._random.choice([*EDGES, -1, 1.5, 10**400])))
        if kind == 1:
            return self._swap(text, r'"[^"]*"', json.dumps(self._random.choice(TEXTS)))
        if kind == 2:
            deep = self._random.choice([3, 200, 5000])
            return self._swap(text, r"\[[^\]]*\]", "[" * deep + "]" * deep)
        if kind == 3:
            entry = self._random.choice(re.findall(r'"[^"]*":\{[^}]*\},?', text) or ["{"])
            return text.replace(entry, entry.rstrip(",") + "," + entry, 1)
        if kind == 4:
            return self._swap(text, r"\d+", str(self._random.randrange(200)))
        return self._swap(text, r"[{}\[\],:\"]", self._random.choice(list('{}[],:"\\ n')))

    def _swap(self, text: str, pattern: str, new: str) -> str:
        found = list(re.finditer(pattern, text))
        if not found:
            return text + new
        hit = self._random.choice(found)
        return text[: hit.start()] + new + text[hit.end() :]


def _fields(data: bytes) -> list[tuple[int, int]]:
    cursor = _Noting.over(data, len(data), BOUNDS)
    assert isinstance(cursor, _Noting)
    _Reader(cursor).read()
    return cursor.fields


def _head_bytes(data: bytes, *, is_gguf: bool) -> int:
    if not is_gguf:
        return 8 + int.from_bytes(data[:8], "little")
    at, size = _fields(data)[-1]
    return at + size
