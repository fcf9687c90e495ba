"""What a derivative lost against its parent, as it is measured, stored and judged."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from haneul.base.errors import BadRequest
from haneul.chips.estimate import Estimate

# Relations whose child answers differently from its parent, and so must be measured first.
MEASURED = frozenset({"converted", "quantized", "merged", "tuned"})


class Measures(Struct, frozen=True, kw_only=True):
    """A child against its parent on the same text, both read by the same kernel.

    perplexity_ratio is the child's perplexity over the parent's: 1 is alike, 1.02 two percent
    worse. kl_nats is the mean divergence of the child's next-token distributions from the
    parent's. agreement is the share of places where both would say the same next token. Models
    of vectors have none of these but a cosine: of what both make of the same sentences.
    """

    perplexity_ratio: Estimate | None
    kl_nats: Estimate | None
    agreement: Estimate | None
    parent_perplexity: float
    tokens: int  # at which both were read
    cosine: Estimate | None = None
    languages: dict[str, float] = {}  # perplexity ratio, or cosine, in each

    @property
    def loss(self) -> float:
        """The share by which perplexity grew, or vectors turned away; 0 where they did not."""
        if self.perplexity_ratio is not None:
            return max(0.0, self.perplexity_ratio.mid - 1)
        return 0.0 if self.cosine is None else max(0.0, 1 - self.cosine.mid)


def dump(measures: Measures) -> str:
    """As the store keeps it."""
    return msgspec.json.encode(measures).decode()


def read(text: str) -> Measures:
    """As it was stored."""
    return msgspec.json.decode(text, type=Measures)


def loss_of(text: str) -> float:
    """A bound on a loss as people type it: `2%` or `0.02`. Raises BadRequest."""
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 10:
        raise BadRequest(
            f"'{text[:32]}' is no loss of quality: 0% to 1000%.", param="quality_loss_max"
        )
    return share
