"""NVIDIA's compiler for kernels, as CuPy uses it, but without CuPy, a driver or a GPU: wheels of the extra ``cuda-check``."""

import ctypes
import functools
import importlib.util
import pathlib


@functools.cache
def root():
    """The folder with the compiler and the headers, or None where there is none."""
    found = importlib.util.find_spec("nvidia")
    places = [] if found is None else [p for d in found.submodule_search_locations for p in pathlib.Path(d).glob("cu1*")]
    return next((p for p in places if any((p / "lib").glob("libnvrtc.so.1*"))), None)


@functools.cache
def _library():
    for pattern in (
        "libnvrtc-builtins.so.1*",
        "libnvrtc.so.1*",
    ):  # NVRTC 13.0 finds its builtins only if they are loaded already
        library = ctypes.CDLL(str(next((root() / "lib").glob(pattern))), ctypes.RTLD_GLOBAL)
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def compile(source, name, arch, options=()):
    """The log of compiling for ``sm_<arch>``, with how many registers each kernel takes.

    Raises
    ------
    RuntimeError
        If it does not compile.
    """
    nvrtc, program, size = _library(), ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
    options = [
        f"-arch=sm_{arch}", "--std=c++17", "-ftz=true", "--device-as-default-execution-space", f"-I{root() / 'include'}",
        f"-I{root() / 'include' / 'cccl'}", "--ptxas-options=-v", *options,
    ]  # fmt: skip
    code = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*map(str.encode, options)))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if code:
        raise RuntimeError(f"{name} for sm_{arch}: {nvrtc.nvrtcGetErrorString(code).decode()}\n{log.value.decode()}")
    return log.value.decode()
