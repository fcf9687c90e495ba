"""What a batch can be, and what it can become."""

from __future__ import annotations

MOVES = {
    "validating": {"in_progress", "failed", "cancelling"},
    "in_progress": {"finalizing", "cancelling"},
    "finalizing": {"completed", "expired"},
    "cancelling": {"cancelled"},
    "failed": set[str](),
    "completed": set[str](),
    "expired": set[str](),
    "cancelled": set[str](),
}
OPEN = frozenset(state for state, moves in MOVES.items() if moves)
CANCELLABLE = frozenset(state for state, moves in MOVES.items() if "cancelling" in moves)


def before(state: str) -> frozenset[str]:
    """The states from which a batch can become that."""
    return frozenset(earlier for earlier, moves in MOVES.items() if state in moves)
