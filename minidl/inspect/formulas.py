"""What ops compute and how their gradients do, as formulas for people.

``{name}`` stands for an input, ``{out}`` or ``{g}``, the gradient that comes in; a view puts the name with this call's shape
there. ``·`` multiplies element by element, ``@`` matrices. What an op really does is in `minidl.ops`; an op that is not
here is shown by its name, and its rules always by their code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_CONV = "Σ over channel and tap: {input}[pixel under the tap] · {weight}[tap] + {bias}"


def _function(forward: str, slope: str) -> tuple[str, dict[str, str]]:
    return forward, {"input": "{g} · " + slope}


_REDUCED = "{g} at every element that was added up"

FORMULAS: Mapping[str, tuple[str, dict[str, str]]] = {
    # of one number
    "neg": ("-{input}", {"input": "-{g}"}),
    "exp": _function("exp({input})", "{out}"),
    "log": ("log({input})", {"input": "{g} / {input}"}),
    "sqrt": ("√{input}", {"input": "{g} / (2 · {out})"}),
    "rsqrt": _function("1 / √{input}", "(-½ · {out}³)"),
    "abs": _function("|{input}|", "sign({input})"),
    "sin": _function("sin({input})", "cos({input})"),
    "cos": _function("cos({input})", "(-sin({input}))"),
    "tanh": _function("tanh({input})", "(1 - {out}²)"),
    "sigmoid": _function("1 / (1 + exp(-{input}))", "{out} · (1 - {out})"),
    "relu": _function("max({input}, 0)", "[{out} > 0]"),
    "leaky_relu": _function("{input} if {input} > 0 else slope · {input}", "(1 or slope)"),
    "gelu": _function("{input} · Φ({input})", "(Φ({input}) + {input} · φ({input}))"),
    "silu": _function("{input} · sigmoid({input})", "(σ + {input} · σ · (1 - σ))"),
    "softplus": _function("log(1 + exp({input}))", "sigmoid({input})"),
    "reciprocal": _function("1 / {input}", "(-{out}²)"),
    "clamp": _function("{input} between min and max", "[min ≤ {input} ≤ max]"),
    "dropout": _function("{input} · mask / (1 - p)", "mask / (1 - p)"),
    # of two
    "add": ("{input} + {other}", {"input": "{g}", "other": "{g}"}),
    "sub": ("{input} - {other}", {"input": "{g}", "other": "-{g}"}),
    "mul": ("{input} · {other}", {"input": "{g} · {other}", "other": "{g} · {input}"}),
    "div": ("{input} / {other}", {"input": "{g} / {other}", "other": "-{g} · {input} / {other}²"}),
    "pow": (
        "{input} ^ {exponent}",
        {"input": "{g} · {exponent} · {input} ^ ({exponent} - 1)", "exponent": "{g} · {out} · log({input})"},
    ),
    "maximum": (
        "max({input}, {other})",
        {"input": "{g} · [{input} > {other}], half at a tie", "other": "{g} · [{other} > {input}], half at a tie"},
    ),
    "where": (
        "{input} where {condition} else {other}",
        {"input": "{g} where {condition} else 0", "other": "0 where {condition} else {g}"},
    ),
    # products
    "matmul": ("{input} @ {other}", {"input": "{g} @ {other}ᵀ", "other": "{input}ᵀ @ {g}"}),
    "linear": (
        "{input} @ {weight}ᵀ + {bias}",
        {"input": "{g} @ {weight}", "weight": "{g}ᵀ @ {input}", "bias": "Σ over the rows of {g}"},
    ),
    "linear_relu": (
        "max({input} @ {weight}ᵀ + {bias}, 0)",
        {
            "input": "({g} · [{out} > 0]) @ {weight}",
            "weight": "({g} · [{out} > 0])ᵀ @ {input}",
            "bias": "Σ over the rows of {g} · [{out} > 0]",
        },
    ),
    "conv2d": (
        _CONV,
        {
            "input": "Σ over filter and tap: {g}[where the tap saw the pixel] · {weight}[tap]",
            "weight": "Σ over picture and position: {g}[position] · {input}[pixel under the tap]",
            "bias": "Σ over pictures and positions of {g}",
        },
    ),
    # pictures
    "max_pool2d": ("the largest of each window of {input}", {"input": "{g} at the pixel that was the largest, 0 elsewhere"}),
    "sum_pool2d": ("Σ over each window of {input}", {"input": "{g} at every pixel of its window"}),
    "normalise": (
        "({input} - mean) / √(variance + ε) · {weight} + {bias}",
        {
            "input": "{weight} / √(variance + ε) · ({g} less its mean, less its part along the normalised {input})",
            "weight": "Σ {g} · the normalised {input}",
            "bias": "Σ {g}",
        },
    ),
    # many to few
    "sum": ("Σ {input}", {"input": _REDUCED}),
    "mean": ("Σ {input} / n", {"input": "{g} / n at every element"}),
    "amax": ("max {input}", {"input": "{g} at the largest, shared equally at a tie"}),
    "amin": ("min {input}", {"input": "{g} at the smallest, shared equally at a tie"}),
    "logsumexp": _function("log Σ exp({input})", "softmax({input})"),
    "norm": ("√Σ {input}²", {"input": "{g} · {input} / {out}"}),
    "softmax": ("exp({input}) / Σ exp({input})", {"input": "{out} · ({g} - Σ {g} · {out})"}),
    "log_softmax": ("{input} - log Σ exp({input})", {"input": "{g} - exp({out}) · Σ {g}"}),
    # losses
    "cross_entropy": (
        "mean of -log softmax({input})[{target}]",
        {"input": "{g} · (softmax({input}) - 1 at the true class) / n"},
    ),
    "nll_loss": ("mean of -{input}[{target}]", {"input": "-{g} / n at the true class, 0 elsewhere"}),
    "mse_loss": (
        "mean of ({input} - {target})²",
        {"input": "{g} · 2 / n · ({input} - {target})", "target": "-{g} · 2 / n · ({input} - {target})"},
    ),
    # the same numbers elsewhere
    "reshape": ("{input}, in another shape", {"input": "{g}, in the shape of {input}"}),
    "permute": ("{input}, dimensions in another order", {"input": "{g}, dimensions in the old order"}),
    "broadcast_to": ("{input}, stretched", {"input": "Σ {g} over what was stretched"}),
    "sum_to": ("Σ {input} over what was stretched", {"input": "{g}, stretched"}),
    "cat": ("{tensors}, one after the other", {"tensors": "each its part of {g}"}),
    "getitem": ("a part of {input}", {"input": "{g} at that part, 0 elsewhere"}),
    "put": ("{input} with {values} at a part of it", {"input": "{g}, 0 at that part", "values": "{g} at that part"}),
    "clone": ("{input}", {"input": "{g}"}),
    "cast": ("{input}, in another dtype", {"input": "{g}, in the dtype of {input}"}),
    "embedding": ("the rows {input} of {weight}", {"weight": "{g}, each row added at the place it was read from"}),
    "constant_pad": ("{input} with a margin", {"input": "{g} without the margin"}),
    "scaled_dot_product_attention": (
        "softmax({query} @ {key}ᵀ · scale) @ {value}",
        {
            "query": "dS @ {key} · scale, with dS the gradient of the scores",
            "key": "dSᵀ @ {query} · scale",
            "value": "Pᵀ @ {g}, with P the softmax",
        },
    ),
}


def forward(op: str) -> str:
    """The formula of ``op``, or "" if none is known."""
    return FORMULAS[op][0] if op in FORMULAS else ""


def rule(op: str, input: str) -> str:
    """The formula of the gradient with respect to ``input``, or ""."""
    return FORMULAS[op][1].get(input, "") if op in FORMULAS else ""


def tokens(formula: str, shapes: Mapping[str, tuple[int, ...]], options: Mapping[str, str]) -> Iterator[str | tuple[str, str]]:
    """The parts of a formula: text, and ``(name, shape)`` for what is an array. An input that was not given is left out."""
    given = {**shapes, **options}
    formula = re.sub(r" [+·] {(\w+)}", lambda m: m[0] if m[1] in given else "", formula)
    formula = re.sub(r"{(\w+)} (?:/ )", lambda m: m[0] if m[1] in given else "1 / ", formula)
    for part in re.split(r"({\w+})", formula):
        name = part[1:-1]
        if not part.startswith("{"):
            if part:
                yield part
        elif name in shapes:
            yield name, "×".join(map(str, shapes[name])) or "one number"
        else:
            yield options.get(name, name)
