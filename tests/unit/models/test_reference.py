"""What people type names one model, and nonsense is refused with a hint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.models.hub import bring
from haneul.models.reference import Reference, is_remote, parse, show
from haneul.store import engines
from haneul.store.database import open_database


def hub(kind, name, **fields):
    return Reference(kind=kind, name=name, **fields)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("smollm2:135m", hub("catalogue", "smollm2:135m")),
        ("  SmolLM2 ", hub("catalogue", "smollm2")),
        ("./file.gguf", hub("file", "./file.gguf")),
        ("../up/file.GGUF", hub("file", "../up/file.GGUF")),
        ("/models/my file.gguf", hub("file", "/models/my file.gguf")),
        ("file.gguf", hub("file", "file.gguf")),
        ("hf:org/repo", hub("huggingface", "org/repo")),
        ("HF:Org/Repo:q4_k_m", hub("huggingface", "Org/Repo", quant="Q4_K_M")),
        ("hf.co/org/repo:Q4_K_M", hub("huggingface", "org/repo", quant="Q4_K_M")),
        ("org/repo:Q8_0", hub("huggingface", "org/repo", quant="Q8_0")),
        ("hf:o/r@v1.0:a/B.gguf", hub("huggingface", "o/r", revision="v1.0", file="a/B.gguf")),
        ("hf:o/r@refs/pr/3", hub("huggingface", "o/r", revision="refs/pr/3")),
        ("modelscope:o/r:Q4_0", hub("modelscope", "o/r", quant="Q4_0")),
        ("modelscope.cn/o/r:Q4_0", hub("modelscope", "o/r", quant="Q4_0")),
        ("www.modelscope.cn/models/o/r", hub("modelscope", "o/r")),
        ("modelscope/o/r", hub("modelscope", "o/r")),
        ("modelscope/repo", hub("huggingface", "modelscope/repo")),
        ("https://h.example/a/b.gguf?x=1", hub("url", "https://h.example/a/b.gguf?x=1")),
        (
            "https://huggingface.co/o/r/resolve/main/d/f%2B1.gguf?download=true",
            hub("huggingface", "o/r", file="d/f+1.gguf"),
        ),
        ("https://huggingface.co/o/r/tree/v2", hub("huggingface", "o/r", revision="v2")),
        ("https://www.modelscope.cn/models/o/r", hub("modelscope", "o/r")),
        ("wheel:a-b==1.0+c:a/m.gguf", hub("wheel", "a-b", revision="1.0+c", file="a/m.gguf")),
    ],
)
def test_text_means_what_people_mean_by_it_elsewhere(text, meaning):
    assert parse(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a" * 2000,
        "a\0b",
        "a\nb",
        "two words",
        "../../etc/passwd",
        "/etc/passwd",
        "a..b:c",
        "hf:",
        "hf:org",
        "hf:org/repo/extra",
        "hf:../..",
        "hf:o/..",
        "hf:o/r@../x",
        "hf:o/r:../x.gguf",
        "hf:o/r:/abs.gguf",
        "hf:o/r:a//b.gguf",
        "hf:o/r:not a quant",
        "https://h.example/model.bin",
        "https://user:secret@h.example/a.gguf",
        "https:///a.gguf",
        "https://[::1/a.gguf",
        "https://h.example:99999/a.gguf",
        "https://huggingface.co/o/r/resolve/main/../../../x.gguf",
        "ftp://h.example/a.gguf",
        "file:///a.gguf",
        "wheel:a:b.gguf",
        "wheel:a==1:../b.gguf",
        "C:\\models\\a.gguf",
    ],
)
def test_nonsense_and_ways_out_of_the_repository_are_refused(text):
    with pytest.raises(BadRequest):
        parse(text)


def test_a_model_of_a_remote_engine_is_told_from_a_repository_by_the_engines_there_are():
    assert is_remote("openrouter/qwen3-max", {"openrouter"})
    assert is_remote("openrouter/qwen/qwen3-max:free", {"openrouter"})
    assert not is_remote("openrouter/qwen3-max", {"other"})
    assert not is_remote("hf:openrouter/repo", {"openrouter"})
    assert not is_remote("openrouter", {"openrouter"})


word = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,12}", fullmatch=True)
path = st.lists(word, min_size=1, max_size=3).map(lambda steps: "/".join(steps) + ".gguf")
quant = st.from_regex(r"[A-Z0-9][A-Z0-9_]{0,8}", fullmatch=True)
repository = st.tuples(word, word).map("/".join)
references = st.one_of(
    st.builds(
        Reference,
        kind=st.just("catalogue"),
        name=st.from_regex(r"[a-z0-9]{1,9}(:[a-z0-9]{1,5})?", fullmatch=True),
    ),
    st.builds(Reference, kind=st.just("file"), name=path.map("./{}".format)),
    st.builds(Reference, kind=st.just("url"), name=path.map("https://h.example/{}".format)),
    st.builds(Reference, kind=st.just("wheel"), name=word, revision=word, file=path),
    st.builds(
        Reference,
        kind=st.sampled_from(["huggingface", "modelscope"]),
        name=repository,
        revision=st.one_of(st.just(""), word),
        file=path,
    ),
    st.builds(
        Reference,
        kind=st.sampled_from(["huggingface", "modelscope"]),
        name=repository,
        revision=st.one_of(st.just(""), word),
        quant=st.one_of(st.just(""), quant),
    ),
)


@given(references)
def test_reading_what_was_shown_gives_the_same_reference(reference):
    assert parse(show(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_a_reference_that_reads_back_or_a_bad_request(text):
    try:
        reference = parse(text)
    except BadRequest:
        return
    assert parse(show(reference)) == reference
    assert ".." not in reference.file.split("/")


async def test_a_model_of_a_remote_engine_is_refused_before_any_hub_is_asked(tmp_path):
    opened = open_database("", tmp_path)
    try:
        row = engines.EngineRow(
            name="openrouter", url="https://h.example/v1", models="[]", created_us=1
        )
        opened.run(engines.put, row)
        with pytest.raises(BadRequest, match="hf:openrouter/qwen3-max"):
            await bring("openrouter/qwen3-max", database=opened, folder=tmp_path / "models")
    finally:
        opened.close()
