"""The log as tests read it: `with Lines() as log: …`, then `log.lines`."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

from haneul.base.log import JsonFormatter


class Lines(logging.Handler):
    """Every line of the log, down to debug, as it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def __enter__(self) -> Self:
        self._roots = [logging.getLogger(), logging.getLogger("haneul")]
        self._levels = [root.level for root in self._roots]
        for root in self._roots:
            root.setLevel("DEBUG")
        self._roots[0].addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._roots[0].removeHandler(self)
        for root, level in zip(self._roots, self._levels, strict=True):
            root.setLevel(level)
