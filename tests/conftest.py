"""How the tests run: Hypothesis profiles, a fixed seed for each test, and no test that leaves a global setting changed.

With ``--device cuda`` they run on a GPU; where there is none, on the stand-in (see `standin.suite`).
"""

import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

import minidl
from minidl import devices

settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("quick", deadline=None, max_examples=3, derandomize=True)
settings.register_profile("dev", deadline=None, max_examples=10)
settings.register_profile("thorough", deadline=None, max_examples=1000)


sys.path.insert(0, str(Path(__file__).parent))  # for tests/standin, whatever file runs first


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", choices=("cpu", "cuda"), help="where the tests make their tensors")


def pytest_configure(config):
    if not config.getoption("hypothesis_profile", None):
        settings.load_profile("ci")
    config.on_gpu = None
    if config.getoption("device") == "cuda":
        settings.load_profile("quick")  # what an op computes is tested on the CPU; here, that it does so everywhere
        from standin import suite

        config.on_gpu = suite.begin()


def pytest_report_header(config):
    return config.on_gpu and f"device: cuda, {config.on_gpu}"


def pytest_collection_modifyitems(config, items):
    if config.on_gpu is None:
        return
    from standin import suite

    reasons = {item: suite.reason(item.nodeid) for item in items}
    config.left_out = Counter(why for why in reasons.values() if why)
    config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
    items[:] = [item for item in items if not reasons[item]]


def pytest_terminal_summary(terminalreporter, config):
    for why, n in sorted(getattr(config, "left_out", {}).items()):
        terminalreporter.write_line(f"not on the GPU: {n} tests: {why}")


@pytest.fixture(autouse=True)
def clean_world():
    """Every test starts from the same seed and must leave recording, default dtype and default device as they were."""
    minidl.manual_seed(0)
    before = minidl.is_grad_enabled(), minidl.get_default_dtype(), minidl.get_default_device()
    yield
    after = minidl.is_grad_enabled(), minidl.get_default_dtype(), minidl.get_default_device()
    minidl.set_grad_enabled(before[0])
    minidl.set_default_dtype(before[1])
    minidl.set_default_device(before[2])
    devices._noted.clear()  # what a test has left to be told later
    assert after == before, f"the test left (recording, default dtype, default device) as {after}, found {before}"
