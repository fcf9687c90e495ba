"""Log lines are an event name with fields, one JSON object a line on standard error or in a file.

    log = logger("engines")
    log.info("replica_ready", model="smollm2:135m", wait_s=1.6)

Never log a key, a prompt or an answer; what looks like a key is cut from every line all the same.
A line that is written while a request is answered names it.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from contextvars import ContextVar
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import msgspec

REQUEST: ContextVar[str] = ContextVar("request", default="")  # the request that is answered
KEYS = re.compile(r"(?<!\w)(sk-hn-\w{8}|sk-\w{0,4}|(?i:bearer )|haneul_session=)[\w.~+/=-]{8,}")


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
        if request := REQUEST.get():
            line.setdefault("request", request)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return KEYS.sub(r"\1…", msgspec.json.encode(line, enc_hook=str).decode())


def open_log(path: Path | None, level: str = "info") -> None:
    """Sends every log line to the file, or to standard error when path is None.

    A file that was moved away, as logrotate does, is begun anew.
    """
    handler = WatchedFileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("WARNING")  # libraries speak up only when something is wrong
    logging.getLogger("haneul").setLevel(level.upper())
