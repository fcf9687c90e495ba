"""A policy as a file: an npz of plain arrays with a digest, nothing in it that could run.

What is read is checked before it is used: the size unpacked, the names, kinds and shapes of all
arrays, that all numbers are finite, and that the digest is that of the contents.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from haneul.auto.estimate import Estimate
from haneul.auto.familiar import RANKS, Familiar
from haneul.auto.features import SHAPE_NAMES
from haneul.auto.pairs import Pair
from haneul.auto.policy import Guarantee, Policy, Sweep
from haneul.auto.space import BUCKETS, Space
from haneul.base.errors import BrokenFile

FORMAT = 1
FILE_MAX_BYTES = 64 << 20
UNPACKED_MAX_BYTES = 256 << 20
MODELS_MAX, TASKS_MAX, PAIRS_MAX = 1000, 4096, 64

# What the readers of zip and npy files raise for those that lie.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, LookupError, TypeError, OverflowError, SyntaxError),
    *(MemoryError, RuntimeError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)

Arrays = dict[str, np.ndarray[Any, Any]]


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not an array."""

    format: int
    models: list[str]
    tasks: list[str]
    pairs: list[Pair]
    best: int
    best_quality: float
    safe_price: float | None  # None: none is too dear
    guarantee: Guarantee | None


def save(policy: Policy, path: Path) -> str:
    """Writes the file in one step and returns its digest, SHA-256 in hexadecimal."""
    arrays = _arrays(policy)
    digest = _digest(arrays)
    packed = io.BytesIO()
    np.savez_compressed(packed, digest=np.frombuffer(digest, np.uint8), **arrays)  # type: ignore[arg-type]
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(packed.getvalue())
    beside.replace(path)
    return digest.hex()


def load(path: Path) -> tuple[Policy, str]:
    """The policy in a file and its digest. Raises BrokenFile with the reason."""
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            raise BrokenFile(f"The policy is larger than {FILE_MAX_BYTES >> 20} MiB.")
        arrays = _unpacked(path)
    except _UNREADABLE as cause:
        raise BrokenFile("The policy cannot be read: it is no npz of plain arrays.") from cause
    told = arrays.pop("digest", np.zeros(0, np.uint8)).tobytes()
    if told != _digest(arrays):
        raise BrokenFile("The policy's digest is not that of its contents.")
    try:
        facts = msgspec.json.decode(arrays["facts"].tobytes(), type=_Facts)
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as cause:
        raise BrokenFile("The policy's facts are missing or not of this format.") from cause
    _check_facts(facts)
    _check_arrays(arrays, facts)
    _check_sweep(arrays)
    return _policy(arrays, facts), told.hex()


def _unpacked(path: Path) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > 2 * len(_KINDS) or any(
            one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for one in members
        ):
            raise BrokenFile("The policy holds what no policy holds.")
        if sum(one.file_size for one in members) > UNPACKED_MAX_BYTES:
            raise BrokenFile(f"The policy unpacks to over {UNPACKED_MAX_BYTES >> 20} MiB.")
        return {one.filename.removesuffix(".npy"): _array(archive, one) for one in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """One array, for which nothing is set aside before its header is known to tell its size."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, kind = header(file)
        is_plain = kind.kind in "fiu" and all(side >= 0 for side in shape)
        if not is_plain or file.tell() + math.prod(shape) * kind.itemsize != member.file_size:
            raise ValueError("no plain array, or one of another size than its header says")
    with archive.open(member) as file:
        found: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
        return found


_KINDS = {
    "facts": "uint8",
    "prices_in": "float64",
    "prices_out": "float64",
    "row_of": "int32",
    "weights": "float32",
    "vectors": "float32",
    "shape_mean": "float32",
    "shape_scale": "float32",
    "linear": "float32",
    "table": "float32",
    "cell_values": "float32",
    "token_table": "float32",
    "token_scale": "float32",
    "familiar_mean": "float64",
    "familiar_scale": "float64",
    "familiar_sums": "float64",
    "sweep_prices": "float64",
    "sweep_quality": "float64",
    "sweep_cost": "float64",
}


def _digest(arrays: Arrays) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        one = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {one.dtype.str} {one.shape}\n".encode())
        digest.update(one.tobytes())
    return digest.digest()


def _arrays(policy: Policy) -> Arrays:
    facts = _Facts(
        format=FORMAT,
        models=policy.models,
        tasks=policy.tasks,
        pairs=policy.pairs,
        best=policy.best,
        best_quality=policy.best_quality,
        safe_price=policy.safe_price if math.isfinite(policy.safe_price) else None,
        guarantee=policy.guarantee,
    )
    space, estimate = policy.space, policy.estimate
    found = {
        "facts": np.frombuffer(msgspec.json.encode(facts), np.uint8),
        "prices_in": policy.usd_per_token_in,
        "prices_out": policy.usd_per_token_out,
        "row_of": space.row_of,
        "weights": space.weights,
        "vectors": space.vectors,
        "shape_mean": space.shape_mean,
        "shape_scale": space.shape_scale,
        "linear": estimate.linear,
        "table": estimate.table,
        "cell_values": estimate.cell_values,
        "token_table": estimate.token_table,
        "token_scale": estimate.token_scale,
        "familiar_mean": policy.familiar.mean,
        "familiar_scale": policy.familiar.scale,
        "familiar_sums": policy.familiar.sums,
        "sweep_prices": policy.sweep.prices,
        "sweep_quality": policy.sweep.quality,
        "sweep_cost": policy.sweep.cost_usd,
    }
    return {name: np.asarray(array, _KINDS[name]) for name, array in found.items()}


def _check_facts(facts: _Facts) -> None:
    models, tasks, pairs = len(facts.models), len(facts.tasks), len(facts.pairs)
    if facts.format != FORMAT:
        raise BrokenFile(f"The policy is of format {facts.format}; this release reads {FORMAT}.")
    if not (0 < models <= MODELS_MAX and 0 < tasks <= TASKS_MAX and pairs <= PAIRS_MAX):
        raise BrokenFile("The policy has no models or tasks, or too many.")
    named = [facts.best, *(at for one in facts.pairs for at in (one.cheap, one.check, one.dear))]
    if not all(0 <= at < models for at in named):
        raise BrokenFile("The policy names a model it does not have.")


def _check_arrays(arrays: Arrays, facts: _Facts) -> None:
    """Every array is there, of its kind and shape, finite; rows that are looked up exist."""
    if set(arrays) != set(_KINDS):
        raise BrokenFile("The policy's arrays are not those of a policy.")
    for name, kind in _KINDS.items():
        if arrays[name].dtype != kind:
            raise BrokenFile(f"The policy's {name} is not of kind {kind}.")
        if name != "facts" and not np.isfinite(arrays[name]).all():
            raise BrokenFile(f"The policy's {name} holds a number that is not finite.")
    models, tasks, arms = len(facts.models), len(facts.tasks), len(facts.models)
    columns = arms + 2 * len(facts.pairs)
    rows, rank = (*arrays["vectors"].shape, 0, 0)[:2]
    cells, prices, shape = len(arrays["cell_values"]), len(arrays["sweep_prices"]), len(SHAPE_NAMES)
    wanted = {
        "prices_in": (models,),
        "prices_out": (models,),
        "row_of": (2 * BUCKETS,),
        "weights": (rows,),
        "vectors": (rows, rank),
        "shape_mean": (shape,),
        "shape_scale": (shape,),
        "linear": (rank + shape + 1, tasks + columns + models + cells),
        "table": (tasks, columns),
        "cell_values": (cells, columns),
        "token_table": (tasks, models),
        "token_scale": (models,),
        "familiar_mean": (3,),
        "familiar_scale": (3,),
        "familiar_sums": (RANKS,),
        "sweep_prices": (prices,),
        "sweep_quality": (prices,),
        "sweep_cost": (prices,),
    }
    for name, dimensions in wanted.items():
        if arrays[name].shape != dimensions or 0 in dimensions:
            raise BrokenFile(f"The policy's {name} has another shape than its facts say.")
    row_of = arrays["row_of"]
    if row_of.min() < 0 or row_of.max() >= rows or (arrays["familiar_scale"] <= 0).any():
        raise BrokenFile("The policy points to rows it does not have.")
    if (arrays["shape_scale"] <= 0).any():
        raise BrokenFile("The policy's shape_scale would divide by nothing.")


def _check_sweep(arrays: Arrays) -> None:
    """Prices rise from 0, quality falls: a price is looked up by the quality it keeps."""
    prices, quality = arrays["sweep_prices"], arrays["sweep_quality"]
    if prices[0] < 0 or (np.diff(prices) < 0).any() or (np.diff(quality) > 1e-9).any():
        raise BrokenFile("The policy's sweep is out of order.")


def _policy(arrays: Arrays, facts: _Facts) -> Policy:
    return Policy(
        models=facts.models,
        tasks=facts.tasks,
        pairs=facts.pairs,
        usd_per_token_in=arrays["prices_in"],
        usd_per_token_out=arrays["prices_out"],
        best=facts.best,
        best_quality=facts.best_quality,
        space=Space(
            row_of=arrays["row_of"],
            weights=arrays["weights"],
            vectors=arrays["vectors"],
            shape_mean=arrays["shape_mean"],
            shape_scale=arrays["shape_scale"],
        ),
        estimate=Estimate(
            linear=arrays["linear"],
            table=arrays["table"],
            cell_values=arrays["cell_values"],
            token_table=arrays["token_table"],
            token_scale=arrays["token_scale"],
        ),
        familiar=Familiar(
            mean=arrays["familiar_mean"],
            scale=arrays["familiar_scale"],
            sums=arrays["familiar_sums"],
        ),
        sweep=Sweep(
            prices=arrays["sweep_prices"],
            quality=arrays["sweep_quality"],
            cost_usd=arrays["sweep_cost"],
        ),
        safe_price=math.inf if facts.safe_price is None else facts.safe_price,
        guarantee=facts.guarantee,
    )
