"""Steps of recurrent networks on a GPU against the same in array code in float64, which other tests compare with loops."""

import math

import numpy as np
import pytest
from test_cuda_kernels import DTYPES, close, hard

from minidl.kernels import cuda
from minidl.sequences import steps

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
PLAIN = {"rnn_tanh": steps.tanh_step, "rnn_relu": steps.relu_step, "lstm": steps.lstm_step, "gru": steps.gru_step}
BACK = {"rnn_tanh": steps.tanh_back, "rnn_relu": steps.relu_back, "lstm": steps.lstm_back, "gru": steps.gru_back}
HALVES = {"rnn_tanh": [1], "rnn_relu": [1], "lstm": [0.5, 0.5, 1, 0.5], "gru": [0.5, 0.5, 1]}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_step_and_its_derivative(kind, dtype, scaled):
    (n, units), rng, n_gates, lstm = (5, 13), np.random.default_rng(0), GATES[kind], kind == "lstm"
    halves = np.array(HALVES[kind], float).reshape(-1, 1, 1)
    places, s = rng.normal(size=(n_gates + lstm, 9, units)), rng.normal(size=(n_gates, 7, units))
    fed, more, out, c = rng.normal(size=(n, 3 + units)), *rng.normal(size=(3, n, units))

    def forward(step, m, places, s, fed, more, out, c, halves):
        unscaled = None if scaled else halves
        step(m, places[:, 2 : 2 + n], s[:, :n], fed[:, 3:], c if lstm else None, more, out, unscaled, (halves, 1 - halves))

    given = places, s, fed, more, out, c, halves
    found = hard(lambda *a: forward(cuda.in_one(kind, np.dtype(dtype)), None, *a), *(a.astype(dtype) for a in given))
    wanted = [a.copy() for a in given]
    forward(PLAIN[kind], np, *wanted)
    for i in (0, 4, *((3,) if lstm or kind == "gru" else ()), *((5,) if lstm else ())):
        close(found[i], wanted[i], dtype)

    places, gh, gc, past = wanted[0], *rng.normal(size=(3, n, units))
    ga, gs = np.zeros((2, n_gates, 9, units))

    def backward(step, m, gh, gc, places, fed, more, ga, gs, past):
        a, b = ga[:, :n], (gs if kind == "gru" else ga)[:, :n]
        left = step(m, gh, gc if lstm else None, places[:, 2 : 2 + n], fed[:, 3:], more, a, b)
        if left is not None:
            past[...] = left

    given = gh, gc, places, fed, wanted[3], ga, gs, past
    back = cuda.in_one(f"{kind}_back", np.dtype(dtype))
    found = hard(lambda *a: backward(back, None, *a), *(a.astype(dtype) for a in given))
    wanted = [a.copy() for a in given]
    backward(BACK[kind], np, *wanted)
    for i in (1, 5, 6, 7):
        close(found[i], wanted[i], dtype)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_relu_cuts_off_has_no_gradient_however_large(on_gpu):
    """As in `relu` itself, and NaN lets everything through."""
    a, gh = np.array([[[0, 2, 0, math.nan]]]), np.array([[math.inf, math.inf, math.nan, 3]])

    def back(gh, a, ga):
        kernel = cuda.in_one("rnn_relu_back", np.dtype(float)) if on_gpu else steps.relu_back
        kernel(np, gh, None, a, None, None, ga, ga)

    given = gh, a, np.zeros_like(a)
    found = hard(back, *given) if on_gpu else (back(*given), given)[1]
    np.testing.assert_array_equal(found[2], [[[0, math.inf, 0, 3]]])


def test_float16_is_left_to_array_code():
    assert cuda.in_one("lstm", np.dtype("float16")) is None
