"""Recorded Linux files of several machines, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from haneul.chips.host import Processor, parse_cpuinfo, parse_groups, parse_meminfo, read_host

XEON = "\n".join(
    f"""processor\t: {index}
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Intel(R) Xeon(R) Processor @ 2.10GHz
physical id\t: 0
core id\t\t: {index // 2}
cpu cores\t: 2
flags\t\t: fpu vme sse4_2 avx f16c fma avx2 avx512f avx512_vnni amx_int8
"""
    for index in range(4)
)
NEOVERSE = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

processor\t: 1
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""
KUNPENG = """processor\t: 0
BogoMIPS\t: 200.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimddp asimdfhm
CPU implementer\t: 0x48
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd01
CPU revision\t: 0
"""
RISCV = "processor\t: 0\nisa\t\t: rv64imafdcv_zicsr\nmmu\t\t: sv39\nuarch\t\t: spacemit,x60\n"
POWER = "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 3800.000000MHz\n"
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:   12000000 kB\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "name", "vendor", "threads", "sets"),
    [
        (
            XEON,
            "Intel(R) Xeon(R) Processor @ 2.10GHz",
            "Intel",
            4,
            ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "amx_int8"),
        ),
        (NEOVERSE, "Neoverse N1", "ARM", 2, ("asimd", "asimddp")),
        (KUNPENG, "Kunpeng 920", "HiSilicon", 1, ("asimd", "asimddp")),
        (RISCV, "spacemit,x60", "unknown", 1, ("v",)),
        (POWER, "POWER9, altivec supported", "unknown", 1, ()),
    ],
)
def test_every_form_of_cpuinfo_is_read(
    text: str, name: str, vendor: str, threads: int, sets: tuple[str, ...]
) -> None:
    processor = parse_cpuinfo(text)
    assert (processor.name, processor.vendor, processor.threads) == (name, vendor, threads)
    assert processor.instruction_sets == sets


def test_an_empty_cpuinfo_leaves_the_name_to_python() -> None:
    processor = parse_cpuinfo("")
    assert isinstance(processor, Processor)
    assert processor.threads >= 1
    assert processor.name


def test_two_threads_of_one_core_count_as_one_core(tmp_path: Path) -> None:
    host = read_host(machine(tmp_path, {"proc/cpuinfo": XEON}))
    assert (host.cores, host.cores_source) == (2, "/proc/cpuinfo, physical cores")


def test_a_machine_without_files_has_unknown_memory(tmp_path: Path) -> None:
    host = read_host(tmp_path)
    assert host.cores >= 1
    assert host.memory_bytes is None
    assert host.memory_free_bytes is None


def test_without_a_control_group_the_machine_itself_counts(tmp_path: Path) -> None:
    host = read_host(machine(tmp_path, {"proc/cpuinfo": XEON, "proc/meminfo": MEMINFO}))
    assert host.memory_bytes == 16_000_000 * 1024
    assert host.memory_free_bytes == 12_000_000 * 1024
    assert host.memory_source == "/proc/meminfo"


def test_a_quota_of_version_two_binds_also_when_it_stands_above(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/cpuinfo": XEON,
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/pods/one\n",
            "sys/fs/cgroup/pods/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pods/one/memory.max": "2147483648\n",
            "sys/fs/cgroup/pods/one/memory.current": "1073741824\n",
            "sys/fs/cgroup/pods/one/memory.stat": "anon 1000\ninactive_file 536870912\n",
        },
    )
    host = read_host(root)
    assert (host.cores, host.cores_source) == (1, "CPU quota of the control group")
    assert host.memory_bytes == 2 << 30
    assert host.memory_free_bytes == 1536 << 20  # file pages are given back when asked
    assert host.memory_source == "control group"


def test_limits_of_version_one_bind(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/cpuinfo": XEON,
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "4:memory:/box\n2:cpu,cpuacct:/box\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "4294967296\n",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "1073741824\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
        },
    )
    host = read_host(root)
    assert host.cores == 1
    assert host.memory_bytes == 4 << 30
    assert host.memory_free_bytes == 3 << 30


def test_a_limit_above_the_machine_changes_nothing(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/cpuinfo": XEON,
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": str(1 << 50),
        },
    )
    assert read_host(root).memory_bytes == 16_000_000 * 1024


def test_broken_files_are_read_as_missing(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/cpuinfo": "\x00\x01garbage",
            "proc/meminfo": "MemTotal: lots kB\n",
            "proc/self/cgroup": "nonsense\n0::\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/cpu.max": "max",
        },
    )
    host = read_host(root)
    assert host.memory_bytes is None
    assert host.cores >= 1


def test_groups_and_memory_lines_are_parsed() -> None:
    assert parse_groups("4:memory:/a\n2:cpu,cpuacct:/b\n0::/c\n") == {
        "memory": "/a",
        "cpu": "/b",
        "cpuacct": "/b",
        "": "/c",
    }
    assert parse_meminfo("MemTotal:  2 kB\nHugePages_Total:  0\n") == {"MemTotal": 2048}
