"""What a search found, as rows of the store, and the setup that holds for a model."""

from __future__ import annotations

from statistics import median

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.ids import new_id
from haneul.base.units import MILLION, now_us
from haneul.services.tune.chooser import Purpose, Trial, noise
from haneul.services.tune.search import Found
from haneul.services.tune.setup import Setup, paired, read, show
from haneul.store import tunings
from haneul.store.models import ModelRow
from haneul.store.tunings import TrialRow, TuningRow

MILLI = 1000
MEASURED, LOST = "measured", "lost"


class Kept(Struct, frozen=True):
    """A search and all it tried, as it is stored."""

    tuning: TuningRow
    trials: list[TrialRow]


def rows(found: Found, row: ModelRow, *, chip: str, versions: str, purpose: Purpose) -> Kept:
    """The search as rows, with ids of their own."""
    tuning_id = new_id("tun")
    ids = {trial.setup.key: new_id("try") for trial in found.trials}
    used = found.choices[purpose]
    single, many = (found.choices[kind].trial.setup for kind in ("single", "many"))
    pair = paired(single, many, found.many_from)
    said = f"both kernels: {show(pair)}" if pair and purpose == "both" else used.why
    tuning = TuningRow(
        id=tuning_id,
        model=row.name,
        digest=row.digest,
        chip=chip,
        versions=versions,
        purpose=purpose,
        default_trial=ids[found.default.setup.key],
        single_trial=ids[found.choices["single"].trial.setup.key],
        many_trial=ids[found.choices["many"].trial.setup.key],
        used_trial=ids[used.trial.setup.key],
        many_from=found.many_from or None,
        said=said,
        load=msgspec.json.encode(found.load).decode(),
        took_us=round(found.took_s * MILLION),
        created_us=now_us(),
    )
    made = [
        _trial_row(trial, row, chip=chip, id=ids[trial.setup.key], tuning_id=tuning_id)
        for trial in found.trials
    ]
    return Kept(tuning, made)


def in_use(kept: Kept) -> dict[str, str]:
    """What each chosen trial is used for, in words, by its id: one of them, or a pair."""
    tuning = kept.tuning
    setups = {trial.id: read(trial.setup) for trial in kept.trials}
    if tuning.purpose != "both" or _pair_of(tuning, setups) is None:
        return {tuning.used_trial: "in use"}
    streams = f"from {tuning.many_from} streams on" if tuning.many_from else "for several streams"
    return {tuning.single_trial: "in use", tuning.many_trial: f"in use {streams}"}


def setup_for(connection: Connection, digest: str, chip: str, versions: str) -> Setup | None:
    """The setup that was chosen for a file on a chip; None where nothing was searched yet.

    Where another kernel is best for one stream than for several, and both matter: the two.
    """
    held = tunings.newest(connection, digest=digest, chip=chip, versions=versions)
    if held is None:
        return None
    tuning, used = held
    if tuning.purpose == "both":
        tried = tunings.trials(connection, tuning.id)
        pair = _pair_of(tuning, {trial.id: read(trial.setup) for trial in tried})
        if pair is not None:
            return pair
    return read(used.setup)


def _pair_of(tuning: TuningRow, setups: dict[str, Setup]) -> Setup | None:
    """Both kernels in one engine, where the best for one stream and for several are of two."""
    single, many = setups[tuning.single_trial], setups[tuning.many_trial]
    return paired(single, many, tuning.many_from or 0)


def _trial_row(trial: Trial, row: ModelRow, *, chip: str, id: str, tuning_id: str) -> TrialRow:
    plain = TrialRow(
        id=id,
        tuning_id=tuning_id,
        model=row.name,
        digest=row.digest,
        chip=chip,
        setup=trial.setup.key,
        kernel=trial.kernel or None,
        state=LOST if trial.lost else MEASURED,
        reason=trial.lost or None,
        rounds=len(trial.samples),
        memory_bytes=trial.memory_bytes,
        created_us=trial.began_us,
    )
    return msgspec.structs.replace(plain, **_figures(trial))


def _figures(trial: Trial) -> dict[str, int]:
    """Whole numbers in the store's units."""
    found: dict[str, int] = {}
    if trial.samples:
        for name in ("single", "long", "together", "shared"):
            found[f"{name}_milli"] = round(MILLI * _middle(trial, name))
        for name in ("ttft", "together_ttft"):
            found[f"{name}_us"] = round(MILLION * _middle(trial, f"{name}_s"))
        found["spread_millionths"] = round(MILLION * noise(trial, "both"))
    if trial.loss is not None:
        for name in ("low", "mid", "high"):
            found[f"loss_{name}"] = round(MILLION * getattr(trial.loss, name))
    return found


def _middle(trial: Trial, name: str) -> float:
    values: list[float] = [getattr(sample, name) for sample in trial.samples]
    return median(values)
