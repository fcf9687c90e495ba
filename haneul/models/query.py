"""What people type to find a model: "korean 8b apache", as filters and as words."""

from __future__ import annotations

import re
import unicodedata

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.models.families.entry import Task

QUERY_MAX = 200  # signs
WORDS_MAX = 16
NEAR = (0.7, 1.4)  # times the size that was typed: an "8b" has 7 to 11 billion

LANGUAGES = {
    "arabic": "ar",
    "chinese": "zh",
    "english": "en",
    "french": "fr",
    "german": "de",
    "hindi": "hi",
    "italian": "it",
    "japanese": "ja",
    "korean": "ko",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
    "thai": "th",
    "vietnamese": "vi",
    "한국어": "ko",
    "한글": "ko",
    "中文": "zh",
    "日本語": "ja",
}
TASKS: dict[str, Task] = {
    "chat": "chat",
    "reasoning": "reasoning",
    "thinking": "reasoning",
    "code": "code",
    "coding": "code",
    "vision": "vision",
    "embedding": "embedding",
    "embeddings": "embedding",
    "embed": "embedding",
    "rerank": "rerank",
    "reranker": "rerank",
    "reranking": "rerank",
    "image": "image",
    "video": "video",
    "3d": "3d",
    "world": "world",
    "speech": "speech",
}
LICENCES = ("apache", "apache-2.0", "mit", "bsd", "cc-by", "gemma-terms", "closed")
FREE = ("commercial", "free")
AMOUNT = re.compile(r"(<|>|<=|>=|≤|≥|~)?(\d{1,6}(?:\.\d{1,3})?)(m|b|t)", re.IGNORECASE)
BYTES = re.compile(r"(?:<|<=|≤)?(\d{1,6}(?:\.\d{1,3})?)(mb|gb|tb)", re.IGNORECASE)
PARAMETERS = {"m": 1e6, "b": 1e9, "t": 1e12}
SIZES = {"mb": 1e6, "gb": 1e9, "tb": 1e12}


class Query(Struct, frozen=True, kw_only=True):
    """What is wanted: every filter that is set must hold, and every word must be found."""

    words: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    languages: tuple[str, ...] = ()
    licence: str = ""  # the beginning of an id, in small letters
    is_commercial: bool = False  # only what may surely serve paying users
    parameters_min: float = 0
    parameters_max: float = float("inf")
    bytes_max: float = float("inf")  # of the smallest file there is


def read_query(text: str) -> Query:
    """The filters and words of a text. Raises BadRequest for one that is too long."""
    plain = unicodedata.normalize("NFC", text).lower().replace(",", " ")
    words = plain.split()
    if len(plain) > QUERY_MAX or len(words) > WORDS_MAX:
        raise BadRequest(f"A search has up to {WORDS_MAX} words and {QUERY_MAX} signs.")
    query = Query()
    for word in words:
        query = _add(query, word)
    return query


def parse_bytes(text: str) -> float:
    """Bytes of a size such as 8GB. Raises BadRequest."""
    found = BYTES.fullmatch(text.strip().replace(" ", ""))
    if found is None:
        raise BadRequest(f"'{text[:40]}' is not a size such as 800MB or 8GB.")
    return float(found[1]) * SIZES[found[2].lower()]


def _add(query: Query, word: str) -> Query:
    """The query with one more word of what was typed."""
    if word in LANGUAGES:
        return replace(query, languages=(*query.languages, LANGUAGES[word]))
    if word in TASKS:
        return replace(query, tasks=(*query.tasks, TASKS[word]))
    if word in LICENCES:
        return replace(query, licence=word)
    if word in FREE:
        return replace(query, is_commercial=True)
    if BYTES.fullmatch(word):
        return replace(query, bytes_max=parse_bytes(word))
    amount = AMOUNT.fullmatch(word)
    return _amount(query, amount) if amount else replace(query, words=(*query.words, word))


def _amount(query: Query, found: re.Match[str]) -> Query:
    count = float(found[2]) * PARAMETERS[found[3].lower()]
    sign = found[1] or "~"
    if sign in ("<", "<=", "≤"):
        return replace(query, parameters_max=count)
    if sign in (">", ">=", "≥"):
        return replace(query, parameters_min=count)
    return replace(query, parameters_min=count * NEAR[0], parameters_max=count * NEAR[1])
