"""A search with real engines, what becomes of setups that die, and going over to a new setup."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from haneul.base import http, places
from haneul.base.config import load
from haneul.base.ids import new_id
from haneul.chips.detect import detect
from haneul.models import hub
from haneul.services.specs import spec_of
from haneul.services.tune import axes
from haneul.services.tune.axes import Scope
from haneul.services.tune.background import Background
from haneul.services.tune.candidate import Candidate, Lost
from haneul.services.tune.setup import Setup, read, weights_path
from haneul.services.tune.tuner import Order, Tuner
from haneul.store import tunings
from haneul.store.database import open_database
from haneul.store.tunings import TrialRow, TuningRow

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER = Setup(kernel="llama-server")
ANYWAY = Order(is_quiet_needed=False)  # tests run beside each other
MESSAGES = [{"role": "user", "content": "Count to a hundred."}]


class Place:
    """A home with the tiny model, and what a search needs."""

    def __init__(self, home: Path) -> None:
        environ = {"XDG_CONFIG_HOME": str(home)}
        self.config = load({"home": home / "home", "slots": 2}, environ).config
        self.database = open_database("", self.config.home)
        self.client = http.Client()
        self.chip = detect(measure=False)[0]
        self.news: list[str] = []

    async def pull(self, model: Path) -> None:
        self.row = await hub.ensure(
            str(model), database=self.database, folder=places.blobs(self.config.home)
        )

    def tuner(self, *kernels: Setup, order: Order = ANYWAY) -> Tuner:
        return Tuner(
            self.config,
            self.row,
            self.chip,
            database=self.database,
            client=self.client,
            order=order,
            scope=Scope(kernels=kernels, cores=1, formats=()),
            on_news=self.news.append,
        )

    def engines(self) -> list[str]:
        """The engine processes on this home."""
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        return [line for line in shown.stdout.splitlines() if str(self.config.home) in line]


@pytest_asyncio.fixture(loop_scope="module")
async def place(short_folder: Path, tiny_model: Path) -> AsyncIterator[Place]:
    made = Place(short_folder)
    await made.pull(tiny_model)
    yield made
    await made.client.aclose()
    made.database.close()


@pytest.mark.slow
async def test_two_setups_are_measured_and_one_that_dies_is_lost_not_fatal(place):
    broken = Setup(kernel="llama-server", weights="Q8_0")
    path = weights_path(place.config.home, Path(place.row.path), place.row.digest, broken)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage")
    kept = await place.tuner(SERVER, replace(SERVER, threads=1), broken).run()
    by_setup = {read(trial.setup).key: trial for trial in kept.trials}
    default, one = by_setup[Setup().key], by_setup[replace(SERVER, threads=1).key]
    for trial in (default, one):
        assert trial.state == "measured", trial.reason
        rates = (trial.single_milli, trial.long_milli, trial.together_milli, trial.shared_milli)
        assert min(rates) > 0
        assert trial.ttft_us > 0
        assert trial.memory_bytes > 10_000_000
    assert by_setup[broken.key].state == "lost"
    assert "GGUF" in by_setup[broken.key].reason
    assert kept.tuning.default_trial == default.id
    used = next(trial for trial in kept.trials if trial.id == kept.tuning.used_trial)
    assert used.single_milli >= default.single_milli
    assert place.engines() == []
    assert place.database.run(tunings.every) == [], "measured beside other work: not kept"


@pytest.mark.slow
async def test_the_default_under_its_own_name_is_not_measured_twice(place):
    kept = await place.tuner(Setup(kernel="libllama"), SERVER).run()
    tried = [read(trial.setup) for trial in kept.trials]
    assert tried[0] == Setup()
    assert SERVER in tried
    assert Setup(kernel="libllama") not in tried


async def test_a_search_that_is_called_off_ends_its_engines_and_goes_on_later(place):
    searching = place.tuner(replace(SERVER, threads=1))
    running = asyncio.create_task(searching.run())
    while not place.news:
        await asyncio.sleep(0.05)
        assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert place.engines() == []
    before = len(place.news)
    kept = await searching.run()
    assert kept.tuning.model == place.row.name
    assert place.news[0] not in place.news[before:], "a round was measured again"


async def test_an_engine_that_is_killed_is_lost_with_the_signals_name(place, short_folder):
    spec = spec_of(place.config, place.row, SERVER)
    candidate = Candidate(spec, short_folder / "c.sock", place.client)
    await candidate.start()
    assert candidate.kernel == "llama-server"
    asking = asyncio.create_task(candidate.guarded(candidate.client.ask("a", 1500)))
    await asyncio.sleep(0.1)
    (engine,) = [
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and b"--uds\0" + str(short_folder / "c.sock").encode() in command_of(pid)
    ]
    os.kill(engine, signal.SIGKILL)
    with pytest.raises(Lost, match="killed by SIGKILL"):
        await asking
    await candidate.close()


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def choose(database, home, target, setup):
    """Keeps a search that chose this setup, as `haneul tune` does."""
    trial = TrialRow(
        id=new_id("try"),
        tuning_id=new_id("tun"),
        model=target.model,
        digest=target.digest,
        chip=target.chip,
        setup=setup.key,
        state="measured",
        created_us=1,
    )
    database.run(
        tunings.add,
        TuningRow(
            id=trial.tuning_id,
            model=target.model,
            digest=target.digest,
            chip=target.chip,
            versions=axes.versions(home, target.chip),
            purpose="both",
            default_trial=trial.id,
            single_trial=trial.id,
            many_trial=trial.id,
            used_trial=trial.id,
            said="because",
            load="{}",
            took_us=1,
            created_us=1,
        ),
        [trial],
    )


async def test_a_running_cloud_goes_over_to_a_new_setup_without_losing_a_request(
    start_cloud, tiny_model
):
    cloud = await start_cloud()
    key = await cloud.make_key()
    old = await cloud.cloud.serve(str(tiny_model))
    client = cloud.client(key.secret)
    answers: list[str] = []
    is_over = asyncio.Event()

    async def ask_again_and_again() -> None:
        while not is_over.is_set():
            answer = await client.chat.completions.create(
                model=old.model, messages=MESSAGES, max_tokens=40, extra_body={"ignore_eos": True}
            )
            assert answer.usage is not None
            assert answer.usage.completion_tokens == 40
            answers.append(answer.id)

    asking = [asyncio.create_task(ask_again_and_again()) for _ in range(3)]
    slower = Setup(kernel="llama-server", threads=1)
    choose(cloud.cloud.database, cloud.cloud.config.home, old, slower)
    await cloud.cloud.roster.refresh()
    await cloud.until(lambda: cloud.cloud.targets.find(old.model)[0] is not old, 20)
    count = len(answers)
    await cloud.until(lambda: len(answers) >= count + 6, 20)
    is_over.set()
    await asyncio.gather(*asking)
    new = cloud.cloud.targets.find(old.model)[0]
    assert new.replica.spec.threads == 1
    assert "llama-server, 1 thread" in new.engine_version
    await cloud.until(lambda: old.replica.state == "stopped", 15, "the old engine has ended")
    assert {row.state for row in await cloud.rows(key.key.id)} == {"done"}


async def test_a_search_in_the_background_makes_way_for_a_request(start_cloud, tiny_model):
    cloud = await start_cloud()
    key = await cloud.make_key()
    target = await cloud.cloud.serve(str(tiny_model))
    running = cloud.cloud
    background = Background(
        replace(running.config, tune=True),
        database=running.database,
        client=running.client,
        targets=running.targets,
        chip=running.chip,
        idle_s=0.2,
        order=ANYWAY,
    )
    background.open()
    sockets = places.socket_folder(running.config.home)

    def is_searching() -> bool:
        return any(sockets.glob("tune-*.sock"))

    await cloud.until(is_searching, 10, "a search has begun")
    asking = asyncio.create_task(
        cloud.chat(key.secret, target.model, max_tokens=1500, ignore_eos=True)
    )
    await cloud.until(lambda: not is_searching(), 5, "the search has made way")
    assert (await asking).status == 200
    await cloud.until(is_searching, 10, "the search goes on")
    await background.aclose()
    assert not is_searching()
