"""What a process that makes one model of another is asked, and what it says: JSON both ways.

Threads of 0 are as many as the process may use.
"""

from __future__ import annotations

from msgspec import Struct

FAILED = 5  # exit code: the last line on standard error is {"error": reason}


class Quantise(Struct, frozen=True, kw_only=True, tag_field="job", tag="quantize"):
    """The files of a model as one file of another type."""

    sources: list[str]
    target: str
    type: str
    made_from: str = ""  # SHA-256 or revision of the parent
    importance: str = ""  # a file of an importance matrix
    is_lossy_allowed: bool = False
    threads: int = 0


class Merge(Struct, frozen=True, kw_only=True, tag_field="job", tag="merge"):
    """A LoRA adapter into the files of its model."""

    sources: list[str]
    adapter: str
    target: str
    type: str
    made_from: str = ""
    threads: int = 0


class Convert(Struct, frozen=True, kw_only=True, tag_field="job", tag="convert"):
    """A safetensors repository as one GGUF file."""

    folder: str
    target: str
    name: str
    made_from: str
    scratch: str


class Importance(Struct, frozen=True, kw_only=True, tag_field="job", tag="importance"):
    """An importance matrix of a model, measured on texts or, without them, on those shipped."""

    model: str
    target: str
    texts: list[str] = []
    threads: int = 0


class Measure(Struct, frozen=True, kw_only=True, tag_field="job", tag="measure"):
    """A child against its parent; `adapter`: one that the child answers under."""

    parent: str
    child: str
    adapter: str = ""
    library: str = ""  # a build of libllama; "": the wheel's
    threads: int = 0


Job = Quantise | Merge | Convert | Importance | Measure


class Step(Struct, frozen=True):
    """How far it is: so many of so many."""

    done: int
    all: int


class Made(Struct, frozen=True, kw_only=True, tag_field="result", tag="made"):
    """What was written. `lossy_parent`: the parent's format where it was rounded before, or ""."""

    bytes: int
    formats: dict[str, int] = {}  # tensors of each
    lossy_parent: str = ""
    weighed: int = 0  # tensors that an importance matrix was used for
    architecture: str = ""
    file_type: str = ""
    cut: str = ""  # how text is cut into words, proven
    proven_tokens: int = 0
    unlike: tuple[str, ...] = ()  # languages read otherwise than by the makers' tokenizer


class Interval(Struct, frozen=True):
    """A number with the interval that covers it in 95 of 100 draws of the text."""

    low: float
    mid: float
    high: float


class Loss(Struct, frozen=True, kw_only=True, tag_field="result", tag="loss"):
    """A child against its parent; for models of vectors only `cosine`, for others all but it."""

    suite: str
    tokens: int
    languages: dict[str, float]  # perplexity ratio, or cosine, in each
    ratio: Interval | None = None  # child's perplexity over the parent's
    kl_nats: Interval | None = None
    agreement: Interval | None = None
    parent_perplexity: float = 0.0
    kl_99_nats: float = 0.0  # one place in a hundred diverges more
    cosine: Interval | None = None


Result = Made | Loss
