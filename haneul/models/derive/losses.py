"""What a child lost, as it is stored, of what a process measured."""

from __future__ import annotations

from haneul.base.deriving import Interval, Loss
from haneul.chips.estimate import Estimate, exactly
from haneul.models.quality import Measures

SOURCE = "{suite}, {tokens} tokens, 95 of 100 draws of its windows"
PROVEN = "every weight kept bit by bit, {tokens} tokens of text cut as by the makers' tokenizer"


def measures(loss: Loss) -> Measures:
    """As the store keeps them."""
    source = SOURCE.format(suite=loss.suite, tokens=loss.tokens)

    def estimate(interval: Interval | None, unit: str) -> Estimate | None:
        if interval is None:
            return None
        low, mid, high = (max(0.0, each) for each in (interval.low, interval.mid, interval.high))
        return Estimate(low=low, mid=mid, high=high, unit=unit, source=source)

    return Measures(
        perplexity_ratio=estimate(loss.ratio, "×"),
        kl_nats=estimate(loss.kl_nats, "nat"),
        agreement=estimate(loss.agreement, ""),
        cosine=estimate(loss.cosine, ""),
        parent_perplexity=loss.parent_perplexity,
        tokens=loss.tokens,
        languages=loss.languages,
    )


def kept(loss: Loss, *, proven_tokens: int) -> Measures:
    """Those of a conversion, whose parent no kernel here can run: that nothing was changed.

    `loss`: of the child against itself, which says that it runs and what its perplexity is.
    """
    source = PROVEN.format(tokens=proven_tokens)
    is_text = loss.cosine is None
    one = exactly(1.0, "", source=source)
    return Measures(
        perplexity_ratio=exactly(1.0, "×", source=source) if is_text else None,
        kl_nats=exactly(0.0, "nat", source=source) if is_text else None,
        agreement=one if is_text else None,
        cosine=None if is_text else one,
        parent_perplexity=loss.parent_perplexity,
        tokens=loss.tokens,
    )
