"""Every public op, and every function that is composed of ops, has a test: a new one without a row in a table fails here."""

import importlib
import inspect
import pkgutil

import pytest
import test_conv
import test_functions
import test_norm
import test_ops_elementwise
import test_ops_layout
import test_ops_linear
import test_ops_network
import test_ops_reduce

TABLES = {
    **test_conv.ROWS,
    **test_ops_elementwise.ROWS,
    **test_ops_elementwise.COMPARISONS,
    **test_ops_reduce.ROWS,
    **test_ops_reduce.FLAT,
    **test_ops_layout.ROWS,
    **test_ops_layout.POSITIONS,
    **test_ops_layout.FLAT,
    **test_ops_linear.ROWS,
    **test_ops_network.ROWS,
    **test_norm.ROWS,
    **test_functions.ROWS,
    **test_functions.FLAT,
}
ELSEWHERE = {  # tested by functions of their own
    "ops.compare": "allclose equal",
    "ops.activation": "random_leaky_relu",
    "ops.dropout": "dropped keep_mask",
    "ops.resize": "resample",
    "ops.unfold": "columns picture",
    "functions.arithmetic": "nan_to_num",
    "functions.creation": "arange as_tensor empty empty_like eye from_dlpack from_numpy full full_like is_tensor linspace ones "
    "ones_like tensor zeros zeros_like",
    "functions.filling": "uniform_ normal_ log_normal_ cauchy_ exponential_ geometric_ bernoulli_ random_ "
    "fill_diagonal_ poisson",
    "functions.grids": "logspace scalar_tensor tril_indices triu_indices",
    "functions.ordering": "max_result",
    "functions.queries": "is_complex is_signed is_nonzero is_same_size get_default_device set_default_device pin_memory",
    "functions.sampling": "bernoulli multinomial normal rand rand_like randint randint_like randn randn_like randperm",
}
NOT_OPS = {  # parts that ops are made of, tested through these
    "ops.reduce": "spread",
    "ops.layout": "zeros_for",
    "functions.arithmetic": "check_floating",
    "ops.index": "as_key split_key windows scatter_extreme",
    "ops.linear": "contract",
    "ops.loss": "reduced check_reduction",
    "ops.blocks": "blocked",
}
PENDING: dict[str, str] = {}  # ops that wait for their row, by file


FAMILIES = [
    f"{package}.{m.name}"
    for package in ("ops", "functions")
    for m in pkgutil.iter_modules(importlib.import_module(f"minidl.{package}").__path__)
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_public_op_is_in_a_table(family):
    module = importlib.import_module(f"minidl.{family}")
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and inspect.isroutine(value) and getattr(value, "__module__", None) == module.__name__
    }
    known = set(TABLES)
    for listed in (ELSEWHERE, NOT_OPS, PENDING):
        known |= set(listed.get(family, "").split())
    assert own - known == set(), f"minidl.{family} has functions without a test"


def test_the_lists_of_exceptions_are_kept_up():
    for listed in (ELSEWHERE, NOT_OPS, PENDING):
        for family, names in listed.items():
            module = importlib.import_module(f"minidl.{family}")
            missing = [name for name in names.split() if not hasattr(module, name)]
            assert not missing, f"minidl.{family} no longer has {missing}"
    assert not set(TABLES) & {name for names in PENDING.values() for name in names.split()}
