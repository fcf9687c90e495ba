"""The model-chip matrix: it fills itself, travels signed, and never mixes whose rows are whose."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nacl.signing import SigningKey

from haneul.base import places
from haneul.base.errors import BadRequest, BrokenFile
from haneul.base.visible import visible
from haneul.chips.fleet import Machine, NotNegative
from haneul.chips.fleet import load as load_fleet
from haneul.cli.main import haneul
from haneul.models.bundle import keys
from haneul.models.bundle.keys import Trusted
from haneul.services.matrix import sheet
from haneul.services.matrix.own import rows_here
from haneul.services.matrix.row import MatrixRow, named
from haneul.services.matrix.taken import entries, take
from haneul.services.tune.setup import Setup
from haneul.store import audit, forecasts, prices, tunings
from haneul.store import matrix as queries
from haneul.store.database import Database, open_database
from haneul.store.forecasts import MeasurementRow
from haneul.store.prices import PriceRow
from haneul.store.tunings import TrialRow, TuningRow

FLEET = load_fleet()
DIGEST = "ab" * 32
ROW = MatrixRow(
    model="tiny",
    digest=DIGEST,
    chip="cpu-x-2c",
    engine="embedded",
    engine_version="xllamacpp 1",
    quantisation="Q4_0",
    decode=91.3,
    source="probe",
    count=3,
    first_us=1,
    last_us=2,
)
KEY, OTHER = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
OWN = keys.public(SigningKey(b"\3" * 32))
ADA = Trusted(keys.public(KEY), "ada")
text = st.text(max_size=20).filter(lambda said: visible(said) == said)
speed = st.none() | st.floats(0.001, 1e9)
rows = st.builds(
    MatrixRow,
    model=text,
    digest=st.sampled_from(["", DIGEST]),
    parameters=st.none() | st.integers(1, 2**62),
    memory_bytes=st.none() | st.integers(1, 2**62),
    chip=text,
    chips=st.integers(1, 10**6),
    engine=text,
    engine_version=text,
    quantisation=text,
    setup=text,
    fits=st.booleans(),
    decode=speed,
    capacity=speed,
    prefill=speed,
    ttft_s=speed,
    watts=speed,
    source=st.sampled_from(["probe", "tuning", "requests"]),
    count=st.integers(1, 10**9),
    first_us=st.integers(0, 2**60),
    last_us=st.integers(0, 2**60),
)


def written(*some: MatrixRow, key: SigningKey = KEY) -> bytes:
    out = io.BytesIO()
    sheet.write(some, key, out)
    return out.getvalue()


def read(data: bytes) -> list[sheet.Signed]:
    return list(sheet.read(io.BytesIO(data)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def bring(store: Database, data: bytes, *trusted: Trusted):
    return store.run(
        lambda connection: take(
            connection, read(data), own=OWN, trusted=trusted, actor="me", source="x.matrix"
        )
    )


def a_measurement(kind: str, value: float, at_us: int, **more: str) -> MeasurementRow:
    told = {"digest": DIGEST, "chip": "cpu-x-2c", "engine_version": "xllamacpp 1", **more}
    unit = "B" if kind == "memory" else "tok/s"
    return MeasurementRow(
        id=f"{kind}{at_us}{more}",
        model="tiny",
        kind=kind,
        value=round(value * 1000),
        unit=unit,
        created_us=at_us,
        **told,
    )


@given(st.lists(rows, max_size=4))
def test_rows_come_back_as_they_were_signed(some):
    found = read(written(*some))
    assert [each.row for each in found] == some
    assert {each.signer for each in found} <= {ADA.key}


@given(st.data())
def test_one_changed_byte_of_a_row_refuses_the_file(data):
    whole = written(ROW, ROW)
    start = whole.index(b"\n") + 1
    at = data.draw(st.integers(start, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    changed = whole[:at] + bytes([other]) + whole[at + 1 :]
    try:
        found = read(changed)
    except BrokenFile:
        return
    # A blank at a line's end says the same; nothing that a row says may differ.
    assert [each.row for each in found] == [ROW, ROW]
    assert {each.signer for each in found} == {ADA.key}


def of_others(store: Database) -> list[MatrixRow]:
    found = store.run(lambda connection: entries(connection, FLEET, own=OWN, trusted=[ADA]))
    return [each.row for each in found]


def signed_anyhow(row: MatrixRow) -> bytes:
    """As a hand that does not look at what it signs would write it."""
    raw = msgspec.json.encode(row)
    line = sheet.Line(msgspec.Raw(raw), keys.public(KEY), keys.sign(KEY, sheet.SIGNED + raw).hex())
    return sheet.FIRST + b"\n" + msgspec.json.encode(line) + b"\n"


def test_a_model_of_eight_billion_parameters_travels(store):
    row = replace(ROW, parameters=8_030_261_248, memory_bytes=9 << 30)
    assert bring(store, written(row), ADA).added == 1
    found = of_others(store)
    assert found == [row]


@pytest.mark.parametrize(
    "changed", [{"count": 0}, {"model": "a" * 201}, {"decode": 0.0}, {"chip": "\x1b[31m"}]
)
def test_what_nobody_would_take_is_not_written(changed):
    with pytest.raises(BrokenFile, match=r"Row 2, .* cannot be written") as refused:
        written(ROW, replace(ROW, **changed))
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\n", "\x7f", "\x9b", "\u202e"])
@pytest.mark.parametrize(
    "field", ["model", "chip", "engine", "engine_version", "quantisation", "setup"]
)
def test_a_character_that_commands_a_terminal_is_refused_and_not_in_the_message(field, character):
    for said in (f"tiny{character}", f"{character}tiny"):
        with pytest.raises(BrokenFile) as refused:
            read(signed_anyhow(replace(ROW, **{field: said})))
        assert character not in str(refused.value)


def test_a_row_of_an_earlier_release_that_took_more_is_left_out_not_fatal(store):
    bring(store, written(ROW), ADA)
    worse = msgspec.json.encode(replace(ROW, model="\x1b[2J")).decode()
    (kept,) = store.run(queries.of, [ADA.key])
    store.run(queries.add, [replace(kept, id="other", written=worse)])
    found = of_others(store)
    assert found == [ROW]


def test_a_changed_row_is_refused_by_its_place_and_name():
    changed = written(ROW, ROW).replace(b'"decode":91.3', b'"decode":99.3', 1)
    with pytest.raises(BrokenFile, match=r"Row 1, tiny \(Q4_0\) on cpu-x-2c, was changed"):
        read(changed)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no file of matrix rows"),
        (b'{"format":"haneul matrix 2"}\n', "no file of matrix rows"),
        (sheet.FIRST + b"\n[]\n", "Row 1 is no row"),
        (sheet.FIRST + b"\n" + b"x" * 9000 + b"\n", "longer than 8,192 bytes"),
        (sheet.FIRST + b"\n{}\n", "Row 1 is no row"),
        (sheet.FIRST + b"\n" + b"[" * 70 + b"\n", "more than 64 values"),
    ],
)
def test_what_is_no_matrix_is_refused_with_the_reason(data, said):
    with pytest.raises(BrokenFile, match=said):
        read(data)


def test_more_rows_than_are_taken_are_refused():
    assert len(list(sheet.read(io.BytesIO(written(ROW, ROW)), rows_most=2))) == 2
    with pytest.raises(BrokenFile, match="more than 2 rows"):
        list(sheet.read(io.BytesIO(written(ROW, ROW, ROW)), rows_most=2))


def test_a_signature_of_a_row_is_none_of_a_bundle():
    raw = msgspec.json.encode(ROW)
    (signed,) = read(written(ROW))
    with pytest.raises(BrokenFile):
        keys.check(signed.signer, raw, bytes.fromhex(signed.signature))


def test_rows_of_a_trusted_signer_are_kept_once_with_whose_they_are(store):
    taken = bring(store, written(ROW), ADA)
    assert (taken.added, taken.known, taken.own) == (1, 0, 0)
    again = bring(store, written(ROW), ADA)
    assert (again.added, again.known) == (0, 1)
    (entry,) = store.run(lambda c: entries(c, FLEET, own=OWN, trusted=[ADA]))
    assert (entry.row, entry.signer, entry.signer_name) == (ROW, ADA.key, "ada")
    noted = [each for each in store.run(audit.recent) if each.action == "matrix.import"]
    assert [each.subject for each in noted] == ["x.matrix"]


def test_rows_of_others_are_never_among_those_measured_here(store):
    bring(store, written(ROW), ADA)
    assert store.run(rows_here, FLEET) == []


def test_one_row_of_somebody_nobody_trusts_keeps_the_whole_file_out(store):
    data = written(ROW) + written(ROW, key=OTHER).split(b"\n", 1)[1]
    with pytest.raises(BadRequest, match="haneul bundle trust"):
        bring(store, data, ADA)
    assert store.run(queries.count) == 0


def test_who_is_trusted_no_more_is_shown_no_more_and_again_when_trusted_again(store):
    bring(store, written(ROW), ADA)
    assert store.run(lambda c: entries(c, FLEET, own=OWN, trusted=[])) == []
    assert len(store.run(lambda c: entries(c, FLEET, own=OWN, trusted=[ADA]))) == 1


def test_this_homes_own_rows_come_back_as_nothing_new(store):
    taken = bring(store, written(ROW, key=SigningKey(b"\3" * 32)), ADA)
    assert (taken.added, taken.own) == (0, 1)


def test_probes_fill_a_row_for_each_file_chip_and_engine_with_medians(store):
    measured = [
        *(a_measurement("decode", value, at) for at, value in ((1, 90.0), (2, 94.0), (3, 10.0))),
        a_measurement("capacity", 140.0, 4),
        a_measurement("prefill", 210.0, 5),
        a_measurement("memory", 5e8, 6),
        a_measurement("memory", 6e8, 7),
        a_measurement("decode", 50.0, 8, engine_version="xllamacpp 2"),
        a_measurement("memory", 1e8, 9, chip="cpu-y-4c"),  # of a start that was never probed
    ]
    price = PriceRow(
        id="p",
        model="tiny",
        engine="embedded",
        currency="USD",
        input_nano=4,
        cached_nano=1,
        output_nano=6,
        created_us=1,
    )

    def keep(connection):
        forecasts.add_measurements(connection, measured)
        prices.add(connection, price)

    store.run(keep)
    watts = Machine(power_w=NotNegative(40.0, "a meter"))
    fleet = msgspec.structs.replace(FLEET, chips={"cpu-x-2c": watts})
    first, second = store.run(rows_here, fleet)
    assert (first.decode, first.capacity, first.prefill) == (90.0, 140.0, 210.0)
    assert first.memory_bytes == 6 * 10**8
    assert (first.count, first.first_us, first.last_us) == (3, 1, 7)
    assert (first.currency, first.input_nano, first.output_nano) == ("USD", 4, 6)
    assert (first.watts, first.source, first.quantisation) == (40.0, "probe", "unknown")
    assert (second.engine_version, second.decode, second.prefill) == ("xllamacpp 2", 50.0, None)


def test_each_setup_that_a_search_measured_is_a_row_and_a_lost_one_is_none(store):
    used = TrialRow(
        id="a",
        tuning_id="t",
        model="tiny",
        digest=DIGEST,
        chip="cpu-x-2c",
        setup=Setup(kernel="libllama", weights="Q8_0", threads=2).key,
        kernel="libllama b1",
        state="measured",
        rounds=5,
        single_milli=80_000,
        together_milli=120_500,
        ttft_us=40_000,
        memory_bytes=3,
        created_us=7,
    )
    lost = msgspec.structs.replace(used, id="b", state="lost", rounds=0)
    found = TuningRow(
        id="t",
        model="tiny",
        digest=DIGEST,
        chip="cpu-x-2c",
        versions="v",
        purpose="both",
        default_trial="a",
        single_trial="a",
        many_trial="a",
        used_trial="a",
        said="",
        load='{"streams": 8}',
        took_us=1,
        created_us=8,
    )
    store.run(lambda connection: tunings.add(connection, found, [used, lost]))
    (row,) = store.run(rows_here, FLEET)
    assert (row.decode, row.capacity, row.streams, row.ttft_s) == (80.0, 120.5, 8, 0.04)
    assert (row.quantisation, row.engine_version, row.source) == ("Q8_0", "libllama b1", "tuning")
    assert "requantised to Q8_0" in row.setup
    assert row.currency is None
    assert named(row) == "tiny (Q8_0) on cpu-x-2c"


def test_rows_go_from_one_home_to_another_through_the_commands(tmp_path):
    def run(home: str, *words: str, code: int = 0) -> str:
        environ = {"HANEUL_HOME": str(tmp_path / home), "XDG_CONFIG_HOME": str(tmp_path)}
        done = CliRunner().invoke(haneul, list(words), env=environ)
        assert done.exit_code == code, done.output
        return done.output

    file = str(tmp_path / "a.matrix")
    opened = open_database("", tmp_path / "a")
    opened.run(lambda c: forecasts.add_measurements(c, [a_measurement("decode", 9.0, 1)]))
    opened.close()
    assert "1 rows" in run("a", "chips", "matrix", "export", file, "--no-prices")
    assert "is there already" in run("a", "chips", "matrix", "export", file, code=1)
    key = json.loads(run("a", "bundle", "key", "--json"))["key"]
    assert "does not trust" in run("b", "chips", "matrix", "import", file, code=1)
    run("b", "bundle", "trust", key, "--name", "ada")
    assert "1 rows of ada were added" in run("b", "chips", "matrix", "import", file)
    (found,) = json.loads(run("b", "chips", "matrix", "--json"))
    assert (found["row"]["decode"], found["signer_name"]) == (9.0, "ada")
    assert "probe, ada" in run("b", "chips", "matrix")
    assert json.loads(run("b", "chips", "matrix", "--model", "other", "--json")) == []
    assert "Nothing was measured here" in run("b", "chips", "matrix", "export", file, code=1)
    assert (places.keys(tmp_path / "b") / "trusted").exists()
