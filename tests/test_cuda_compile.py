"""NVIDIA's compiler takes every .cu file, for every type and GPU, and all that a kernel keeps fits into registers."""

import pathlib
import re

import pytest
from standin import nvrtc

import minidl

if nvrtc.root() is None:
    pytest.skip('NVRTC is not installed: pip install "minidl[cuda-check]"', allow_module_level=True)

HERE = pathlib.Path(minidl.__file__).parent / "kernels" / "cuda"
FILES = sorted(path.stem for path in HERE.glob("*.cu"))
ARCHITECTURES = ("80", "90", "100")  # A100, H100 and H200, B200
TYPES = [("float", "int"), ("double", "int")]  # of numbers, and of the numbers of taps
MORE = {"pool": [("float", "signed char"), ("double", "signed char"), ("long long", "int")], "scatter": [("long long", "int")]}
TILES = [  # of convolutions: the largest, and smaller
    [f"-DHEIGHT={height}", f"-DWIDTH={width}", f"-DTOGETHER={together}", f"-DAPART_H={apart}", f"-DAPART_W={apart}"]
    for height, width, together, apart in [(64, 128, 4, 1), (64, 128, 1, 2), (16, 32, 4, 1)]
]
MORE["conv"] = [("float", "int", f"-DOPERAND={operand}", *tile) for operand in ("float", "tf32", "bf16") for tile in TILES]
MORE["gemm"] = [("float", "int", "-DOPERAND=f16")]  # whose tiles are the same
KERNEL = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers",
    re.DOTALL,
)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("file", FILES)
def test_it_compiles_and_nothing_spills(file, arch):
    own = (HERE / f"{file}.cu").read_text()
    names = re.findall(r'^extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(', own, re.MULTILINE)
    source = (HERE / "common.cuh").read_text() + f'\n#line 1 "{file}.cu"\n' + own
    for real, tap, *operand in TYPES + MORE.get(file, []):
        log = nvrtc.compile(source, f"{file}.cu", arch, (f"-DREAL={real}", f"-DTAP={tap}", f"-I{HERE}", *operand))
        assert "warning" not in log, log
        found = {name: tuple(map(int, numbers)) for name, *numbers in KERNEL.findall(log)}
        assert names and sorted(found) == sorted(names)
        for name, (stack, stores, loads, registers) in found.items():
            assert not stack + stores + loads, f"{name}, {real}: {stack} bytes of stack, {stores} + {loads} spilled"
            most = 168 if '"tiles.cuh"' in own else 128  # whose blocks have half as many threads: three fit on a multiprocessor
            assert registers <= most, f"{name}, {real}: with {registers} registers too few threads fit on a multiprocessor"


def test_an_error_says_where():
    with pytest.raises(RuntimeError, match=r"(?s)wrong.cu for sm_90.*wrong.cu\(1\).*undefined"):
        nvrtc.compile('#line 1 "wrong.cu"\n__global__ void f() { m = 1; }', "wrong.cu", "90")
