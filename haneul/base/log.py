"""Log lines are an event name with fields, one JSON object a line on standard error or in a file.

    log = logger("engines")
    log.info("replica_ready", model="smollm2:135m", wait_s=1.6)

Never log a key, a prompt or an answer.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

import msgspec


class Logger:
    """Writes events of one area through the standard library's logging."""

    def __init__(self, area: str) -> None:
        self._log = logging.getLogger(f"haneul.{area}")

    def debug(self, event: str, **fields: Any) -> None:
        self._log.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: Any) -> None:
        self._log.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:
        self._log.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: Any) -> None:
        self._log.error(event, extra={"fields": fields})

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self._log.exception(event, extra={"fields": fields})


def logger(area: str) -> Logger:
    """The logger of one area, such as 'engines' or 'pull'."""
    return Logger(area)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, area, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "area": record.name.removeprefix("haneul."),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def open_log(path: Path | None, level: str = "info") -> None:
    """Sends every log line to the file, or to standard error when path is None."""
    handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("WARNING")  # libraries speak up only when something is wrong
    logging.getLogger("haneul").setLevel(level.upper())
