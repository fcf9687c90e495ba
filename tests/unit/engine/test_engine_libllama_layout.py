"""Which layout of libllama's structs fits which library."""

import json
import shutil
import subprocess

import msgspec
import pytest

from haneul.engine.libllama.layout import (
    Layout,
    StructLayout,
    check_model_defaults,
    layout_program,
    pinned_layout,
    read_layout,
    structure,
)
from haneul.engine.worker.stepper import CannotServe

C_KINDS = {"i32": "int", "u32": "unsigned", "f32": "float", "bool": "bool", "pointer": "void *"}
C_KINDS |= {"size": "size_t"}


def header(layout, *, extra=""):
    """A header that declares the fields of a layout in their order."""
    text = "#include <stdbool.h>\n#include <stddef.h>\n"
    for name in ("model_params", "context_params"):
        fields = sorted(getattr(layout, name).fields.items(), key=lambda item: item[1][0])
        lines = [f"    {C_KINDS[kind]} {field};" for field, (_, kind) in fields]
        text += f"struct llama_{name} {{\n{extra}" + "\n".join(lines) + "\n};\n"
    return text


def printed(folder, text):
    """What the program prints that was compiled with this header."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler here")
    (folder / "llama.h").write_text(text)
    (folder / "layout.c").write_text(layout_program())
    program = folder / "layout"
    subprocess.run([compiler, folder / "layout.c", "-o", program], check=True, capture_output=True)
    return subprocess.run([program], check=True, capture_output=True).stdout


@pytest.mark.parametrize("extra", ["", "    void * newcomer;\n", "    int one;\n"])
def test_the_program_prints_the_layout_of_whatever_header(tmp_path, extra):
    (tmp_path / "layout.json").write_bytes(printed(tmp_path, header(pinned_layout(), extra=extra)))
    layout = read_layout(tmp_path / "layout.json")
    pinned = pinned_layout()
    if not extra:
        assert layout.context_params.size == pinned.context_params.size
        for field, place in layout.context_params.fields.items():
            assert place == pinned.context_params.fields[field]
    made = structure("M", layout.model_params)
    assert made.n_gpu_layers.offset == layout.model_params.fields["n_gpu_layers"][0]


def test_a_header_without_a_needed_field_does_not_compile(tmp_path):
    text = header(pinned_layout()).replace("bool kv_unified;", "")
    with pytest.raises(subprocess.CalledProcessError):
        printed(tmp_path, text)


def test_other_defaults_mean_another_library():
    made = structure("M", pinned_layout().model_params)
    read = made(n_gpu_layers=-1, split_mode=1, load_mode=-1, lazy_mode=1, use_extra_bufts=True)
    check_model_defaults(read)
    read.split_mode = 7
    with pytest.raises(CannotServe, match="split_mode"):
        check_model_defaults(read)


def test_a_layout_that_makes_no_sense_is_refused(tmp_path):
    def refused(change):
        layout = json.loads(msgspec.json.encode(pinned_layout()))
        change(layout["model_params"])
        (tmp_path / "layout.json").write_text(json.dumps(layout))
        with pytest.raises(CannotServe):
            read_layout(tmp_path / "layout.json")

    refused(lambda params: params["fields"].pop("n_gpu_layers"))
    refused(lambda params: params["fields"].update(vocab_only=[2, "bool"]))
    refused(lambda params: params["fields"].update(n_gpu_layers=[16, "f32"]))
    refused(lambda params: params.update(size=8))
    refused(lambda params: params.update(size=1 << 20))
    (tmp_path / "layout.json").write_text("{")
    with pytest.raises(CannotServe):
        read_layout(tmp_path / "layout.json")


def test_fields_that_cannot_lie_so_are_refused():
    odd = Layout("", StructLayout(16, {"a": (2, "pointer")}), StructLayout(0, {}))
    with pytest.raises(CannotServe):
        structure("M", odd.model_params)
