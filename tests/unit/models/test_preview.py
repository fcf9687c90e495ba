"""What is told of a model before a byte of its weights: files, header, template, other choices."""

import json
from itertools import pairwise

import pytest

from haneul.base.errors import BadRequest, BrokenFile, FetchFailed
from haneul.models import templates
from haneul.models.preview import preview
from haneul.models.reference import parse
from haneul.testing.gguf import TINY, TINY_WEIGHTS, Weights, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

TEMPLATE = "{% for message in messages %}\n{{ message.content }}\n{% endfor %}"
LONG = [f"token {number}" for number in range(120_000)]  # a header of more than 2 MB
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}


@pytest.fixture
def repository(hub):
    """Writes files into org/shown."""
    folder = hub.folder / "models" / "org" / "shown"

    def write(**files):
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        return folder

    return write


@pytest.fixture
def looking(hub, fetcher):
    async def go(target):
        target = parse(target) if isinstance(target, str) else target
        return await preview(target, fetcher=fetcher, environ=hub.environ)

    return go


def large(**metadata):
    """A file of 20 MB whose header is a tenth of it."""
    weights = [*TINY_WEIGHTS, Weights("blk.0.ffn_down.weight", (1024, 4500))]
    return gguf_bytes({**TINY, "tokenizer.ggml.tokens": LONG, **metadata}, weights)


@pytest.mark.parametrize("text", ["hf:org/shown", "modelscope:org/shown"])
async def test_header_is_read_by_ranges_and_the_weights_are_not(looking, hub, repository, text):
    data = large(**{"tokenizer.chat_template": TEMPLATE})
    repository(**{"m-Q4_K_M.gguf": data})
    seen = await looking(text)
    assert seen.shape.vocabulary == 4
    assert seen.shape.layers == 1
    assert seen.template == TEMPLATE
    assert seen.size.mid == len(data)
    assert 2_000_000 < seen.read_bytes < len(data) / 3
    asked = [one.headers["Range"] for one in hub.downloads()]
    ends = [tuple(map(int, text.removeprefix("bytes=").split("-"))) for text in asked]
    assert all(start == before[1] + 1 for before, (start, _) in pairwise(ends))
    assert sum(last - first + 1 for first, last in ends) == seen.read_bytes


async def test_server_that_ignores_ranges_is_read_no_further_than_the_header(
    looking, hub, repository
):
    repository(**{"m-Q4_K_M.gguf": large()})
    hub.faults["huggingface"].ignores_range = True
    assert (await looking("hf:org/shown")).shape.layers == 1


async def test_size_that_nobody_lists_is_the_headers(looking, hub, model):
    seen = await looking(f"{hub.url}/files/tiny.gguf")
    assert seen.size.mid == model.size
    assert seen.size.source == "the file's header"


async def test_every_part_of_a_split_file_counts(looking, repository):
    parts = halves()
    names = [f"m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    repository(**dict(zip(names, parts, strict=True)))
    seen = await looking("hf:org/shown:Q8_0")
    assert [file.path for file in seen.files] == names
    assert seen.size.mid == sum(map(len, parts))
    assert seen.shape.parameters == 2 * 32 * 32


def halves():
    """A model in two files, a tensor in each."""
    told = {"split.count": 2, "split.tensors.count": 2}
    return [
        gguf_bytes(
            {**({} if number else TINY), "split.no": number, **told},
            [Weights(f"blk.0.part{number}.weight", (32, 32))],
        )
        for number in range(2)
    ]


async def test_safetensors_are_described_by_their_configuration(looking, repository):
    weights = safetensors_bytes({"w": ("F32", [4, 4])})
    tokenizer = {"chat_template": [{"name": "default", "template": TEMPLATE}]}
    repository(
        **{
            "model.safetensors": weights,
            "config.json": json.dumps({**LLAMA, "auto_map": {"A": "b.C"}}),
            "tokenizer_config.json": json.dumps(tokenizer),
            "modeling.py": "raise SystemExit",
        }
    )
    seen = await looking("hf:org/shown")
    assert (seen.format, seen.shape.layers, seen.template) == ("safetensors", 2, TEMPLATE)
    assert seen.read_bytes == 0
    assert {entry.path for entry in seen.left_out} == {"modeling.py", "config.json: auto_map"}


async def test_other_quantisations_are_told_whole_with_what_to_type(looking, repository):
    tiny, (first, second) = gguf_bytes(), halves()
    part = "q8/m-Q8_0-0000{}-of-00002.gguf"
    others = {part.format(1): first, part.format(2): second, "m-Q2_K.gguf": tiny}
    broken = {"m-F16-00001-of-00003.gguf": tiny, "mmproj-F16.gguf": tiny}
    repository(**{"m-Q4_K_M.gguf": tiny, **others, **broken})
    seen = await looking("hf:org/shown")
    told = {(variant.quantisation, variant.reference, variant.bytes) for variant in seen.variants}
    assert told == {
        ("Q8_0", f"hf:org/shown:{part.format(1)}", len(first) + len(second)),
        ("Q2_K", "hf:org/shown:m-Q2_K.gguf", len(tiny)),
    }
    for _, text, _ in told:
        assert (await looking(text)).shape.layers == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GGUF" + b"\0" * 3, "cut short"),
        (b"PK\3\4" + b"\0" * 200, "GGUF"),
        (gguf_bytes()[:200], "cut short"),
    ],
)
async def test_file_that_lies_is_refused_before_it_is_pulled(looking, repository, data, reason):
    repository(**{"m-Q4_K_M.gguf": data})
    with pytest.raises(BrokenFile, match=reason):
        await looking("hf:org/shown")


async def test_what_the_catalogue_says_stands_where_nobody_answers(looking, hub, entry):
    hub.faults["huggingface"].listing_status = 500
    known = entry({"parts": ["hf:org/repo:Q4_K_M"]})
    seen = await looking(known)
    assert (seen.name, seen.source, seen.shape) == ("tiny:1m", "", known.shape)
    assert seen.licence.id == "MIT"


async def test_packed_file_is_told_from_the_catalogue_and_its_listing(looking, hub, entry):
    known = entry({"parts": ["wheel:tiny-model==1.0:tiny_model/tiny.gguf"]})
    seen = await looking(known)
    assert seen.source == "package index"
    assert seen.shape == known.shape
    assert hub.downloads() == []


async def test_what_nobody_has_is_refused_with_every_reason(looking):
    with pytest.raises(FetchFailed, match="has no model org/none"):
        await looking("hf:org/none")
    with pytest.raises(BadRequest, match="looked up in the catalogue"):
        await looking("tiny:1m")


def test_change_of_a_template_is_a_diff_with_an_end():
    assert templates.difference("a\nb", "a\nb") == ()
    assert templates.difference("a\nb", "a\nc")[-2:] == ("-b", "+c")
    many = templates.difference("", "\n".join(map(str, range(1000))))
    assert len(many) == templates.LINES_MAX + 1
    assert "more lines" in many[-1]


@pytest.mark.parametrize("said", ["[", "[1]", '{"chat_template": [3, {"name": "x"}]}', '"x"'])
def test_configuration_without_a_template_has_none(said):
    assert templates.of_files({"tokenizer_config.json": said.encode()}.get) == ""
