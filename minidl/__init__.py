"""minidl: deep learning from scratch, small enough to read in an afternoon, quick enough to train with.

The names are PyTorch's: a script in the manner of its tutorials runs with ``import minidl as torch``.
"""

__version__ = "0.1.0"

from math import e, inf, nan, pi

from . import autograd, backend, compiler, cuda, dtypes, nn, ops, optim, profiler, random, shapes, testing, utils, vision
from ._tensor import Tensor
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .autograd import functional as _functional
from .backend import device
from .compiler import CompileWarning, compile
from .dtypes import bool_ as bool
from .dtypes import (
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    result_type,
    set_default_dtype,
    short,
    uint8,
)
from .dtypes import float_ as float
from .dtypes import int_ as int
from .functions.arithmetic import (
    add,
    addcdiv,
    addcmul,
    clamp_max,
    clamp_min,
    copysign,
    deg2rad,
    erfc,
    float_power,
    fmax,
    fmin,
    frac,
    heaviside,
    hypot,
    isneginf,
    isposinf,
    ldexp,
    lerp,
    logaddexp2,
    logit,
    masked_fill,
    nan_to_num,
    positive,
    rad2deg,
    signbit,
    sinc,
    square,
    sub,
    xlogy,
)
from .functions.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from .functions.counting import bincount, one_hot
from .functions.creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    is_tensor,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from .functions.deviation import norm, std, var, var_mean
from .functions.filling import (
    poisson,
)
from .functions.grids import (
    logspace,
    scalar_tensor,
    tril_indices,
    triu_indices,
)
from .functions.indexing import (
    argwhere,
    bucketize,
    index_copy,
    index_fill,
    index_put,
    isin,
    masked_scatter,
    put,
    scatter_reduce,
    searchsorted,
    take,
    unique,
    unique_consecutive,
    unravel_index,
)
from .functions.joining import (
    block_diag,
    cartesian_prod,
    chunk,
    column_stack,
    combinations,
    dsplit,
    dstack,
    hsplit,
    hstack,
    meshgrid,
    select,
    split,
    stack,
    tensor_split,
    unbind,
    vander,
    vsplit,
    vstack,
)
from .functions.ordering import (
    aminmax,
    cummax,
    cummin,
    kthvalue,
    max,
    median,
    min,
    mode,
    msort,
    nanmedian,
    nanquantile,
    quantile,
    sort,
    topk,
)
from .functions.products import (
    addbmm,
    addmm,
    addmv,
    addr,
    baddbmm,
    bmm,
    cross,
    dot,
    einsum,
    inner,
    kron,
    matrix_power,
    mm,
    mv,
    outer,
    tensordot,
    trace,
    vdot,
)
from .functions.queries import (
    get_default_device,
    is_complex,
    is_nonzero,
    is_same_size,
    is_signed,
    set_default_device,
)
from .functions.sampling import (
    bernoulli,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from .functions.selecting import index_add, index_select, masked_select, take_along_dim
from .functions.shaping import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    diag,
    diagflat,
    expand,
    expand_as,
    flatten,
    fliplr,
    flipud,
    movedim,
    ravel,
    repeat,
    repeat_interleave,
    rot90,
    squeeze,
    t,
    tile,
    unflatten,
    view,
)
from .functions.statistics import (
    cdist,
    corrcoef,
    cov,
    diff,
    dist,
    histc,
    logcumsumexp,
    nanmean,
    nansum,
    std_mean,
    trapezoid,
)
from .kernels.threads import get_num_threads, set_num_threads
from .nn.functional.activation import (
    celu,
    celu_,
    hardshrink,
    prelu,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    threshold,
    threshold_,
)
from .nn.functional.distance import bilinear, cosine_similarity, pairwise_distance
from .nn.functional.pooling import adaptive_avg_pool1d, avg_pool1d, max_pool1d
from .nn.functional.resizing import channel_shuffle, pixel_shuffle, pixel_unshuffle
from .ops.compare import (
    allclose,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from .ops.elementwise import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    clamp,
    cos,
    cosh,
    div,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    trunc,
    where,
)
from .ops.index import gather, nonzero, scatter, scatter_add
from .ops.layout import (
    broadcast_tensors,
    cat,
    contiguous,
    diag_embed,
    diagonal,
    flip,
    narrow,
    permute,
    reshape,
    roll,
    transpose,
    tril,
    triu,
    unsqueeze,
)
from .ops.layout import (
    copy as clone,
)
from .ops.linear import linear, matmul
from .ops.pool import max_pool2d
from .ops.reduce import all, amax, amin, any, argmax, argmin, count_nonzero, log_softmax, logsumexp, mean, softmax, sum
from .ops.scan import argsort, cumprod, cumsum, prod
from .printing import set_printoptions
from .random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from .serialization import load, save
from .shapes import ShapeError, broadcast_shapes
from .vision import models as _models

# further names of the same functions, as in PyTorch
absolute, clip, concat, concatenate, moveaxis, swapaxes = abs, clamp, cat, cat, movedim, transpose
multiply, subtract, divide, true_divide, negative, broadcast_to = mul, sub, div, div, neg, expand
greater, greater_equal, less, less_equal, not_equal, swapdims = gt, ge, lt, le, ne, transpose
sgn, fix, row_stack, trapz = sign, trunc, vstack, trapezoid
arcsin, arccos, arctan, arctan2, arcsinh, arccosh, arctanh = asin, acos, atan, atan2, asinh, acosh, atanh
is_floating_point, numel, detach, Size = Tensor.is_floating_point, Tensor.numel, Tensor.detach, tuple
