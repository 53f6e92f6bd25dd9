"""Wrong rules, each a mistake that people make. The checker must catch every one of them."""

import itertools

import numpy as np

import minidl
from minidl.autograd import Function, differentiable
from minidl.ops.reduce import spread

rng = np.random.default_rng(0)


def leaf(*shape, low=-2.0, high=2.0):
    return minidl.from_numpy(rng.uniform(low, high, shape)).requires_grad_()


def broken(forward, keeps="", **rules):
    """An op with these rules."""
    op = differentiable(forward, keeps=keeps)
    op.vjp(**rules)
    return op


WRONG = {}  # name: (function, inputs, the order of derivative in which it is wrong)


def wrong(func, *inputs, order=1):
    WRONG[func.__name__] = func, inputs, order
    return func


def animal(name, forward, inputs, order=1, keeps="", **rules):
    forward.__name__ = name
    op = broken(forward, keeps, **rules)
    WRONG[name] = op, inputs, order


# -- factors and signs

animal("wrong_sign", lambda input: np.cos(input), (leaf(3),), input=lambda g, input: g * minidl.sin(input))
animal("missing_factor", lambda input: input**2, (leaf(3),), input=lambda g, input: g * input)
animal("off_by_a_thousandth", lambda input: input * 2, (leaf(3),), input=lambda g: g * 2.002)
animal("zeros", lambda input: input * 2, (leaf(3),), input=lambda g: g * 0)
animal("forgot_g", lambda input: input**2, (leaf(3),), input=lambda g, input: 2 * input)
animal("no_chain_rule_inside", lambda input: np.sin(3 * input), (leaf(3),), input=lambda g, input: g * minidl.cos(3 * input))
animal(
    "wrong_only_below_zero",
    lambda input: np.abs(input) * input,
    (leaf(6),),
    input=lambda g, input: 2 * g * input,
)
animal(
    "right_for_the_first_element_only",
    lambda input: input**2,
    (leaf(4),),
    input=lambda g, input: g * input * np.where(np.arange(4) == 0, 2, 1),
)
animal(
    "wrong_in_one_of_thousands",
    lambda input: input * 1,
    (leaf(50, 50),),
    input=lambda g: g * (1 - (np.arange(2500) == 1234).reshape(50, 50)),
)
animal("hard_tanh_passes_outside", lambda input: np.clip(input, -1, 1), (leaf(9),), input=lambda g: g)

# -- two inputs

animal(
    "swapped_operands",
    lambda input, other: input * other,
    (leaf(3), leaf(3)),
    input=lambda g, input: g * input,
    other=lambda g, other: g * other,
)
animal(
    "quotient_without_square",
    lambda input, other: input / other,
    (leaf(3), leaf(3, low=1.0)),
    input=lambda g, other: g / other,
    other=lambda g, input, other: -g * input / other,
)
animal(
    "matmul_without_transpose",
    lambda input, other: input @ other,
    (leaf(3, 3), leaf(3, 3)),
    input=lambda g, other: g @ other,
    other=lambda g, input: minidl.transpose(input, 0, 1) @ g,
)
animal(
    "matmul_product_swapped",
    lambda input, other: input @ other,
    (leaf(3, 3), leaf(3, 3)),
    input=lambda g, other: g @ minidl.transpose(other, 0, 1),
    other=lambda g, input: g @ minidl.transpose(input, 0, 1),
)
animal("one_rule_missing", lambda input, other: input * other, (leaf(3), leaf(3)), input=lambda g, other: g * other)

# -- reductions and softmax

animal(
    "softmax_without_the_sum",
    lambda input: np.exp(input) / np.exp(input).sum(-1, keepdims=True),
    (leaf(2, 3),),
    input=lambda g, out: g * out * (1 - out),
)
animal(
    "mean_counts_all_elements",
    lambda input: input.mean(0),
    (leaf(2, 3),),
    input=lambda g, input_shape: spread(g / 6, input_shape, 0, "mean"),
)
animal("sum_not_spread_evenly", lambda input: input.sum(), (leaf(2, 3),), input=lambda g, input: g * (input > 0))
animal(
    "max_to_all",
    lambda input: input.max(-1),
    (leaf(2, 3),),
    input=lambda g, input_shape: spread(g, input_shape, -1, "max"),
)
animal("max_to_none", lambda input: input.max(-1), (leaf(2, 3),), input=lambda g, input: input * 0)
animal(
    "variance_over_n",
    lambda input: input.var(ddof=1),
    (leaf(4),),
    input=lambda g, input: 2 * g * (input - input.mean()) / 4,
)
animal("cumsum_not_reversed", lambda input: input.cumsum(), (leaf(4),), input=lambda g: minidl.cumsum(g, 0))

# -- order and place


def _set(g, index, shape):
    out = np.zeros(shape)
    out[index] = g  # should be +=
    return out


animal(
    "set_instead_of_add",
    lambda input: input[[0, 2, 2]],
    (leaf(3),),
    input=lambda g, input_shape: _set(g, [0, 2, 2], input_shape),
)
animal(
    "permuted_the_wrong_way",
    lambda input: input.transpose(1, 2, 0),
    (leaf(2, 2, 2),),
    input=lambda g: minidl.permute(g, 1, 2, 0),
)
animal("flip_forgotten", lambda input: input[::-1].copy(), (leaf(3),), input=lambda g: g)
animal(
    "reshaped_in_another_order",
    lambda input: input.reshape(-1, order="F"),
    (leaf(2, 3),),
    input=lambda g: minidl.reshape(g, (2, 3)),
)


def _pool(input):
    """The largest of every two neighbours."""
    return np.maximum(input[:-1], input[1:])


def _unpool(g, input):
    out = np.zeros_like(input)
    for i in range(len(g)):
        out[i + int(input[i + 1] > input[i])] = g[i]  # should be +=: windows overlap
    return out


animal(
    "pool_windows_overlap",
    _pool,
    (minidl.tensor([0.0, 2.0, 1.0, 3.0], dtype=minidl.float64, requires_grad=True),),
    input=_unpool,
)


def _correlate(input, weight):
    return np.correlate(input, weight, "valid")


animal(
    "convolution_kernel_not_flipped",
    _correlate,
    (leaf(5), leaf(2)),
    input=lambda g, weight: np.convolve(g, weight[::-1]),
    weight=lambda g, input: np.correlate(input, g, "valid"),
)

# -- right at first, wrong when differentiated again

animal("constant_at_order_two", lambda input: input**3, (leaf(3),), order=2, input=lambda g, input: g * 3 * _array(input) ** 2)
animal("half_at_order_two", lambda input: input**2, (leaf(3),), order=2, input=lambda g, input: g * (input + _array(input)))


def _array(x):
    return getattr(x, "_array", x)


def detached_gradient(x):
    """A gradient penalty whose inner gradient is cut off."""

    class Cut(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * (3 * x**2).detach()

    return Cut.apply(x)


wrong(detached_gradient, leaf(3), order=2)

# -- bad manners


def _double(g):
    g *= 2
    return g


animal("changes_g", lambda input: input * 2, (leaf(3),), input=_double)


def _square_and_spoil(g, input):
    out = 2 * g * input
    input += 1
    return out


animal("changes_what_it_saved", lambda input: input**2, (leaf(3),), input=_square_and_spoil)


def _halve(input):
    input /= 2
    return input * 2


animal("changes_its_input", _halve, (leaf(3),), input=lambda g: g)

_draws = itertools.count()
animal("nondeterministic_forward", lambda input: input + next(_draws), (leaf(3),), input=lambda g: g)
animal("nan_forward", lambda input: np.log(input - 5), (leaf(3),), input=lambda g, input: g / (input - 5))
animal("float32_on_the_way", lambda input: input**2, (leaf(5),), input=lambda g, input: (2 * g * input).astype("float32"))
animal("wants_g_in_row_major_order", lambda input: input * 1, (leaf(2, 3),), input=lambda g: np.ravel(g, "K").reshape(g.shape))


def detached(x):
    return x * x.detach()


def constant(x):
    return (x * x).detach()


wrong(detached, leaf(3))
wrong(constant, leaf(3))


class Torn(Function):
    """Two outputs, and the second one's gradient is forgotten."""

    @staticmethod
    def forward(ctx, x):
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, g, _):
        return g * 2


def second_output_forgotten(x):
    return Torn.apply(x)


wrong(second_output_forgotten, leaf(3))


class WrongCount(Function):
    """The gradient of another input."""

    @staticmethod
    def forward(ctx, x, y):
        return x + 2 * y

    @staticmethod
    def backward(ctx, g):
        return 2 * g, g


def gradients_in_the_wrong_order(x, y):
    return WrongCount.apply(x, y)


wrong(gradients_in_the_wrong_order, leaf(3), leaf(3))
