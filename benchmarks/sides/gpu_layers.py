"""The layers of gpu_check.py: what is done, and with what: shapes of normal numbers, or a bound and a shape of whole ones.

Once at the sizes of a network, and once in few enough numbers for finite differences.
"""

LAYERS = {
    "conv2d 3x3, 32 to 64 channels": (
        lambda m, F, x, w, b: F.conv2d(x, w, b, padding=1),
        [(100, 32, 16, 16), (64, 32, 3, 3), (64,)],
        [(2, 2, 4, 5), (3, 2, 3, 3), (3,)],
    ),
    "max_pool2d": (lambda m, F, x: F.max_pool2d(x, 2), [(100, 32, 32, 32)], [(2, 2, 4, 6)]),
    "cross_entropy": (lambda m, F, x, y: F.cross_entropy(x, y), [(4096, 1000), (1000, (4096,))], [(4, 5), (5, (4,))]),
    "conv2d 3x3, 64 to 64 channels": (
        lambda m, F, x, w: F.conv2d(x, w, padding=1),
        [(128, 64, 32, 32), (64, 64, 3, 3)],
        [(1, 3, 5, 4), (2, 3, 3, 3)],
    ),
    "conv2d 1x1, stride 2": (
        lambda m, F, x, w: F.conv2d(x, w, stride=2),
        [(64, 64, 32, 32), (128, 64, 1, 1)],
        [(2, 2, 5, 4), (3, 2, 1, 1)],
    ),
    "conv2d depthwise": (
        lambda m, F, x, w: F.conv2d(x, w, padding=1, groups=len(w)),
        [(64, 64, 32, 32), (64, 1, 3, 3)],
        [(2, 3, 4, 4), (3, 1, 3, 3)],
    ),
    "conv2d dilated, 2 groups": (
        lambda m, F, x, w: F.conv2d(x, w, dilation=2, groups=2),
        [(32, 32, 32, 32), (32, 16, 3, 3)],
        [(1, 4, 6, 5), (4, 2, 3, 3)],
    ),
    "max_pool2d, overlapping": (lambda m, F, x: F.max_pool2d(x, 3, 2, 1), [(64, 64, 32, 32)], [(1, 2, 5, 6)]),
    "avg_pool2d": (lambda m, F, x: F.avg_pool2d(x, 2), [(64, 64, 32, 32)], [(2, 2, 4, 4)]),
    "batch_norm": (
        lambda m, F, x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [(128, 64, 32, 32), (64,), (64,)],
        [(3, 2, 4, 3), (2,), (2,)],
    ),
    "layer_norm": (
        lambda m, F, x, w, b: F.layer_norm(x, w.shape, w, b),
        [(64, 128, 512), (512,), (512,)],
        [(2, 3, 5), (5,), (5,)],
    ),
    "linear": (
        lambda m, F, x, w, b: F.linear(x, w, b),
        [(1024, 1024), (1024, 1024), (1024,)],
        [(3, 4), (2, 4), (2,)],
    ),
    "matmul in batches": (lambda m, F, a, b: m.matmul(a, b), [(64, 128, 64), (64, 64, 128)], [(2, 3, 4), (2, 4, 2)]),
    "softmax": (lambda m, F, x: F.softmax(x, -1), [(4096, 1000)], [(3, 5)]),
    "embedding": (lambda m, F, w, i: F.embedding(i, w), [(10000, 256), (10000, (64, 128))], [(4, 3), (4, (2, 5))]),
    "gelu": (lambda m, F, x: F.gelu(x), [(64, 128, 1024)], [(7,)]),
    "interpolate": (
        lambda m, F, x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
        [(32, 16, 32, 32)],
        [(1, 2, 3, 4)],
    ),
    "attention": (
        lambda m, F, q, k, v: F.scaled_dot_product_attention(q, k, v),
        [(16, 8, 128, 64)] * 3,
        [(1, 2, 3, 4)] * 3,
    ),
}
