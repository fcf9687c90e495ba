"""Log lines: one JSON object each, and no key in any of them, whoever logs it."""

from __future__ import annotations

import json
import logging

from haneul.base.log import REQUEST, logger, open_log
from tests.log_lines import Lines


def test_what_looks_like_a_key_is_cut_from_a_line_that_somebody_logs_after_all():
    key = "sk-hn-QOFpAwzC" + "x" * 49
    with Lines() as log:
        logger("canary").info(
            "careless",
            key=key,
            header="Bearer eyJhbGciOi.abc",
            other="sk-proj-AbCdEf0123456789",
            cookie="haneul_session=abcdef_0123456789",
            plain="task-scheduling and risk-assessments stay",
        )
        try:
            raise ValueError(key)
        except ValueError:
            logger("canary").exception("careless")
    line, with_trace = log.lines
    assert json.loads(line)["key"] == "sk-hn-QOFpAwzC…"
    assert json.loads(line)["header"] == "Bearer …"
    assert json.loads(line)["plain"] == "task-scheduling and risk-assessments stay"
    for secret in ("x" * 10, "eyJ", "AbCdEf", "abcdef_0"):
        assert secret not in line
    assert "x" * 10 not in with_trace


def test_a_line_names_the_request_it_is_written_for_and_no_other():
    token = REQUEST.set("req_mine")
    try:
        with Lines() as log:
            logger("some").info("said")
            logger("some").info("said", request="req_told")
    finally:
        REQUEST.reset(token)
    with log:
        logger("some").warning("later", wait_s=0.5)
    mine, told, later = map(json.loads, log.lines)
    assert mine["request"] == "req_mine"
    assert told["request"] == "req_told"
    assert later == {"at": later["at"], "level": "warning", "area": "some", "event": "later"} | {
        "wait_s": 0.5
    }


def test_a_log_that_is_moved_away_is_begun_anew(tmp_path):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    path = tmp_path / "cloud.log"
    try:
        open_log(path)
        logger("some").info("first")
        path.rename(tmp_path / "cloud.log.1")
        logger("some").info("second")
        root.handlers[0].close()
    finally:
        root.handlers[:], root.level = handlers, level
        logging.getLogger("haneul").setLevel("NOTSET")
    assert json.loads((tmp_path / "cloud.log.1").read_text())["event"] == "first"
    assert json.loads(path.read_text())["event"] == "second"
