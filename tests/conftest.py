"""How the tests run: Hypothesis profiles, a fixed seed for each test, and no test that leaves a global setting changed."""

import pytest
from hypothesis import settings

import minidl

settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("dev", deadline=None, max_examples=10)
settings.register_profile("thorough", deadline=None, max_examples=1000)


def pytest_configure(config):
    if not config.getoption("hypothesis_profile", None):
        settings.load_profile("ci")


@pytest.fixture(autouse=True)
def clean_world():
    """Every test starts from the same seed and must leave recording and default dtype as they were."""
    minidl.manual_seed(0)
    before = minidl.is_grad_enabled(), minidl.get_default_dtype()
    yield
    after = minidl.is_grad_enabled(), minidl.get_default_dtype()
    minidl.set_grad_enabled(before[0])
    minidl.set_default_dtype(before[1])
    assert after == before, f"the test left (recording, default dtype) as {after}, found {before}"
