"""Addresses that a file may be put to: signed, for one file of one key, for some hours.

Clients put large files without their key, as they would to a storage of the public hub's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec
from msgspec import Struct

from haneul.base.errors import NotFound
from haneul.base.units import MILLION, now_us

LIFE_S = 6 * 3600  # time for a large file over a slow line to begin
MARK_BYTES = 16
TEXT_MAX = 1024


class Ticket(Struct, frozen=True, array_like=True):
    """Which file, of whom, until when."""

    key_id: str
    sha256: str
    size: int
    expires_us: int


class Tickets:
    """Signs with a key of its own, made of the secret that keys are hashed with."""

    def __init__(self, pepper: bytes) -> None:
        self._secret = hmac.new(pepper, b"tickets of the hub", hashlib.sha256).digest()

    def write(self, key_id: str, sha256: str, size: int) -> str:
        """The text of a new ticket."""
        ticket = Ticket(key_id, sha256, size, now_us() + LIFE_S * MILLION)
        data = msgspec.msgpack.encode(ticket)
        return base64.urlsafe_b64encode(self._mark(data) + data).decode().rstrip("=")

    def read(self, text: str) -> Ticket:
        """What it is for. Raises NotFound for one that was not written here, or is over."""
        try:
            data = base64.b64decode(text[:TEXT_MAX] + "=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError) as cause:
            raise NotFound() from cause
        mark, data = data[:MARK_BYTES], data[MARK_BYTES:]
        if not hmac.compare_digest(mark, self._mark(data)):
            raise NotFound()
        ticket = msgspec.msgpack.decode(data, type=Ticket)
        if ticket.expires_us < now_us():
            raise NotFound("The time for putting this file is over: ask for another address.")
        return ticket

    def _mark(self, data: bytes) -> bytes:
        return hmac.new(self._secret, data, hashlib.sha256).digest()[:MARK_BYTES]
