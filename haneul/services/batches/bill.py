"""The bill of a batch's line: its record is committed together with its result, or neither is.

Nobody has anything of the answer before its result is kept, so nothing is billed until then: the
line's page keeps no counters, and a kill at any instruction leaves either both the result and the
record, or a page that says 'aborted' and costs nothing. So a line is answered once and billed once.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from haneul.services.bill import Bill
from haneul.services.flights import Counters


class LineBill(Bill):
    """A bill that is closed by the transaction that keeps the result."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_kept = False

    def delivering(self) -> None:
        """Nothing is delivered before it is kept."""

    def arrived(self) -> None:
        """A line has no first token: nobody waits for it."""

    def close(self, state: str, status: int, error_code: str | None = None) -> None:
        """Drafts the record of an answer; what has none is closed as ever."""
        if state != "done":
            super().close(state, status, error_code)
        elif self.row is None:
            self.row = self._record(state, status, error_code)

    def kept(self) -> None:
        """The record is committed: the reservation returns and the page is free."""
        assert self.row is not None
        self._is_kept = True
        self._settle(self.row)
        self._flight.free()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.row is not None and self.row.state == "done" and not self._is_kept:
            self.row = None  # its result could not be kept: it costs nothing, and is tried again
            self._flight.counters = Counters()
        super().__exit__(kind, error, trace)
