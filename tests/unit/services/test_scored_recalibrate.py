"""A correction is kept where it forecasts what it has not seen no worse than what held before."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from known_shapes import CHIP, SMOLLM2

from haneul.base import http
from haneul.base.config import load
from haneul.base.errors import CommandError
from haneul.chips.estimate import around
from haneul.chips.fleet import load as load_fleet
from haneul.models import hub
from haneul.services import tariff
from haneul.services.appraisal import learned
from haneul.services.learned import Learned
from haneul.services.observed import NEWEST, observed
from haneul.services.replica import Replica, Spec
from haneul.services.scored.deployments import Deployments, Here
from haneul.services.scored.probing import Prober
from haneul.services.scored.recalibrate import recalibrate
from haneul.store import audit, deployments, forecasts, models
from haneul.store.database import open_database
from haneul.store.forecasts import MeasurementRow
from haneul.store.models import ModelRow

numbers = itertools.count(1)


@pytest.fixture
def config(tmp_path):
    return load({"home": tmp_path, "slots": 4}).config


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def served(database, name, *, layers=30):
    """A model that is here; so many layers make it another model, not another format."""
    shape = msgspec.structs.replace(SMOLLM2, layers=layers)
    row = ModelRow(
        name=name,
        digest=f"digest of {name}",
        path=f"{name}.gguf",
        bytes=1,
        source="test",
        shape=msgspec.json.encode(shape).decode(),
        pulled_us=1,
    )
    database.run(models.put, row)
    return row


def keep(database, config, ratios):
    """Models in so many formats each, every one so many times as fast as its plain forecast."""
    for number, formats in enumerate(ratios):
        for other, ratio in enumerate(formats):
            row = served(database, f"m{number}-{other}", layers=20 + number)
            said = tariff.forecast(hub.shape(row), CHIP, slots=4).decode
            assert said is not None
            note(database, row, round(said.mid * ratio * 1000))


def note(database, row, value):
    """So many thousandths of a token per second were measured."""
    fact = MeasurementRow(
        id=f"msr_{next(numbers):06d}",
        model=row.name,
        digest=row.digest,
        chip=CHIP.id,
        engine_version="xllamacpp 1",
        kind="decode",
        value=value,
        unit="tok/s",
        created_us=next(numbers),
    )
    database.run(forecasts.add_measurements, [fact])


def test_without_a_measurement_it_is_refused(database, config):
    with pytest.raises(CommandError, match="nothing was measured on this machine yet"):
        database.run(recalibrate, CHIP, config, "me")


def test_of_each_figure_of_a_model_the_newest_are_read_and_no_other_chips_or_kinds(
    database, config
):
    row = served(database, "m")
    for value in range(1, NEWEST + 6):
        note(database, row, value * 1000)
    rows = database.run(forecasts.measurements)
    others = [
        msgspec.structs.replace(rows[-1], id="a", kind="memory"),
        msgspec.structs.replace(rows[-1], id="b", chip="cpu-other"),
        msgspec.structs.replace(rows[-1], id="c", digest="gone"),
    ]
    database.run(forecasts.add_measurements, others)
    found = database.run(observed, CHIP, config)
    assert [each.measured for each in found] == list(range(6, NEWEST + 6))


def unreadable(database, name):
    """A model of a release that told its shape otherwise."""
    row = msgspec.structs.replace(served(database, name), shape='{"layers":"many"}')
    database.run(models.put, row)
    return row


def test_a_model_that_cannot_be_read_does_not_stop_what_the_others_teach(database, config):
    note(database, served(database, "fine"), 9000)
    note(database, unreadable(database, "broken"), 9000)
    assert [each.name for each in database.run(observed, CHIP, config)] == ["fine"]


async def test_models_that_cannot_be_read_are_told_one_by_one_and_stop_no_other(database, config):
    unreadable(database, "broken")
    unreadable(database, "worse")
    here = Here(CHIP, Learned(), load_fleet(), hour=None)
    found = await Prober(config, database, here, is_quiet_needed=False).run()
    assert {each.model for each in found} == {"broken", "worse"}
    assert all("not measured: what is known of it cannot be read" in each.said for each in found)


async def test_an_engine_serves_though_its_models_shape_cannot_be_read(database, tmp_path):
    row = unreadable(database, "broken")
    spec = Spec(model=row.name, path=tmp_path, slots=1, context_tokens=64, threads=1, queue=1)
    client = http.Client()
    running = Deployments(database, appraiser=None)
    running.note(Replica(spec, client=client, run=tmp_path, logs=tmp_path), row.digest)
    (task,) = running._keeping
    await running.aclose()
    assert task.done()
    assert task.exception() is None
    await client.aclose()


def test_models_that_agree_correct_the_next_forecast_and_all_of_it_is_kept(database, config):
    keep(database, config, [[0.5, 0.52], [0.48, 0.5]])
    found = database.run(recalibrate, CHIP, config, "me")
    (figure,) = found.figures
    assert (figure.decision, figure.models, figure.count) == ("taken", 2, 4)
    assert figure.left_out == "model"
    assert 0.45 < figure.factor < 0.7, "drawn towards one, as four say the same"
    assert figure.held_out < figure.uncorrected
    now = database.run(learned, CHIP, config)
    assert now.calibration == found.calibration
    plain = around(100, "tok/s", factor=1.4, source="test")
    assert now.decode(plain, streams=1).mid == pytest.approx(100 * figure.factor)
    (row,) = [row for row in database.run(audit.recent) if row.action == "calibration.add"]
    assert (row.actor, row.subject) == ("me", found.calibration)


def test_models_that_disagree_leave_forecasts_uncorrected(database, config):
    keep(database, config, [[3.0], [1.02], [0.98], [1.0]])
    (figure,) = database.run(recalibrate, CHIP, config, "me").figures
    assert figure.decision == "none"
    assert figure.factor == 1
    assert figure.after == figure.uncorrected < figure.held_out


def test_what_was_kept_before_stays_where_the_new_one_does_worse(database, config):
    keep(database, config, [[0.5, 0.5], [0.5, 0.5], [0.5]])
    first = database.run(recalibrate, CHIP, config, "me")
    odd = served(database, "odd", layers=40)
    note(database, odd, 5_000_000)  # far beyond any forecast
    second = database.run(recalibrate, CHIP, config, "me")
    assert second.figures[0].decision == "kept"
    assert second.calibration == first.calibration
    assert not second.is_new
    assert database.run(deployments.newest_calibration, CHIP.id).id == first.calibration


def test_with_one_file_nothing_can_be_left_out_and_that_is_said(database, config):
    keep(database, config, [[0.5]])
    (figure,) = database.run(recalibrate, CHIP, config, "me").figures
    assert (figure.left_out, figure.held_out) == ("nothing", None)
    assert 0.5 < figure.factor < 1


def test_formats_of_one_model_are_left_out_one_file_at_a_time(database, config):
    keep(database, config, [[0.5, 0.6, 0.55]])
    (figure,) = database.run(recalibrate, CHIP, config, "me").figures
    assert figure.left_out == "file"
    assert figure.decision == "taken"


ratios = st.lists(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(ratios)
def test_what_holds_never_does_worse_on_what_it_has_not_seen_than_no_correction(
    tmp_path_factory, config, seen
):
    database = open_database("", tmp_path_factory.mktemp("home"))
    keep(database, config, seen)
    (figure,) = database.run(recalibrate, CHIP, config, "me").figures
    judged = figure.held_out if figure.decision == "taken" else figure.after
    if judged is not None:
        assert judged <= figure.uncorrected + 1e-6
    database.close()
