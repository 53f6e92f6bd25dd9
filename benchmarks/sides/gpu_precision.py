"""How far products in few bits are from float64: rows of gpu_check.py.

The norm of the difference over the norm of the exact result, and the same of each gradient; the worst of these counts. The
exact ones are made of the very numbers, which are drawn in float32: so what counts is that an operation rounds them (TF32 and
float16 leave 11 bits, bfloat16 8), and how it adds up. Once more all numbers are such as need no rounding; what is then left
are the sums, and that PyTorch's autocast rounds results too, where minidl leaves them in float32. That is told, and has no bar.
"""

import contextlib

import numpy as np

BARS = {"float32": 1e-5, "TF32": 5e-4, "bfloat16": 1e-2, "float16": 5e-4}
BITS = {"float32": 24, "TF32": 11, "bfloat16": 8, "float16": 11}  # of a number's precision
CASES = {  # what is done, and with what: shapes at the sizes of a network, and small ones
    "conv2d 3x3, 32 to 64 channels": (
        lambda m, x, w, b: m.nn.functional.conv2d(x, w, b, padding=1),
        [(100, 32, 16, 16), (64, 32, 3, 3), (64,)],
        [(3, 8, 5, 6), (9, 8, 3, 3), (9,)],
    ),
    "linear": (
        lambda m, x, w, b: m.nn.functional.linear(x, w, b),
        [(1024, 1024), (1024, 1024), (1024,)],
        [(16, 40), (24, 40), (24,)],
    ),
    "matmul in batches": (lambda m, a, b: m.matmul(a, b), [(64, 128, 64), (64, 64, 128)], [(2, 8, 16), (2, 16, 8)]),
}


def drawn(rng, shape, bits):
    """Normal numbers of so many bits, in float32."""
    fraction, exponent = np.frexp(rng.normal(size=shape))
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits).astype(np.float32)


@contextlib.contextmanager
def products_in(library, device, precision):
    """Inside, products of one library are made in this precision."""
    backends, half = library.backends, precision in ("bfloat16", "float16")
    before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    try:
        backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = precision == "TF32"
        with library.autocast(device, getattr(library, precision)) if half else contextlib.nullcontext():
            yield
    finally:
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before


def made(side, title, precision, bits, small, dtype="float32"):
    """The result and the gradients, in float64; in the same numbers whatever the ``dtype``."""
    library, _, device = side
    function, *shapes = CASES[title]
    rng = np.random.default_rng(0)

    def tensor(shape, **options):
        return library.tensor(drawn(rng, shape, bits).astype(dtype), device=device, **options)

    inputs = [tensor(shape, requires_grad=True) for shape in shapes[small]]
    with products_in(library, device, precision):
        out = function(library, *inputs)
        (out * tensor(tuple(out.shape))).sum().backward()
    return [t.detach().double().cpu().numpy() for t in (out, *(x.grad for x in inputs))]


def distances(sides, title, precision, bits, small):
    """By side, the relative norm of the result and of each gradient."""
    exact = made(sides.get("PyTorch", sides["minidl"]), title, "float32", bits, small, "float64")
    found = {name: made(side, title, precision, bits, small) for name, side in sides.items()}
    norm = np.linalg.norm
    return {name: [float(norm(a - b) / norm(b)) for a, b in zip(all_of_it, exact)] for name, all_of_it in found.items()}


def run(sides, small, tried):
    """All rows."""
    for title in CASES:
        for precision, bar in BARS.items():

            def measure(title=title, precision=precision, bar=bar):
                away = distances(sides, title, precision, BITS["float32"], small)
                held = distances(sides, title, precision, BITS[precision], small)
                return {
                    "ok": all(distance <= bar for distance in away["minidl"]),
                    "relative norm": float(np.max(away["minidl"])),
                    "bar": bar,
                    "of result and gradients": away,
                    "of numbers that need no rounding": held,
                }

            tried("parity", f"{title}, by norm, {precision}", measure)
