"""What is measured of a child is what the definitions say, and nothing where nothing changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.engine.derive import importance
from haneul.engine.derive.measure import _places, _Read, measure, summed
from haneul.engine.derive.quantise import quantise
from haneul.engine.derive.texts import calibration, passages
from haneul.engine.libllama.library import open_library
from haneul.engine.libllama.vocabulary import Vocabulary
from tests import tiny_bert

TESTS = Path(tiny_bert.__file__).parent


def test_model_against_itself_has_lost_nothing(tiny_model: Path):
    loss = measure(tiny_model, tiny_model)
    assert loss.ratio is not None
    assert loss.kl_nats is not None
    assert loss.agreement is not None
    assert (loss.ratio.low, loss.ratio.mid, loss.ratio.high) == (1, 1, 1)
    assert loss.kl_nats.high < 1e-6
    assert loss.agreement.low == 1
    assert loss.languages.keys() == {"English", "Korean", "Chinese", "code"}


def test_fewer_bits_lose_more_and_the_intervals_tell_them_apart(tiny_model: Path, tmp_path: Path):
    apart, agreed = [], []
    for file_type in ("Q8_0", "Q5_0", "Q4_0"):
        copy = tmp_path / f"{file_type}.gguf"
        quantise([tiny_model], copy, file_type)
        loss = measure(tiny_model, copy)
        assert loss.kl_nats is not None
        assert loss.agreement is not None
        assert loss.kl_nats.low <= loss.kl_nats.mid <= loss.kl_nats.high
        apart.append(loss.kl_nats)
        agreed.append(loss.agreement.mid)
    assert apart[0].high < apart[1].low < apart[1].high < apart[2].low
    assert agreed[0] > agreed[1] > agreed[2]


def test_models_of_different_vocabularies_are_not_compared(tiny_model: Path, tmp_path: Path):
    bert = tmp_path / "bert.gguf"
    subprocess.run([sys.executable, TESTS / "tiny_bert.py", bert, "mean"], check=True)
    with pytest.raises(BadRequest, match="the other makes vectors"):
        measure(tiny_model, bert)


def test_vectors_of_a_smaller_encoder_turn_a_little(tmp_path: Path):
    bert, copy = tmp_path / "bert.gguf", tmp_path / "copy.gguf"
    subprocess.run([sys.executable, TESTS / "tiny_bert.py", bert, "mean"], check=True)
    quantise([bert], copy, "Q8_0")
    same, smaller = measure(bert, bert), measure(bert, copy)
    assert same.cosine is not None
    assert same.cosine.low > 1 - 1e-6
    assert smaller.cosine is not None
    assert 0.99 < smaller.cosine.mid < 1 - 1e-7
    assert smaller.ratio is None


@settings(deadline=None)
@given(seed=st.integers(0, 1000), spread=st.floats(0.1, 20), size=st.integers(2, 300))
def test_divergence_and_surprise_are_those_of_the_definition(seed: int, spread: float, size: int):
    random = np.random.default_rng(seed)
    parent = (random.standard_normal((5, size)) * spread).astype(np.float32)
    child = (parent + random.standard_normal((5, size)) * 0.3).astype(np.float32)
    wanted = random.integers(0, size, 5)

    def logs(rows: np.ndarray) -> np.ndarray:
        wide = rows.astype(np.float64)
        return (
            wide
            - wide.max(axis=1, keepdims=True)
            - np.log(np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        )

    p, q = logs(parent), logs(child)
    one, other, kl, same = _places(parent, child, wanted)
    np.testing.assert_allclose(one, -p[range(5), wanted], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other, -q[range(5), wanted], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(kl, (np.exp(p) * (p - q)).sum(axis=1), rtol=1e-3, atol=1e-4)
    assert list(same) == list(p.argmax(axis=1) == q.argmax(axis=1))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_interval_covers_what_windows_vary_around(seed: int):
    random = np.random.default_rng(seed)
    read = []
    for window in range(40):
        kl = random.exponential(0.1, 200)
        surprise = random.normal(600, 20)
        sums = np.array([200, surprise, surprise + random.normal(4, 2), kl.sum(), 190])
        read.append(_Read("English" if window % 2 else "code", sums, kl))
    loss = summed(read, "suite")
    assert loss.ratio is not None
    assert loss.ratio.low < np.exp(4 / 200) * 1.01
    assert loss.ratio.high > np.exp(4 / 200) * 0.99
    assert loss.ratio.high - loss.ratio.low < 0.02


def test_importance_is_the_mean_square_of_what_each_matrix_is_given(
    tiny_model: Path, tmp_path: Path
):
    text = calibration()[0].text[:400]
    sums, counts, tokens = importance.measure(tiny_model, [text])
    file = tmp_path / "matrix.gguf"
    importance.save(file, sums, counts, dataset="a text", chunks=1)
    reader = gguf.GGUFReader(tiny_model)
    tensors = {one.name: one for one in reader.tensors}
    vocabulary = Vocabulary.open(open_library(), tiny_model)
    ids = vocabulary.tokenise(text, with_special=True)
    vocabulary.close()
    assert tokens == len(ids)
    rows = gguf.quants.dequantize(
        tensors["token_embd.weight"].data, tensors["token_embd.weight"].tensor_type
    )[ids]
    epsilon = reader.fields["llama.attention.layer_norm_rms_epsilon"].contents()
    rows = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + epsilon)
    rows = rows * tensors["blk.0.attn_norm.weight"].data
    found = importance.load(file)
    np.testing.assert_allclose(
        found["blk.0.attn_q.weight"], (rows**2).mean(axis=0), rtol=1e-4, atol=1e-6
    )
    read = {one.name: one for one in gguf.GGUFReader(file).tensors}
    assert read["blk.0.attn_q.weight.counts"].data.item() == len(ids)


def test_importance_matrix_of_another_kind_of_file_is_refused(tiny_model: Path):
    with pytest.raises(BadRequest, match="no importance matrix"):
        importance.load(tiny_model)


def test_what_is_measured_on_is_not_what_was_learned_from():
    measured = {line for each in passages()[1] for line in each.text.splitlines() if line.strip()}
    learned = {line for each in calibration() for line in each.text.splitlines() if line.strip()}
    assert not measured & learned
