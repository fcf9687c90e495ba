"""The tables of batches: the files that clients send, and what has become of them so far."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, SmallInteger, Table, Text


def tables(metadata: MetaData) -> tuple[Table, Table, Table]:
    """`file`, `batch` and `batch_line`, added to the schema."""
    file = Table(
        "file",  # what a file in home/files is; deleted rows are gone, as their files
        metadata,
        Column("id", Text, primary_key=True),
        Column("key_id", Text, nullable=False),
        Column("purpose", Text, nullable=False),  # batch, batch_output
        Column("filename", Text, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("expires_us", BigInteger),
        Index("file_by_key", "key_id", "created_us", "bytes"),
    )

    batch = Table(
        "batch",  # a file of requests to be answered within a time
        metadata,
        Column("id", Text, primary_key=True),
        Column("key_id", Text, nullable=False),
        Column("endpoint", Text, nullable=False),
        Column("input_file_id", Text, nullable=False),
        Column("labels", Text),  # JSON: the client's metadata
        Column("state", Text, nullable=False),  # see services.batches.states
        Column("model", Text),
        Column("errors", Text),  # JSON: why its file cannot be run
        Column("output_file_id", Text),
        Column("error_file_id", Text),
        Column("total", Integer, nullable=False),
        Column("completed", Integer, nullable=False),  # counted from its lines until it has ended
        Column("failed", Integer, nullable=False),
        Column("usage", Text),  # JSON: tokens of all answers
        Column("created_us", BigInteger, nullable=False),
        Column("expires_us", BigInteger, nullable=False),
        Column("in_progress_us", BigInteger),
        Column("finalizing_us", BigInteger),
        Column("cancelling_us", BigInteger),
        Column("ended_us", BigInteger),
        Index("batch_by_key", "key_id", "created_us"),
        Index("batch_by_state", "state"),
    )

    batch_line = Table(
        "batch_line",  # the result of one line of a batch that has not ended; then it is in a file
        metadata,
        Column("batch_id", Text, primary_key=True),
        Column("number", Integer, primary_key=True),  # of the line, from 1
        Column("status", SmallInteger, nullable=False),  # of its answer
        Column("result", Text, nullable=False),  # JSON, as a line of the output or the error file
        Column("prompt_tokens", Integer, nullable=False),
        Column("cached_tokens", Integer, nullable=False),
        Column("completion_tokens", Integer, nullable=False),
        Column("reasoning_tokens", Integer, nullable=False),
    )
    return file, batch, batch_line
