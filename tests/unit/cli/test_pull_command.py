"""`haneul pull` and `haneul models show`, against fake hubs that run beside the command."""

import asyncio
import json
import threading

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul
from haneul.testing.gguf import TINY, gguf_bytes
from haneul.testing.hub import FakeHub
from haneul.testing.safetensors import safetensors_bytes


@pytest.fixture
def hub(tmp_path):
    """Fake hubs in a thread of their own: a command has its own event loop."""
    folder = tmp_path / "hub"
    repository = folder / "models" / "org" / "repo"
    repository.mkdir(parents=True)
    (repository / "m-Q4_K_M.gguf").write_bytes(
        gguf_bytes({**TINY, "tokenizer.chat_template": "before\n"})
    )
    (repository / "run.py").write_text("raise SystemExit")
    tensors = folder / "models" / "org" / "tensors"
    tensors.mkdir()
    (tensors / "model.safetensors").write_bytes(safetensors_bytes({"w": ("F32", [4])}))
    served, ready, loop = FakeHub(folder), threading.Event(), asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve():
        async with served:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert ready.wait(10)
    yield served
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def run(hub, tmp_path):
    def go(line, *, code=0):
        home = str(tmp_path / "home")
        environ = {"HANEUL_HOME": home, "XDG_CONFIG_HOME": home, "HOME": home, **hub.environ}
        done = CliRunner().invoke(haneul, line.split(), env=environ)
        assert done.exit_code == code, done.output
        return done

    return go


def test_dry_run_tells_everything_and_pulls_nothing(run, hub, tmp_path):
    told = run("pull hf:org/repo --dry-run").stdout
    for label in ("size", "file", "licence", "left out", "weights", "fits", "answers", "price"):
        assert f"  {label} " in told
    assert "m-Q4_K_M.gguf" in told
    assert "run.py: code of a model's repository is never taken" in told
    assert "MIT License (commercial use: yes" in told
    assert not list((tmp_path / "home").glob("models/blobs/*"))
    document = json.loads(run("pull hf:org/repo --dry-run --json").stdout)
    assert document["model"]["licence"]["id"] == "MIT"
    assert document["here"]["fit"]["fits"] is True


def test_pulled_model_is_shown_from_here_without_a_network(run, hub):
    run("pull hf:org/repo")
    asked = len(hub.seen)
    told = run("models show hf:org/repo").stdout
    assert told.startswith("hf:org/repo@")
    assert "huggingface, here" in told
    assert len(hub.seen) == asked


def test_update_shows_what_changes_in_the_template(run, hub):
    run("pull hf:org/repo")
    path = hub.folder / "models" / "org" / "repo" / "m-Q4_K_M.gguf"
    path.write_bytes(gguf_bytes({**TINY, "tokenizer.chat_template": "after\n"}))
    told = run("pull hf:org/repo --dry-run").stdout
    assert "template   -before" in told
    assert "template   +after" in told
    assert "+after" in run("pull hf:org/repo --update").stderr
    assert "template " not in run("pull hf:org/repo --dry-run").stdout


def test_what_does_not_fit_is_refused_with_what_does_and_pulled_anyway(run, hub):
    path = hub.folder / "models" / "org" / "repo" / "m-Q8_0.gguf"
    sizes = {"attention.key_length": 1 << 16, "attention.value_length": 1 << 16}
    sizes |= {"context_length": 1 << 20, "attention.head_count_kv": 4, "block_count": 512}
    big = {**TINY, **{f"llama.{name}": value for name, value in sizes.items()}}
    path.write_bytes(gguf_bytes(big))  # a context of 2 TB
    refused = run("pull hf:org/repo:Q8_0", code=1).stderr
    assert "was not pulled. Does not fit: needs" in refused
    assert refused.count("GB)") + refused.count("MB)") >= 3
    assert "--anyway" in refused
    said = json.loads(run("pull hf:org/repo:Q8_0 --json", code=1).stderr.splitlines()[-1])
    assert len(said["error"]["alternatives"]) == 3
    assert "  instead " in run("pull hf:org/repo:Q8_0 --dry-run").stdout
    assert "hf:org/repo:Q8_0" in run("pull hf:org/repo:Q8_0 --anyway").stdout


def test_safetensors_are_pulled_and_the_way_on_is_named(run):
    told = run("pull hf:org/tensors").stdout
    assert "haneul models convert hf:org/tensors" in told
    assert "safetensors" in run("models show hf:org/tensors").stdout
    assert "hf:org/tensors" in run("ls").stdout
    assert "Removed hf:org/tensors" in run("rm hf:org/tensors").stdout
    assert "hf:org/tensors" not in run("ls").stdout
    assert "there is no model" in run("rm hf:org/tensors", code=1).stderr


def test_nonsense_and_nobody_are_said_in_one_line(run):
    assert "is not a GGUF file" in run("pull ./x.bin --dry-run", code=1).stderr
    assert "has no model org/none" in run("models show hf:org/none", code=1).stderr


def test_a_cloud_is_not_started_for_what_does_not_fit(run):
    refused = run("up --model deepseek-v3:671b --no-input --port 0", code=1)
    assert "was not pulled. Does not fit" in refused.stderr
    assert "What fits instead" in refused.stderr


def test_a_plan_of_a_hubs_model_reads_its_header_and_pulls_nothing(run, hub, tmp_path):
    words = "--isl 100 --osl 20 --chips L4 --json"
    plan = json.loads(run(f"plan serve hf:org/repo {words}").stdout)
    said = plan["assumptions"][0]
    assert said.startswith("org/repo: ")
    assert "its header at huggingface" in said
    assert not list((tmp_path / "home").rglob("*.gguf"))
    refused = run(f"plan serve hf:org/nothing {words}", code=1)
    assert "org/nothing" in refused.stderr
    assert "Traceback" not in refused.output
