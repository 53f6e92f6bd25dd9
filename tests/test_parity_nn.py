"""Modules against PyTorch's: the same weights give the same outputs, gradients, names in the state and text."""

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(7)


# name -> (the module, written once for both libraries; the shape of its input)
MODULES = {
    "identity": (lambda t, nn: nn.Identity(54, unused=True), (3, 4)),
    "linear": (lambda t, nn: nn.Linear(4, 3), (2, 4)),
    "linear_no_bias": (lambda t, nn: nn.Linear(4, 3, bias=False), (2, 5, 4)),
    "conv": (lambda t, nn: nn.Conv2d(3, 4, 3), (2, 3, 7, 6)),
    "conv_unbatched": (lambda t, nn: nn.Conv2d(3, 4, 3), (3, 7, 6)),
    "conv_all": (lambda t, nn: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2), (2, 4, 7, 6)),
    "conv_same": (lambda t, nn: nn.Conv2d(2, 3, (3, 4), padding="same", dilation=2, bias=False), (2, 2, 7, 6)),
    "conv_valid": (lambda t, nn: nn.Conv2d(2, 3, 2, padding="valid", stride=2), (2, 2, 7, 6)),
    "max_pool": (lambda t, nn: nn.MaxPool2d(2), (2, 3, 6, 7)),
    "max_pool_all": (lambda t, nn: nn.MaxPool2d(3, stride=2, padding=1, dilation=1, ceil_mode=True), (2, 3, 6, 7)),
    "avg_pool": (lambda t, nn: nn.AvgPool2d(2), (2, 3, 6, 7)),
    "avg_pool_all": (lambda t, nn: nn.AvgPool2d((3, 2), stride=2, padding=(1, 0), count_include_pad=False), (2, 3, 6, 7)),
    "adaptive": (lambda t, nn: nn.AdaptiveAvgPool2d((3, 2)), (2, 3, 7, 5)),
    "flatten": (lambda t, nn: nn.Flatten(), (2, 3, 4)),
    "flatten_some": (lambda t, nn: nn.Flatten(0, 1), (2, 3, 4)),
    "unflatten": (lambda t, nn: nn.Unflatten(1, (2, 3)), (4, 6)),
    "dropout_off": (lambda t, nn: nn.Dropout(0.3).eval(), (4, 6)),
    "dropout_all": (lambda t, nn: nn.Dropout(1.0), (4, 6)),
    "batch_norm": (lambda t, nn: nn.BatchNorm2d(3), (4, 3, 5, 2)),
    "batch_norm_eval": (lambda t, nn: nn.BatchNorm2d(3).eval(), (4, 3, 5, 2)),
    "batch_norm_1d": (lambda t, nn: nn.BatchNorm1d(3, eps=1e-3, momentum=None), (6, 3)),
    "batch_norm_1d_long": (lambda t, nn: nn.BatchNorm1d(3, affine=False, momentum=0.3), (4, 3, 5)),
    "batch_norm_no_stats": (lambda t, nn: nn.BatchNorm1d(3, track_running_stats=False).eval(), (6, 3)),
    "batch_norm_no_bias": (lambda t, nn: nn.BatchNorm2d(3, bias=False), (6, 3, 2, 2)),
    "relu": (lambda t, nn: nn.ReLU(), (3, 4)),
    "leaky_relu": (lambda t, nn: nn.LeakyReLU(0.2), (3, 4)),
    "elu": (lambda t, nn: nn.ELU(1.5), (3, 4)),
    "selu": (lambda t, nn: nn.SELU(), (3, 4)),
    "gelu": (lambda t, nn: nn.GELU(), (3, 4)),
    "gelu_tanh": (lambda t, nn: nn.GELU(approximate="tanh"), (3, 4)),
    "silu": (lambda t, nn: nn.SiLU(), (3, 4)),
    "softplus": (lambda t, nn: nn.Softplus(2.0, 1.0), (3, 4)),
    "sigmoid": (lambda t, nn: nn.Sigmoid(), (3, 4)),
    "log_sigmoid": (lambda t, nn: nn.LogSigmoid(), (3, 4)),
    "tanh": (lambda t, nn: nn.Tanh(), (3, 4)),
    "hardtanh": (lambda t, nn: nn.Hardtanh(-0.5, 0.7), (3, 4)),
    "relu6": (lambda t, nn: nn.ReLU6(), (3, 4)),
    "softmax": (lambda t, nn: nn.Softmax(dim=1), (3, 4)),
    "log_softmax": (lambda t, nn: nn.LogSoftmax(0), (3, 4)),
    "nested": (
        lambda t, nn: nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()), nn.Flatten(), nn.Linear(32, 3)
        ),
        (2, 1, 6, 6),
    ),
}  # fmt: skip


def copy_weights(theirs, ours):
    ours.load_state_dict({name: minidl.tensor(value.numpy()) for name, value in theirs.state_dict().items()})


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    make, shape = MODULES[name]
    rng = np.random.default_rng(3)
    theirs, ours = make(torch, torch.nn).double(), make(minidl, minidl.nn).double()
    assert repr(ours) == repr(theirs)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
    copy_weights(theirs, ours)
    for _ in range(2):  # twice, for running statistics
        x = 2 * rng.normal(size=shape)
        a, b = torch.tensor(x, requires_grad=True), minidl.tensor(x, requires_grad=True)
        out_a, out_b = theirs(a), ours(b)
        assert tuple(out_a.shape) == out_b.shape
        np.testing.assert_allclose(out_b.detach().numpy(), out_a.detach().numpy(), rtol=1e-10, atol=1e-12)
        g = rng.normal(size=out_b.shape)
        (ga, *gas) = torch.autograd.grad(out_a, [a, *theirs.parameters()], torch.tensor(g), allow_unused=True)
        (gb, *gbs) = minidl.autograd.grad(out_b, [b, *ours.parameters()], minidl.tensor(g), allow_unused=True)
        for p, q in zip([ga, *gas], [gb, *gbs], strict=True):
            np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=1e-9, atol=1e-11)
    state_a, state_b = theirs.state_dict(), ours.state_dict()
    assert list(state_a) == list(state_b)
    for key in state_a:
        np.testing.assert_allclose(state_b[key].numpy(), state_a[key].numpy(), rtol=1e-11, err_msg=key)
        assert str(state_b[key].dtype).split(".")[1] == str(state_a[key].dtype).split(".")[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.ReLU(inplace=True),
        lambda nn: nn.LeakyReLU(inplace=True),
        lambda nn: nn.ELU(inplace=True),
        lambda nn: nn.SELU(inplace=True),
        lambda nn: nn.SiLU(inplace=True),
        lambda nn: nn.Hardtanh(inplace=True),
        lambda nn: nn.ReLU6(inplace=True),
    ],
)
def test_in_place_activation(make):
    theirs, ours = make(torch.nn), make(minidl.nn)
    assert repr(ours) == repr(theirs)
    x, g = RNG.normal(size=(3, 4)) * 3, RNG.normal(size=(3, 4))
    grads = []
    for lib, module in ((torch, theirs), (minidl, ours)):
        leaf = lib.tensor(x, requires_grad=True)
        y = leaf * 1
        out = module(y)
        assert out is y
        out.backward(lib.tensor(g))
        grads.append((out.detach().numpy(), leaf.grad.numpy()))
    for p, q in zip(*grads):
        np.testing.assert_allclose(q, p, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.MaxPool2d((2, 3), (1, 2), ceil_mode=True),
        lambda nn: nn.Sequential(),
        lambda nn: nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), *(nn.Sequential(nn.ReLU()) for _ in "abc")]),
        lambda nn: nn.ModuleList(),
        lambda nn: nn.ModuleDict({"a": nn.Linear(1, 2), "b": nn.ModuleList([nn.Tanh()])}),
        lambda nn: nn.Sequential(nn.ReLU(), nn.Linear(1, 1), nn.Tanh(), nn.Tanh())[1:3],
        lambda nn: nn.Sequential(nn.ReLU(), nn.Tanh()).append(nn.Sigmoid()).insert(1, nn.Linear(1, 1)),
        lambda nn: nn.CrossEntropyLoss(),
        lambda nn: nn.BCEWithLogitsLoss(),
        lambda nn: nn.AdaptiveAvgPool2d(1),
        lambda nn: nn.Conv2d(2, 2, 3, groups=2, bias=False),
    ],
)
def test_repr(make):
    assert repr(make(minidl.nn)) == repr(make(torch.nn))


def test_parameter_list():
    def text(lib):
        return repr(lib.nn.ParameterList([lib.zeros(2, 3), lib.nn.Parameter(lib.zeros(4))])).replace(lib.__name__, "lib")

    assert text(minidl) == text(torch)


def test_parameter_dict():
    def text(lib):
        return repr(lib.nn.ParameterDict({"b": lib.zeros(2, 3), "a": lib.nn.Parameter(lib.zeros(4)), "n": 3}))

    assert text(minidl) == text(torch).replace("torch.FloatTensor", "minidl.float32")


def test_names_of_a_shared_tree():
    def tree(lib):
        nn = lib.nn
        shared = nn.Linear(2, 2)
        net = nn.Sequential()
        net.first, net.second, net.same = nn.Sequential(shared, nn.BatchNorm1d(2)), nn.ReLU(), shared
        net.register_buffer("scratch", lib.zeros(1), persistent=False)
        net.register_parameter("absent", None)
        net.first[0].bias = None
        net.first[0].extra = nn.Parameter(lib.zeros(1))
        return net

    a, b = tree(torch), tree(minidl)
    for method in ("named_parameters", "named_buffers", "named_children", "named_modules"):
        assert [n for n, _ in getattr(b, method)()] == [n for n, _ in getattr(a, method)()], method
    assert [n for n, _ in b.named_parameters(prefix="x", remove_duplicate=False)] == [
        n for n, _ in a.named_parameters(prefix="x", remove_duplicate=False)
    ]
    assert list(b.state_dict()) == list(a.state_dict())
    assert len(list(b.parameters())) == len(list(a.parameters()))


def test_state_goes_both_ways():
    def make(nn):
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))

    ours, theirs = make(minidl.nn), make(torch.nn)
    theirs.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in ours.state_dict().items()})
    x = RNG.normal(size=(5, 1, 4, 4)).astype("float32")
    out, expected = ours(minidl.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(out, expected, rtol=2e-4, atol=1e-5)


# -- losses


def number(shape):
    return RNG.normal(size=shape)


def chance(shape):
    return RNG.uniform(0.02, 0.98, shape)


LOSSES = {
    "mse": (lambda t, nn, r: nn.MSELoss(reduction=r), number, number),
    "l1": (lambda t, nn, r: nn.L1Loss(reduction=r), number, number),
    "smooth_l1": (lambda t, nn, r: nn.SmoothL1Loss(reduction=r), number, number),
    "smooth_l1_beta": (lambda t, nn, r: nn.SmoothL1Loss(reduction=r, beta=0.3), number, number),
    "smooth_l1_zero": (lambda t, nn, r: nn.SmoothL1Loss(reduction=r, beta=0.0), number, number),
    "huber": (lambda t, nn, r: nn.HuberLoss(reduction=r, delta=0.6), number, number),
    "bce": (lambda t, nn, r: nn.BCELoss(reduction=r), chance, chance),
    "bce_weight": (lambda t, nn, r: nn.BCELoss(t.tensor([0.5, 1.0, 2.0]).double(), reduction=r), chance, chance),
    "logits": (lambda t, nn, r: nn.BCEWithLogitsLoss(reduction=r), number, chance),
    "logits_weights": (
        lambda t, nn, r: nn.BCEWithLogitsLoss(
            t.tensor([0.5, 1.0, 2.0]).double(), reduction=r, pos_weight=t.tensor([3.0, 1.0, 0.5]).double()
        ),
        number,
        chance,
    ),
}  # fmt: skip


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_between_numbers(name, reduction):
    make, draw_input, draw_target = LOSSES[name]
    check_loss(lambda t: make(t, t.nn, reduction), draw_input((4, 3)), draw_target((4, 3)), target_grad=True)


CLASS_WEIGHT = [0.5, 2.0, 1.0]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    "options", [{}, {"ignore_index": 2}, {"label_smoothing": 0.2}, {"ignore_index": 0, "label_smoothing": 0.1}]
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4)])
def test_cross_entropy(reduction, options, weighted, shape):
    def make(t):
        return t.nn.CrossEntropyLoss(t.tensor(CLASS_WEIGHT).double() if weighted else None, reduction=reduction, **options)

    check_loss(make, number(shape), RNG.integers(0, 3, (shape[0], *shape[2:])))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nll(reduction):
    def make(t):
        return t.nn.NLLLoss(t.tensor(CLASS_WEIGHT).double(), ignore_index=1, reduction=reduction)

    check_loss(make, number((6, 3)), RNG.integers(0, 3, 6))


def check_loss(make, x, y, target_grad=False):
    results = []
    for lib in (torch, minidl):
        loss, a, b = make(lib), lib.tensor(x, requires_grad=True), lib.tensor(y, requires_grad=target_grad)
        out = loss(a, b)
        g = np.random.default_rng(5).normal(size=tuple(out.shape))
        grads = lib.autograd.grad(out, [a, b] if target_grad else [a], lib.tensor(g))
        results.append([out.detach().numpy(), *(grad.numpy() for grad in grads), repr(loss), list(loss.state_dict())])
    (*arrays, text, names), (*ours, our_text, our_names) = results
    for p, q in zip(arrays, ours, strict=True):
        np.testing.assert_allclose(q, p, rtol=1e-10, atol=1e-12)
    assert (our_text, our_names) == (text, names)


def test_bce_at_the_ends():
    for lib in (torch, minidl):
        x = lib.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
        loss = lib.nn.functional.binary_cross_entropy(x, lib.tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")
        loss.sum().backward()
        if lib is torch:
            expected = loss.detach().numpy(), x.grad.numpy()
    np.testing.assert_allclose(loss.detach().numpy(), expected[0])
    np.testing.assert_allclose(x.grad.numpy(), expected[1])


# -- functions


FUNCTIONS = {
    "normalize": lambda t, F, x: F.normalize(x),
    "normalize_zero": lambda t, F, x: F.normalize(x * 0),
    "normalize_l1": lambda t, F, x: F.normalize(x, p=1.0, dim=0, eps=2.0),
    "cosine": lambda t, F, x: F.cosine_similarity(x, x.flip(0) + 1),
    "cosine_last": lambda t, F, x: F.cosine_similarity(x, x[:1] * 2, dim=-1),
    "pad": lambda t, F, x: F.pad(x, (1, 2)),
    "pad_both": lambda t, F, x: F.pad(x, (1, -1, 2, 0), value=3.5),
    "relu6": lambda t, F, x: F.relu6(x * 5),
    "softmax": lambda t, F, x: F.softmax(x, dim=0, dtype=t.float32),
    "log_softmax": lambda t, F, x: F.log_softmax(x, -1),
    "softplus": lambda t, F, x: F.softplus(x * 30),
    "logsigmoid": lambda t, F, x: F.logsigmoid(x * 500),
    "silu": lambda t, F, x: F.silu(x * 500),
    "elu": lambda t, F, x: F.elu(x * 500),
    "gelu": lambda t, F, x: F.gelu(x * 50),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    f = FUNCTIONS[name]
    x = np.random.default_rng(11).normal(size=(3, 4))
    results = []
    for lib in (torch, minidl):
        leaf = lib.tensor(x, requires_grad=True)
        out = f(lib, lib.nn.functional, leaf)
        g = np.random.default_rng(5).normal(size=tuple(out.shape)).astype(str(out.dtype).split(".")[1])
        out.backward(lib.tensor(g))
        results.append((out.detach().numpy(), leaf.grad.numpy()))
    for p, q in zip(*results):
        assert p.dtype == q.dtype
        narrow = "float32" in str(results[0][0].dtype)  # what came out; the gradient was computed in it too
        np.testing.assert_allclose(q, p, rtol=1e-6 if narrow else 1e-9, atol=3e-7 if narrow else 1e-7)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "hardtanh", "relu6", "softplus", "logsigmoid", "silu", "gelu"])
def test_slope_at_the_kinks(name):
    slopes = []
    for lib in (torch, minidl):
        x = lib.tensor([-1.0, 0.0, 1.0, 6.0], requires_grad=True)
        getattr(lib.nn.functional, name)(x).sum().backward()
        slopes.append(x.grad.numpy())
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-5, atol=1e-6)


# -- clipping and initialisation


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm(norm_type, max_norm):
    grads = [RNG.normal(size=s) for s in [(3, 2), (4,), ()]]
    results = []
    for lib in (torch, minidl):
        params = [lib.nn.Parameter(lib.zeros(g.shape).double()) for g in grads] + [lib.nn.Parameter(lib.zeros(2))]
        for p, g in zip(params, grads):
            p.grad = lib.tensor(g)
        total = lib.nn.utils.clip_grad_norm_(params, max_norm, norm_type)
        results.append([total.numpy(), *(p.grad.numpy() for p in params[:3])])
    for p, q in zip(*results):
        np.testing.assert_allclose(q, p, rtol=1e-12)


def test_clip_grad_value_and_vectors():
    results = []
    g = RNG.normal(size=(2, 3)).astype("float32")
    for lib in (torch, minidl):
        params = [lib.nn.Parameter(lib.tensor(g)), lib.nn.Parameter(lib.tensor(g[0]))]
        params[0].grad = lib.tensor(g)
        lib.nn.utils.clip_grad_value_(params, 0.5)
        vec = lib.nn.utils.parameters_to_vector(params)
        lib.nn.utils.vector_to_parameters(vec.detach() * 2, params)
        results.append([params[0].grad.numpy(), vec.detach().numpy(), *(p.detach().numpy() for p in params)])
    for p, q in zip(*results):
        np.testing.assert_allclose(q, p, rtol=1e-6)


@pytest.mark.parametrize(
    "args", [("linear",), ("conv2d",), ("sigmoid",), ("tanh",), ("relu",), ("leaky_relu",), ("leaky_relu", 0.3), ("selu",)]
)
def test_calculate_gain(args):
    assert minidl.nn.init.calculate_gain(*args) == torch.nn.init.calculate_gain(*args)


INITS = {
    "uniform_": {"a": -1.0, "b": 2.0},
    "normal_": {"mean": 1.0, "std": 0.5},
    "trunc_normal_": {"mean": 0.5, "std": 1.5},
    "xavier_uniform_": {"gain": 2.0},
    "xavier_normal_": {},
    "kaiming_uniform_": {"a": 5**0.5},
    "kaiming_normal_": {"mode": "fan_out", "nonlinearity": "relu"},
    "orthogonal_": {"gain": 1.5},
    "constant_": {"val": 0.25},
    "ones_": {},
    "zeros_": {},
}


@pytest.mark.parametrize("name", INITS)
def test_init_draws_from_the_same_distribution(name):
    drawn = []
    for lib in (torch, minidl):
        lib.manual_seed(3)
        t = lib.empty(300, 40, 3)
        assert getattr(lib.nn.init, name)(t, **INITS[name]) is t
        drawn.append(np.sort(t.numpy(), axis=None))
    n = drawn[0].size
    gap = np.abs(drawn[0] - drawn[1])[n // 20 : -n // 20]  # quantiles from 5 % to 95 %, whose error is about 0.016
    assert gap.max() < 0.05 * max(drawn[0].std(), 1e-3)


def test_default_initialisation():
    for make in (lambda nn: nn.Linear(40, 500), lambda nn: nn.Conv2d(8, 500, 3, groups=2)):
        for name in ("weight", "bias"):
            a, b = (np.sort(getattr(make(lib.nn), name).detach().numpy(), axis=None) for lib in (torch, minidl))
            bound = max(abs(a.min()), a.max())
            assert abs(max(abs(b.min()), b.max()) - bound) < 0.02 * bound
            assert abs(a.std() - b.std()) < 0.07 * bound


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_full_backward_hooks():
    """The same calls with the same gradients, also where a hook changes them and where no input wants one."""
    seen = []
    for lib in (minidl, torch):
        calls = []
        net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.ReLU(), lib.nn.Linear(4, 2)).double()
        for i, p in enumerate(net.parameters()):
            p.data = lib.from_numpy(np.random.default_rng(i).normal(size=tuple(p.shape)))
        for layer in net:
            layer.register_full_backward_hook(
                lambda module, gi, go, calls=calls: calls.append(
                    (type(module).__name__, *(None if g is None else g.tolist() for g in (*gi, *go)))
                )
            )
        net[1].register_full_backward_hook(lambda module, gi, go: (2 * gi[0],))
        for requires_grad in (False, True):
            x = lib.from_numpy(np.random.default_rng(9).normal(size=(2, 3))).requires_grad_(requires_grad)
            (net(x) ** 2).sum().backward()
        calls.append([p.grad.tolist() for p in net.parameters()] + [x.grad.tolist()])
        seen.append(calls)
    ours, theirs = seen
    assert len(ours) == len(theirs) == 7
    for a, b in zip(ours, theirs):
        assert a[0] == b[0] if isinstance(a, tuple) else True
        for left, right in zip(a, b):
            if not isinstance(left, (str, type(None))):
                np.testing.assert_allclose(
                    np.concatenate([np.ravel(v) for v in left]), np.concatenate([np.ravel(v) for v in right])
                )
            else:
                assert left == right
