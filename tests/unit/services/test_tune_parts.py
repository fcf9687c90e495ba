"""The parts of a search that need no engine: what is tried, quality by numbers, what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base import places
from haneul.base.config import load
from haneul.base.errors import EngineFailed
from haneul.models.hub import shape
from haneul.services.replica import command
from haneul.services.specs import slots_of, spec_of
from haneul.services.tune import axes, native, quality
from haneul.services.tune.candidate import Lost
from haneul.services.tune.chooser import Choice, Loss, Sample, Trial
from haneul.services.tune.crossing import COUNTS, crossing, next_count
from haneul.services.tune.kept import in_use, rows, setup_for
from haneul.services.tune.load import Load
from haneul.services.tune.processes import Clock, held_bytes, usage
from haneul.services.tune.requantised import requantise
from haneul.services.tune.search import Found
from haneul.services.tune.setup import NATIVE, Setup, paired, read, show, weights_path
from haneul.store import tunings
from haneul.store.database import open_database
from haneul.store.models import ModelRow

SHAPE = (
    '{"architecture":"llama","layers":2,"hidden":64,"heads":4,"kv_heads":4,"key_size":16,'
    '"value_size":16,"feed_forward":128,"vocabulary":300,"context_tokens":2048,"parameters":1000,'
    '"active_parameters":1000,"weight_bytes":1000,"active_bytes":1000,"quantisation":"Q4_1"}'
)


SAMPLE = Sample(single=10.5, long=9, together=20, shared=30, ttft_s=0.1, together_ttft_s=0.2)


@pytest.fixture
def row(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    return ModelRow(
        name="m", digest="d", path=str(path), bytes=4, source="s", shape=SHAPE, pulled_us=1
    )


@pytest.fixture
def config(tmp_path):
    return load({"home": tmp_path / "home"}, {"XDG_CONFIG_HOME": str(tmp_path)}).config


def build(home: Path, chip: str) -> Path:
    folder = native.folder_of(home, chip)
    folder.mkdir(parents=True)
    for name in ("libllama.so", native.DONE_FILE):
        (folder / name).touch()
    return folder


def test_a_setup_is_the_same_text_again_and_reads_well():
    setup = Setup(
        kernel="libllama", threads=2, weights="Q4_0", library=NATIVE, options={"lookup": False}
    )
    assert read(setup.key) == setup
    said = "libllama, native build, 2 threads, requantised to Q4_0, lookup off"
    assert show(setup) == said
    assert show(Setup()) == "auto"
    assert Setup().key == "{}"


def test_a_setup_becomes_a_process_with_its_files(config, row):
    setup = Setup(kernel="libllama", threads=1, weights="Q8_0", library=NATIVE)
    folder = build(config.home, "cpu")
    path = weights_path(config.home, Path(row.path), row.digest, setup)
    path.parent.mkdir(parents=True)
    path.touch()
    spec = spec_of(config, row, setup, chip="cpu")
    assert (spec.kernel, spec.threads, spec.path) == ("libllama", 1, path)
    assert spec.options == {"library": str(folder / "libllama.so")}
    assert spec.setup == "libllama, native build, 1 thread, requantised to Q8_0"


@pytest.mark.parametrize("setup", [Setup(weights="Q8_0"), Setup(kernel="x", library=NATIVE)])
def test_where_the_files_of_a_setup_are_gone_the_default_runs(config, row, setup):
    assert spec_of(config, row, setup, chip="cpu") == spec_of(config, row)
    assert spec_of(config, row).setup == ""


def test_configured_threads_stand_above_chosen_ones(config, row, tmp_path):
    fixed = load({"home": config.home, "threads": 3}, {"XDG_CONFIG_HOME": str(tmp_path)}).config
    assert spec_of(fixed, row, Setup(threads=1)).threads == 3


def test_a_build_that_is_half_done_is_none(config):
    folder = build(config.home, "cpu")
    assert native.native_folder(config.home, "cpu") == folder
    assert native.native_folder(config.home, "another") is None
    (folder / native.DONE_FILE).unlink()
    assert native.native_folder(config.home, "cpu") is None


def test_what_is_built_here_is_tried_and_changes_the_versions(config):
    before = axes.versions(config.home, "cpu")
    assert not any(setup.library for setup in axes.kernels(config.home, "cpu"))
    build(config.home, "cpu")
    assert Setup(kernel="libllama", library=NATIVE) in axes.kernels(config.home, "cpu")
    assert axes.versions(config.home, "cpu") != before


def test_other_formats_are_tried_where_they_may_help_or_are_named():
    def formats(quantisation, *, size=10**8, named=(), full=False):
        return axes.formats(quantisation, size, named=named, is_full=full)

    assert formats("Q4_1") == ["Q4_0"]
    assert formats("Q4_0", full=True) == ["Q8_0"]
    assert formats("Q4_K_M", size=10**9) == []
    assert formats("Q4_K_M", size=10**9, full=True) == ["Q4_0", "Q8_0"]
    assert formats("Q4_1", named=("Q5_0", "Q4_1")) == ["Q5_0"]


def test_fewer_threads_are_tried_and_never_none():
    assert [setup.threads for setup in axes.thread_setups(Setup(), 2, is_full=False)] == [1]
    assert [setup.threads for setup in axes.thread_setups(Setup(), 8, is_full=True)] == [1, 4, 7]
    assert axes.thread_setups(Setup(), 1, is_full=True) == []


def test_the_loss_of_quality_is_the_ratio_of_perplexities_with_its_interval():
    same = [-1.0, -2.0, -3.0] * 20
    assert quality.loss(same, same) == Loss(0.0, 0.0, 0.0, 60)
    worse = quality.loss(same, [value - 0.1 for value in same])
    assert worse.low == pytest.approx(worse.mid) == pytest.approx(0.10517, abs=1e-4)
    unsure = quality.loss(same, [-1.4, -1.8, -3.1] * 20)
    assert unsure.low < unsure.mid < unsure.high
    assert quality.loss(same, same[:40]).tokens == 40
    with pytest.raises(EngineFailed, match="in time"):
        quality.loss(same, same[:8])
    assert quality.agreement(["a", "b", "c", "d"], ["a", "b", "c", "x"]) == 0.75


async def test_weights_that_cannot_be_requantised_are_a_lost_setup(tmp_path):
    source = tmp_path / "garbage.gguf"
    source.write_bytes(b"garbage")
    target = tmp_path / "derived" / "d.Q4_0.gguf"
    with pytest.raises(Lost, match="cannot be requantised to Q4_0"):
        await requantise(source, target, "Q4_0", within_s=30)
    assert list(target.parent.iterdir()) == []


def test_the_work_of_our_own_children_does_not_count_as_others():
    clock = Clock()
    code = "import time\nwhile time.process_time() < 0.6: pass"
    before = usage(os.getpid()).ticks
    subprocess.run([sys.executable, "-c", code], check=True)
    assert usage(os.getpid()).ticks - before >= 40
    assert 0 <= clock.others_share() < 1


def test_a_family_of_processes_is_counted_whole():
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', "
        "'import sys; h = bytearray(range(250)) * 200_000; print(flush=True); sys.stdin.read()'], "
        "stdin=subprocess.PIPE); p.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert usage(process.pid).resident_bytes > 50_000_000
    held = held_bytes(process.pid)
    assert held is not None
    assert 50_000_000 < held < usage(process.pid).resident_bytes, "what they share counts once"
    process.kill()
    process.communicate()
    assert usage(process.pid).resident_bytes == 0


def test_a_search_is_kept_and_its_setup_holds_for_the_same_chip_and_versions(tmp_path, row):
    default = Trial(setup=Setup(), began_us=1, kernel="libllama", samples=(SAMPLE,))
    best = Trial(
        setup=Setup(weights="Q8_0"),
        began_us=2,
        samples=(SAMPLE, SAMPLE),
        memory_bytes=5,
        loss=Loss(-0.001, 0.002, 0.005, 500),
    )
    lost = Trial(setup=Setup(kernel="openvino"), began_us=3, lost="killed by SIGILL")
    choices = {name: Choice(best, 0.2, "because") for name in ("single", "many", "both")}
    found = Found(
        load=Load(),
        default=default,
        trials=(default, best, lost),
        choices=choices,
        many_from=0,
        took_s=1.5,
    )
    kept = rows(found, row, chip="cpu", versions="v1", purpose="many")
    assert (kept.tuning.said, kept.tuning.took_us) == ("because", 1_500_000)
    by_state = [(trial.state, trial.reason, trial.rounds) for trial in kept.trials]
    assert by_state == [
        ("measured", None, 1),
        ("measured", None, 2),
        ("lost", "killed by SIGILL", 0),
    ]
    assert (kept.trials[1].single_milli, kept.trials[1].long_milli) == (10_500, 9_000)
    assert in_use(kept) == {kept.trials[1].id: "in use"}
    assert kept.trials[1].loss_high == 5_000
    database = open_database("", tmp_path)
    database.run(tunings.add, kept.tuning, kept.trials)
    assert database.run(setup_for, "d", "cpu", "v1") == Setup(weights="Q8_0")
    assert database.run(setup_for, "d", "cpu", "v2") is None
    assert database.run(setup_for, "d", "another", "v1") is None
    assert database.run(tunings.trials, kept.tuning.id) == kept.trials
    database.close()


def test_requantised_files_lie_beside_the_models(config):
    assert places.derived(config.home).is_relative_to(places.blobs(config.home))


def test_one_kernel_for_one_stream_and_another_for_several_run_as_a_pair(tmp_path, row):
    default = Trial(setup=Setup(), began_us=1, kernel="libllama", samples=(SAMPLE,))
    other = Trial(setup=Setup(kernel="openvino"), began_us=2, samples=(SAMPLE,))
    choices = {
        "single": Choice(default, 0.0, "kept"),
        "many": Choice(other, 0.9, "better"),
        "both": Choice(default, 0.0, "kept"),
    }
    found = Found(
        load=Load(),
        default=default,
        trials=(default, other),
        choices=choices,
        many_from=5,
        took_s=1.5,
    )
    database = open_database("", tmp_path)
    for at, (purpose, expected) in enumerate(
        {
            "single": Setup(),
            "both": Setup(many=Setup(kernel="openvino"), many_from=5),
        }.items()
    ):
        kept = rows(found, row, chip="cpu", versions="v1", purpose=purpose)
        tuning = msgspec.structs.replace(kept.tuning, created_us=at)
        database.run(tunings.add, tuning, kept.trials)
        assert database.run(setup_for, "d", "cpu", "v1") == expected
    assert kept.tuning.said == "both kernels: auto; for 5 streams or more openvino"
    uses = {trial.setup: in_use(kept).get(trial.id) for trial in kept.trials}
    assert uses == {"{}": "in use", '{"kernel":"openvino"}': "in use from 5 streams on"}
    database.close()


RATES = st.dictionaries(st.sampled_from(COUNTS), st.floats(1, 1000), min_size=len(COUNTS))


@given(alone=RATES, many=RATES)
def test_the_second_kernel_takes_over_where_it_is_quicker_from_there_on(alone, many):
    found = crossing(alone, many, most=8)
    assert found in (*COUNTS, 8)
    assert all(many[count] > alone[count] for count in COUNTS if count >= found)
    below = [count for count in COUNTS if count < found]
    assert not below or many[below[-1]] <= alone[below[-1]]


@given(turn=st.integers(1, 9), most=st.integers(2, 8))
def test_where_the_second_kernel_takes_over_is_found_by_few_measurements(turn, most):
    alone: dict[int, float] = {}
    many: dict[int, float] = {}
    while (count := next_count(alone, many, most=most)) is not None:
        assert count < most
        alone[count], many[count] = 100.0, 101.0 if count >= turn else 99.0
    counts = [count for count in COUNTS if count < most and count >= turn]
    assert crossing(alone, many, most=most) == min([*counts, most])
    assert len(alone) <= 3


def test_two_setups_of_one_kernel_are_no_pair():
    assert paired(Setup(), Setup(kernel="libllama", threads=1)) is None
    assert paired(Setup(kernel="openvino"), Setup(kernel="openvino", weights="Q8_0")) is None
    assert paired(Setup(kernel="llama-server"), Setup(kernel="openvino")) is None


def test_an_engine_of_two_kernels_is_told_of_the_second(config, row):
    setup = Setup(threads=1, many=Setup(kernel="openvino", threads=2))
    spec = spec_of(config, row, setup, chip="cpu")
    told = {"kernel": "openvino", "options": {}, "threads": 2, "file": row.path}
    assert (spec.threads, spec.many) == (1, told)
    assert "--many" in command(spec, "s.sock")
    later = msgspec.structs.replace(setup, many_from=4)
    assert spec_of(config, row, later, chip="cpu").many == told | {"from": 4}
    gone = Setup(many=Setup(kernel="openvino", weights="Q8_0"))
    assert spec_of(config, row, gone, chip="cpu").many is None
    assert show(setup) == "auto, 1 thread; for several streams openvino, 2 threads"
    assert read(setup.key) == setup


def test_answers_at_a_time_are_as_many_as_an_eighth_of_memory_remembers(config, row):
    small = shape(row)  # 2 layers x 4 heads x (16 + 16) x 2 bytes a token, 2,048 tokens
    each = 2 * 4 * 32 * 2 * 2048
    found = [slots_of(config, small, 8 * each * slots) for slots in (64, 16, 15, 3, 1)]
    assert found == [16, 16, 8, 2, 1]
    assert slots_of(config, small, 10) == 1
    assert slots_of(config, small, None) == 4
    asked = msgspec.structs.replace(config, slots=3)
    assert slots_of(asked, small, 10) == 3


def test_what_openvino_loses_by_computing_coarsely_is_not_measured_on_another_kernel():
    assert quality.can_score(Setup(kernel="openvino", weights="Q4_0"))
    assert quality.can_score(Setup(kernel="libllama", options={"cache_type": "q8_0"}))
    assert not quality.can_score(Setup(kernel="openvino", options={"kv_precision": "u8"}))
