"""The tables of invoices and their lines: once written, they never change."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text


def tables(metadata: MetaData) -> tuple[Table, Table]:
    """`invoice` and `invoice_line`, added to the schema."""
    invoice = Table(
        "invoice",  # append-only; a correction is a credit note, which is an invoice of its own
        metadata,
        Column("id", Text, primary_key=True),
        Column("tenant_id", Text, nullable=False),
        Column("number", Integer, nullable=False),  # 1, 2, 3 … of each tenant, without gaps
        Column("kind", Text, nullable=False),  # invoice, credit
        Column("month", Text, nullable=False),  # 2026-11, UTC
        Column("currency", Text, nullable=False),
        Column("total_nano", BigInteger, nullable=False),  # negative for a credit note
        Column("of_number", Integer),  # the invoice that a credit note corrects
        Column("reason", Text),
        Column("issued_us", BigInteger, nullable=False),
        Index("invoice_number", "tenant_id", "number", unique=True),
    )

    invoice_line = Table(
        "invoice_line",  # append-only
        metadata,
        Column("id", Text, primary_key=True),
        Column("invoice_id", Text, nullable=False),
        Column("position", Integer, nullable=False),
        Column("key_id", Text),
        Column("model", Text),
        Column("engine", Text),
        Column("price_id", Text),
        Column("requests", BigInteger, nullable=False),
        Column("prompt_tokens", BigInteger, nullable=False),
        Column("cached_tokens", BigInteger, nullable=False),
        Column("completion_tokens", BigInteger, nullable=False),
        Column("reasoning_tokens", BigInteger, nullable=False),
        Column("cost_nano", BigInteger, nullable=False),
        # What the line is for beside tokens; None: it was written before that was noted.
        Column("audio_us", BigInteger),
        Column("images", BigInteger),
        Column("characters", BigInteger),
        Index("line_of_invoice", "invoice_id", "position", unique=True),
    )

    return invoice, invoice_line
