"""Wrong gradients, each a mistake that people make: how many of them does a checker catch?

The mistakes are of any library: a forward pass and a pullback over NumPy arrays, of which an `Engine` makes an op. Some are
wrong only when differentiated again; some compute right numbers and behave badly: they change what was only lent to them, or
give something else at every call. Beside them are `RIGHT` ones, which a checker must let pass.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .engine import Engine


class Animal(NamedTuple):
    """A function over arrays with a pullback, and what is the matter with it."""

    name: str
    about: str
    forward: Callable[..., Any]
    pullback: Callable[..., Any]  # of the cotangents and the inputs; None for no gradient
    draw: Callable[[Any], tuple[Any, ...]]  # inputs from a generator of random numbers
    again: Callable[..., Any] | None = None  # the pullback's pullback; a mistake is in it, if there is one

    def inputs(self) -> tuple[Any, ...]:
        """Fresh ones, the same at each call."""
        return self.draw(np.random.default_rng(0))

    def op(self, engine: Any) -> Any:
        """The function, as a library's op."""
        op = engine.op(self.forward, self.pullback, self.again)

        def named(*inputs: Any) -> Any:
            return op(*inputs)

        named.__name__ = self.name
        return named


class Score(NamedTuple):
    """How a checker did: names of animals."""

    caught: tuple[str, ...]
    missed: tuple[str, ...]
    false_alarms: tuple[str, ...]  # right ones that it refused

    def __str__(self) -> str:
        """In words."""
        said = f"caught {len(self.caught)} of {len(self.caught) + len(self.missed)}"
        said += f"\nmissed: {', '.join(self.missed)}" if self.missed else ""
        return said + (f"\nfalse alarms: {', '.join(self.false_alarms)}" if self.false_alarms else "")


def score(check: Callable[[Any, Any], Any], again: Callable[[Any, Any], Any] | None = None, *, engine: Any = None) -> Score:
    """Let a checker loose on the zoo.

    Parameters
    ----------
    check : function
        ``check(func, inputs)`` for a function of tensors and a tuple of tensors; returns a true value if the gradients are
        right. An exception means that they are not.
    again : function, optional
        The same for second derivatives. Without it, those that are wrong only there count as missed.
    engine : object, optional
        Of the library whose tensors ``check`` takes; see `minidl.testing.Engine`. Default: minidl.

    Returns
    -------
    Score

    Examples
    --------
    >>> from minidl.testing import gradcheck, gradgradcheck, zoo
    >>> zoo.score(gradcheck, gradgradcheck).missed
    ()
    """
    engine = engine or Engine()
    verdicts = {animal.name: _passes(animal, check, again, engine) for animal in (*WRONG, *RIGHT)}
    return Score(
        tuple(animal.name for animal in WRONG if not verdicts[animal.name]),
        tuple(animal.name for animal in WRONG if verdicts[animal.name]),
        tuple(animal.name for animal in RIGHT if not verdicts[animal.name]),
    )


def _passes(animal: Animal, check: Any, again: Any, engine: Any) -> bool:
    for checker in (check, again) if animal.again and again else (check,):
        inputs = tuple(engine.tensor(a, True) for a in animal.inputs())
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if not checker(animal.op(engine), inputs):
                    return False
            except Exception:
                return False
    return True


def _drawn(*shapes: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> Callable[[Any], tuple[Any, ...]]:
    return lambda rng: tuple(rng.uniform(low, high, shape) for shape in shapes)


def _spread(g: Any, x: Any, dim: int) -> Any:
    return np.broadcast_to(np.expand_dims(g, dim), x.shape).copy()


def _softmax(x: Any) -> Any:
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def _set(g: Any, x: Any) -> Any:
    out = np.zeros_like(x)
    out[[0, 2, 2]] = g
    return out


def _added(g: Any, x: Any) -> Any:
    out = np.zeros_like(x)
    np.add.at(out, [0, 2, 2], g)
    return out


def _unpool(g: Any, x: Any) -> Any:
    out = np.zeros_like(x)
    for i in range(len(g)):
        out[i + int(x[i + 1] > x[i])] = g[i]
    return out


def _double(g: Any, x: Any) -> Any:
    g *= 2
    return g


def _spoil(g: Any, x: Any) -> Any:
    out = 2 * g * x
    x += 1
    return out


def _halve(x: Any) -> Any:
    x /= 2
    return x * 2


_calls = itertools.count()
_v, _m, _sq = _drawn((3,)), _drawn((2, 3)), _drawn((3, 3), (3, 3))
_SINGLES = [
    # factors and signs
    Animal("wrong_sign", "the derivative of cos is -sin", np.cos, lambda g, x: g * np.sin(x), _v),
    Animal("missing_factor", "the 2 of the square", np.square, lambda g, x: g * x, _v),
    Animal("off_by_a_thousandth", "2.002 for 2", lambda x: x * 2, lambda g, x: g * 2.002, _v),
    Animal("zeros", "no gradient, said with zeros", lambda x: x * 2, lambda g, x: g * 0, _v),
    Animal("none", "no gradient, said with None", lambda x: x * 2, lambda g, x: None, _v),
    Animal("forgot_g", "the derivative alone", np.square, lambda g, x: 2 * x, _v),
    Animal("squared_g", "g twice: right only where g is 1", np.sin, lambda g, x: g * g * np.cos(x), _v),
    Animal("no_chain_rule_inside", "sin(3 x) without the 3", lambda x: np.sin(3 * x), lambda g, x: g * np.cos(3 * x), _v),
    Animal("one_way_of_two", "x sin(x) without its second term", lambda x: x * np.sin(x), lambda g, x: g * np.sin(x), _v),
    Animal("wrong_only_below_zero", "|x| x", lambda x: np.abs(x) * x, lambda g, x: 2 * g * x, _drawn((6,))),
    Animal(
        "right_for_the_first_element_only",
        "the 2 of the square, but in one place",
        np.square,
        lambda g, x: g * x * np.where(np.arange(4) == 0, 2, 1),
        _drawn((4,)),
    ),
    Animal(
        "wrong_in_one_of_thousands",
        "and that among 2500 elements",
        np.copy,
        lambda g, x: g * (np.arange(2500) != 1234).reshape(50, 50),
        _drawn((50, 50)),
    ),
    Animal("clamp_passes_outside", "beyond its bounds too", lambda x: np.clip(x, -1, 1), lambda g, x: g.copy(), _drawn((9,))),
    Animal("relu_of_g", "the gate asks g, not x", lambda x: np.maximum(x, 0), lambda g, x: np.maximum(g, 0), _drawn((9,))),
]
_SEVERAL = [
    Animal("swapped_operands", "each gets its own", np.multiply, lambda g, a, b: (g * a, g * b), _drawn((3,), (3,))),
    Animal(
        "gradients_in_the_wrong_order",
        "b's first",
        lambda a, b: a + 2 * b,
        lambda g, a, b: (2 * g, g.copy()),
        _drawn((3,), (3,)),
    ),
    Animal("one_rule_missing", "None for b", np.multiply, lambda g, a, b: (g * b, None), _drawn((3,), (3,))),
    Animal(
        "quotient_without_square",
        "-a / b for -a / b**2",
        np.divide,
        lambda g, a, b: (g / b, -g * a / b),
        _drawn((3,), (3,), low=1.0),
    ),
    Animal("product_without_transpose", "g @ b for g @ b.T", np.matmul, lambda g, a, b: (g @ b, a.T @ g), _sq),
    Animal("product_swapped", "g @ a.T for a.T @ g", np.matmul, lambda g, a, b: (g @ b.T, g @ a.T), _sq),
    Animal(
        "unbroadcast_by_mean",
        "what was stretched is averaged",
        lambda x, b: x * b,
        lambda g, x, b: (g * b, (g * x).mean(0)),
        _drawn((4, 3), (3,)),
    ),
    Animal(
        "unbroadcast_takes_the_first",
        "of what was stretched only one row",
        lambda x, b: x * b,
        lambda g, x, b: (g * b, (g * x)[0]),
        _drawn((4, 3), (3,)),
    ),
    Animal("second_output_forgotten", "2 x and 3 x", lambda x: (x * 2, x * 3), lambda g, h, x: g * 2, _v),
    Animal(
        "convolution_kernel_not_flipped",
        "for the input",
        lambda x, w: np.correlate(x, w, "valid"),
        lambda g, x, w: (np.convolve(g, w[::-1]), np.correlate(x, g, "valid")),
        _drawn((5,), (2,)),
    ),
]
_REDUCTIONS = [
    Animal("softmax_without_the_sum", "p (1 - p)", _softmax, lambda g, x: g * _softmax(x) * (1 - _softmax(x)), _m),
    Animal(
        "softmax_sums_over_the_batch",
        "rows mixed",
        _softmax,
        lambda g, x: _softmax(x) * (g - (g * _softmax(x)).sum()),
        _m,
    ),
    Animal("mean_counts_all_elements", "6 for 2", lambda x: x.mean(0), lambda g, x: _spread(g / 6, x, 0), _m),
    Animal("mean_forgets_to_divide", "a sum's gradient", lambda x: x.mean(), lambda g, x: g * np.ones_like(x), _m),
    Animal("sum_not_spread_evenly", "only where x > 0", lambda x: x.sum(), lambda g, x: g * (x > 0), _m),
    Animal(
        "sum_spread_along_the_other_dimension",
        "a square hides it",
        lambda x: x.sum(1),
        lambda g, x: g * np.ones((3, 3)),
        _drawn((3, 3)),
    ),
    Animal("max_to_all", "not to the largest alone", lambda x: x.max(-1), lambda g, x: _spread(g, x, -1), _m),
    Animal("max_to_none", "nor to nobody", lambda x: x.max(-1), lambda g, x: x * 0, _m),
    Animal("variance_over_n", "n for n - 1", lambda x: x.var(ddof=1), lambda g, x: 2 * g * (x - x.mean()) / 4, _drawn((4,))),
    Animal(
        "normalisation_with_constant_mean",
        "the way through the mean is missing",
        lambda x: x - x.mean(),
        lambda g, x: g.copy(),
        _drawn((4,)),
    ),
    Animal("cumsum_not_reversed", "summed from the front", np.cumsum, lambda g, x: np.cumsum(g), _drawn((4,))),
]
_PLACES = [
    Animal("set_instead_of_add", "= for += where an index repeats", lambda x: x[[0, 2, 2]], _set, _v),
    Animal(
        "pool_windows_overlap",
        "= for += where windows do",
        lambda x: np.maximum(x[:-1], x[1:]),
        _unpool,
        lambda rng: (np.array([0.0, 2.0, 1.0, 3.0]),),
    ),
    Animal(
        "permuted_the_wrong_way",
        "forwards twice",
        lambda x: x.transpose(1, 2, 0),
        lambda g, x: g.transpose(1, 2, 0).copy(),
        _drawn((2, 2, 2)),
    ),
    Animal("flip_forgotten", "not turned back", lambda x: x[::-1].copy(), lambda g, x: g.copy(), _v),
    Animal(
        "reshaped_in_another_order",
        "columns first, then rows first",
        lambda x: x.reshape(-1, order="F"),
        lambda g, x: g.reshape(x.shape).copy(),
        _m,
    ),
]
_AGAIN = [
    Animal(
        "constant_at_order_two",
        "the derivative of x**3 taken for a constant",
        lambda x: x**3,
        lambda g, x: g * 3 * x**2,
        _v,
        lambda h, g, x: (h * 3 * x**2, None),
    ),
    Animal("half_at_order_two", "1 for 2", np.square, lambda g, x: 2 * g * x, _v, lambda h, g, x: (2 * h * x, g * h)),
    Animal(
        "cotangent_forgotten_at_order_two",
        "no way to g",
        np.square,
        lambda g, x: 2 * g * x,
        _v,
        lambda h, g, x: (None, 2 * g * h),
    ),
    Animal(
        "swapped_at_order_two",
        "a b: each gets its own",
        np.multiply,
        lambda g, a, b: (g * b, g * a),
        _drawn((3,), (3,)),
        lambda h, k, g, a, b: (h * b + k * a, h * g, k * g),
    ),
]
_MANNERS = [
    Animal("changes_g", "in place", lambda x: x * 2, _double, _v),
    Animal("changes_what_it_saved", "in place, after use", np.square, _spoil, _v),
    Animal("changes_its_input", "and gives a right result", _halve, lambda g, x: g.copy(), _v),
    Animal("nondeterministic_forward", "something else at each call", lambda x: x + next(_calls), lambda g, x: g.copy(), _v),
    Animal("nan_forward", "log of negative numbers", lambda x: np.log(x - 5), lambda g, x: g / (x - 5), _v),
    Animal("float32_on_the_way", "eight digits", np.square, lambda g, x: (2 * g * x).astype("float32"), _drawn((5,))),
    Animal("reads_g_in_memory_order", "right for rows in a row", np.copy, lambda g, x: np.ravel(g, "K").reshape(g.shape), _m),
]
WRONG: tuple[Animal, ...] = (*_SINGLES, *_SEVERAL, *_REDUCTIONS, *_PLACES, *_AGAIN, *_MANNERS)
"""What must be caught."""

RIGHT: tuple[Animal, ...] = (
    Animal("polynomial", "", lambda x: x**3, lambda g, x: g * 3 * x**2, _v, lambda h, g, x: (h * 3 * x**2, h * g * 6 * x)),
    Animal("relu", "", lambda x: np.maximum(x, 0), lambda g, x: g * (x > 0), _drawn((3, 4))),
    Animal(
        "product",
        "",
        np.multiply,
        lambda g, a, b: (g * b, g * a),
        _drawn((3,), (3,)),
        lambda h, k, g, a, b: (h * b + k * a, k * g, h * g),
    ),
    Animal("matrix product", "", np.matmul, lambda g, a, b: (g @ b.T, a.T @ g), _drawn((2, 3), (3, 4))),
    Animal("bias", "", np.add, lambda g, x, b: (g.copy(), g.sum(0)), _drawn((2, 3), (3,))),
    Animal("softmax", "", _softmax, lambda g, x: _softmax(x) * (g - (g * _softmax(x)).sum(-1, keepdims=True)), _m),
    Animal("repeated index", "", lambda x: x[[0, 2, 2]], _added, _v),
    Animal("two outputs", "", lambda x: (np.sin(x), np.cos(x)), lambda g, h, x: g * np.cos(x) - h * np.sin(x), _v),
    Animal("a number", "", np.exp, lambda g, x: g * np.exp(x), _drawn(())),
    Animal("steep", "", lambda x: np.sin(50 * x), lambda g, x: 50 * g * np.cos(50 * x), _v),
    Animal("large numbers", "", np.square, lambda g, x: 2 * g * x, _drawn((3,), low=1e6, high=2e6)),
    Animal("small numbers", "", lambda x: 1 / x, lambda g, x: -g / x**2, _drawn((3,), low=1e-3, high=2e-3)),
    Animal("many", "", lambda x: np.square(x).mean(0), lambda g, x: 2 * x * g / len(x), _drawn((40, 50))),
)
"""What must pass."""
