"""Who signed a bundle, and whose bundles this home takes.

A home has one Ed25519 key, made when it is first needed and readable by its owner alone. A public
key is written ed25519:HEX, short enough to be read out over a telephone. Whom a home trusts stands
in one file, a line each: the key, then a name for people.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from msgspec import Struct
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from haneul.base.errors import BadRequest, BrokenFile, CommandError, NotFound

OWN = "bundle.key"
PREFIX = "ed25519:"
PUBLIC = re.compile(r"ed25519:[0-9a-f]{64}")
NAME = re.compile(r"\w[\w .@-]{0,63}")
SIGNED = b"haneul bundle 1\0"  # before what is signed: a signature is good for nothing else
TRUSTED_MAX = 1000


class Trusted(Struct, frozen=True):
    """Somebody whose bundles are taken."""

    key: str
    name: str


def own_key(folder: Path) -> SigningKey:
    """This home's key, made now if there is none. Raises CommandError for one others can read."""
    path = folder / OWN
    if not path.exists():
        _make(path)
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
        raise CommandError(f"Others can read the key {path}; chmod 600 it, or remove it.")
    try:
        return SigningKey(bytes.fromhex(path.read_text().strip()))
    except ValueError as cause:
        raise CommandError(f"{path} is not a key; remove it to have a new one made.") from cause


def _make(path: Path) -> None:
    """Writes a new key, whole or not at all; of two that try, the first one's holds."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(fresh, flags, 0o600), "w") as file:
        file.write(SigningKey.generate().encode().hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass  # somebody else was quicker
    finally:
        fresh.unlink()


def public(key: SigningKey) -> str:
    """How a key is shown."""
    return PREFIX + key.verify_key.encode().hex()


def sign(key: SigningKey, data: bytes) -> bytes:
    """The signature: 64 bytes."""
    return key.sign(SIGNED + data).signature


def check(key: str, data: bytes, signature: bytes) -> None:
    """Raises BrokenFile unless who has the key signed these bytes."""
    try:
        VerifyKey(bytes.fromhex(parsed(key).removeprefix(PREFIX))).verify(SIGNED + data, signature)
    except (BadSignatureError, ValueError) as cause:
        raise BrokenFile("The signature does not fit the bundle: it was changed.") from cause


def parsed(text: str) -> str:
    """A public key as somebody typed it. Raises BadRequest."""
    key = text.strip().lower()
    if not PUBLIC.fullmatch(key):
        raise BadRequest("A key is ed25519: and 64 hexadecimal digits: see haneul bundle key.")
    return key


def trusted(folder: Path) -> tuple[Trusted, ...]:
    """Whose bundles are taken, by name. Raises CommandError where the file is not what it was."""
    try:
        text = (folder / "trusted").read_text()
    except FileNotFoundError:
        return ()
    found = []
    for line in text.splitlines():
        key, _, name = line.partition(" ")
        if not PUBLIC.fullmatch(key) or not NAME.fullmatch(name):
            raise CommandError(f"{folder / 'trusted'} has a line that is no key and name: {line!r}")
        found.append(Trusted(key, name))
    return tuple(sorted(found, key=lambda each: each.name))


def known(folder: Path) -> tuple[Trusted, ...]:
    """Whose bundles are taken: those trusted, and this home's own."""
    own = [Trusted(public(own_key(folder)), "this home")] if (folder / OWN).exists() else []
    return (*own, *trusted(folder))


def trust(folder: Path, key: str, name: str) -> Trusted:
    """Takes the bundles of a key from now on. Raises BadRequest, CommandError."""
    if not NAME.fullmatch(name):
        raise BadRequest("A name is up to 64 letters, digits, blanks, dots and dashes.")
    added = Trusted(parsed(key), name)
    others = [each for each in trusted(folder) if each.key != added.key]
    if any(each.name == name for each in others):
        raise BadRequest(f"Another key is called {name} already.")
    if len(others) >= TRUSTED_MAX:
        raise CommandError(f"{TRUSTED_MAX} keys are trusted already.")
    _write(folder, [*others, added])
    return added


def distrust(folder: Path, mark: str) -> Trusted:
    """Takes no more bundles of a key or name. Raises NotFound."""
    known = trusted(folder)
    found = [each for each in known if mark in (each.key, each.name)]
    if not found:
        raise NotFound(f"No trusted key is {mark[:100]}.")
    _write(folder, [each for each in known if each not in found])
    return found[0]


def _write(folder: Path, keys: list[Trusted]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f".trusted.{secrets.token_hex(8)}"
    fresh.write_text("".join(f"{each.key} {each.name}\n" for each in keys))
    fresh.replace(folder / "trusted")
