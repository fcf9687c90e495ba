"""The table of matrix rows that other installations measured, signed and handed over."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text


def table(metadata: MetaData) -> Table:
    """Adds it to the schema."""
    return Table(
        "matrix_row",  # as it was signed elsewhere; what was measured here is not in it
        metadata,
        Column("id", Text, primary_key=True),  # SHA-256 of the signer and the signed bytes
        Column("signer", Text, nullable=False),  # ed25519:HEX
        Column("signature", Text, nullable=False),  # hexadecimal
        Column("model", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("chip", Text, nullable=False),
        Column("written", Text, nullable=False),  # JSON of services.matrix.row, byte for byte
        Column("taken_us", BigInteger, nullable=False),
        Index("matrix_row_of_model", "digest", "chip"),
    )
