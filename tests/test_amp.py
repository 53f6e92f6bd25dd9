"""Mixed precision: which products are rounded, and when; and losses that are scaled. On a GPU, or on the stand-in for one."""

import pickle
import threading

import numpy as np
import pytest
from standin.suite import real_gpu
from test_cuda import gpu  # noqa: F401

import minidl
import minidl.nn.functional as F
from minidl import nn, optim
from minidl.compiler import explain
from minidl.kernels.precision import allowed, here
from minidl.utils.checkpoint import checkpoint

BARS = {minidl.bfloat16: 1e-2, minidl.float16: 1e-3}  # by norm, from float64


rounds = pytest.mark.skipif(real_gpu(), reason="cublasLt may multiply more precisely than it is told to")


@pytest.fixture(autouse=True)
def ready(gpu):  # noqa: F811
    """A GPU is known, and afterwards nothing is rounded."""
    minidl.zeros(1, device="cuda")
    yield
    assert here.autocast is None
    allowed.update(matmul="float32", conv="float32")


def product(a, b):
    with minidl.device("cuda"):
        return minidl.tensor([a]) @ minidl.tensor([[b]])


FINE = 1 + 2.0**-9  # lost in bfloat16, kept in float16
FINER = 1 + 2.0**-12  # lost in float16 and tf32 too


# -- autocast


@rounds
def test_what_is_rounded_inside():
    with minidl.autocast("cuda"):
        assert product(FINE, 1.0) == FINE and product(FINER, 1.0) == 1
        with minidl.autocast("cuda", dtype=minidl.bfloat16):
            assert product(FINE, 1.0) == 1 and product(FINE, 1.0).dtype == minidl.float32
            assert (minidl.tensor([FINER], device="cuda") * 1.0) == FINER  # no product of matrices
            with minidl.autocast("cuda", enabled=False):
                assert product(FINER, 1.0) == FINER
            assert product(FINE, 1.0) == 1
            wide = minidl.tensor([[FINER]], dtype=minidl.float64, device="cuda")
            assert (wide @ wide) == FINER**2
        assert product(FINE, 1.0) == FINE
    assert product(FINER, 1.0) == FINER


def test_results_are_sums_in_float32():
    """In bfloat16, 256 + 1 is 256."""
    with minidl.autocast("cuda", dtype=minidl.bfloat16), minidl.device("cuda"):
        assert minidl.tensor([256.0, 1.0]) @ minidl.ones(2) == 257


@rounds
def test_a_decorator_and_its_calls():
    autocast = minidl.autocast("cuda", minidl.bfloat16)

    @autocast
    def f(n):
        """Say it."""
        return product(FINE, 1.0).item() if n == 0 else f(n - 1)

    assert f(2) == 1 and f.__doc__ == "Say it."
    with autocast, autocast:
        assert minidl.is_autocast_enabled() and minidl.is_autocast_enabled("cuda") and not minidl.is_autocast_enabled("cpu")
        assert minidl.get_autocast_dtype("cuda") is minidl.bfloat16
    assert not minidl.is_autocast_enabled() and minidl.get_autocast_dtype("cuda") == minidl.float16
    with pytest.raises(ZeroDivisionError), minidl.amp.autocast("cuda"):
        raise ZeroDivisionError
    with pytest.raises(TypeError, match="decorates a function, got int"):
        autocast(3)


def test_other_threads_are_as_they_were():
    found = []
    with minidl.autocast("cuda"):
        thread = threading.Thread(target=lambda: found.append(minidl.is_autocast_enabled()))
        thread.start()
        thread.join()
    assert found == [False]


NETS = {
    "convolutions": lambda: (nn.Sequential(nn.Conv2d(3, 9, 3, 2, 1), nn.Tanh(), nn.ConvTranspose2d(9, 4, 2)), (3, 3, 7, 6)),
    "linear": lambda: (nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 3)), (4, 2, 5)),
    "LSTM": lambda: (nn.LSTM(8, 8, 2, batch_first=True), (9, 3, 8)),
    "attention": lambda: (nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), (2, 5, 8)),
}


def gradients(net, x, probe, autocast, inside=False):
    """The output, and the gradients of all that there is."""
    net.zero_grad()
    x = x.detach().requires_grad_()
    with autocast:
        out = net(x)
        loss = ((out[0] if isinstance(out, tuple) else out) * probe).sum()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    return [out[0] if isinstance(out, tuple) else out, x.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("dtype", BARS, ids=repr)
@pytest.mark.parametrize("name", NETS)
def test_layers_and_their_gradients(name, dtype):
    minidl.manual_seed(0)
    with minidl.device("cpu"):
        net, shape = NETS[name]()
        x = minidl.randn(*shape)
        out = net(x)
        probe = minidl.randn(*(out[0] if isinstance(out, tuple) else out).shape)
    off = minidl.autocast("cpu", enabled=False)
    wanted = gradients(net.double(), x.double(), probe.double(), off)
    wanted = [t.detach().numpy().copy() for t in wanted]
    net, x, probe = net.float().cuda(), x.cuda(), probe.cuda()
    plain, found, again = (
        [t.detach().cpu().numpy() for t in gradients(net, x, probe, autocast, inside)]
        for autocast, inside in ((off, False), (minidl.autocast("cuda", dtype), False), (minidl.autocast("cuda", dtype), True))
    )
    scale = max(np.linalg.norm(w) for w in wanted[1:])  # some gradients are 0 but for rounding: those of a key's bias
    for w, p, f, a in zip(wanted, plain, found, again):
        size = max(np.linalg.norm(w), 1e-2 * scale)
        assert np.linalg.norm(p - w) < 1e-5 * size
        assert np.linalg.norm(f - w) < BARS[dtype] * size
        assert np.array_equal(f, a)  # where backward() is called does not matter
    if name == "convolutions":  # which are ours; cublasLt may be more precise than it is told to be
        assert np.linalg.norm(found[1] - wanted[1]) > 1e-5 * np.linalg.norm(wanted[1])


@rounds
def test_gradients_of_gradients_and_what_is_computed_twice():
    x = minidl.tensor([[FINE]], device="cuda", requires_grad=True)
    with minidl.autocast("cuda", minidl.bfloat16):
        y = x @ x
    (slope,) = minidl.autograd.grad(y, x, minidl.tensor([[FINE]], device="cuda"), create_graph=True)
    assert slope == 2  # of rounded numbers
    (curve,) = minidl.autograd.grad(slope, x, minidl.tensor([[FINE]], device="cuda"))
    assert curve == 2
    with minidl.autocast("cuda", minidl.bfloat16):
        y = checkpoint(lambda x: x @ x @ x, x, use_reentrant=False)
    y.backward(minidl.tensor([[FINE]], device="cuda"))
    assert x.grad == 3 and not minidl.is_autocast_enabled()


def test_what_is_refused(monkeypatch):
    with pytest.raises(NotImplementedError, match=r"autocast: on the CPU products are in float32 only.*leave it out"):
        minidl.autocast("cpu")
    with pytest.raises(ValueError, match="device_type must be a str such as 'cuda', got int"):
        minidl.autocast(0)
    with pytest.raises(RuntimeError, match="device_type must be 'cuda' or 'cpu', got 'tpu'"):
        minidl.autocast("tpu")
    with pytest.raises(TypeError, match=r"must be minidl.float16 or minidl.bfloat16, got minidl.float64"):
        minidl.autocast("cuda", minidl.float64)
    with pytest.raises(TypeError, match=r"minidl.bfloat16 is not one that tensors hold"):
        minidl.zeros(2, dtype=minidl.bfloat16)
    assert pickle.loads(pickle.dumps(minidl.bfloat16)) is minidl.bfloat16
    monkeypatch.setattr(minidl.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(RuntimeError, match=r"wants a GPU of compute capability 8.0 or more, this one has 7.5"):
        minidl.autocast("cuda")
    monkeypatch.setattr(minidl.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="autocast: there is no GPU"), minidl.autocast("cuda"):
        assert not minidl.is_autocast_enabled()


# -- tf32


@rounds
def test_products_of_float32_may_be_less_precise():
    x, w = (minidl.full((1, 1, 1, 1), n, device="cuda") for n in (FINER, 1.0))
    assert minidl.get_float32_matmul_precision() == "highest" and not minidl.backends.cuda.matmul.allow_tf32
    for level, fine, finer in (("high", FINE, 1), ("medium", 1, 1), ("highest", FINE, FINER)):
        minidl.set_float32_matmul_precision(level)
        assert product(FINE, 1.0) == fine and product(FINER, 1.0) == finer and F.conv2d(x, w) == FINER
        assert minidl.get_float32_matmul_precision() == level
        assert minidl.backends.cuda.matmul.allow_tf32 == (level != "highest")
    minidl.backends.cuda.matmul.allow_tf32 = True
    assert minidl.get_float32_matmul_precision() == "high" and product(FINER, 1.0) == 1
    minidl.backends.cudnn.allow_tf32 = True
    assert F.conv2d(x, w) == 1 and F.conv2d(x.double(), w.double()) == FINER
    with pytest.raises(ValueError, match="wants 'highest', 'high' or 'medium', got 'low'"):
        minidl.set_float32_matmul_precision("low")


# -- whole steps


class Run:
    """Training with autocast inside or around the step."""

    def __init__(self, where, compiled):
        minidl.manual_seed(0)
        with minidl.device("cpu"):
            layers = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3)
            self.net = nn.Sequential(*layers).cuda()
        self.opt, self.rng, self.where = optim.SGD(self.net.parameters(), 0.1, momentum=0.9), np.random.default_rng(0), where
        self.autocast = minidl.autocast("cuda", minidl.bfloat16, enabled=where is not None)

        def step(x, y):
            self.opt.zero_grad()
            with self.autocast if where == "inside" else minidl.autocast("cpu", enabled=False):
                loss = F.cross_entropy(self.net(x), y)
            loss.backward()
            self.opt.step()
            return loss

        self.step = minidl.compile(step) if compiled else step

    def train(self, n):
        losses = []
        for _ in range(n):
            x = minidl.tensor(self.rng.normal(size=(5, 2, 6, 6)), dtype=minidl.float32, device="cuda")
            y = minidl.tensor(self.rng.integers(0, 3, 5), device="cuda")
            with self.autocast if self.where == "around" else minidl.autocast("cpu", enabled=False):
                with minidl.backend.gpu.kernels.suitable():  # products by the same kernel
                    losses.append(self.step(x, y))
        return [loss.item() for loss in losses]


@pytest.mark.parametrize("where", ["inside", "around"])
def test_a_captured_step(where):
    compiled, eager, plain = Run(where, True), Run(where, False), Run(None, False)
    found = compiled.train(7)
    assert "captured as a CUDA graph" in explain(compiled.step)
    assert found == eager.train(7) and not minidl.is_autocast_enabled()
    np.testing.assert_allclose(found, plain.train(7), rtol=2e-2)
    assert found != plain.train(7)


@rounds
def test_a_compiled_step_is_another_one_where_the_precision_is():
    run = Run(None, True)
    a = minidl.ones(1, 1, device="cuda") * FINER
    f = minidl.compile(lambda x: x @ x)
    for _ in range(4):
        assert f(a) == FINER**2
    minidl.set_float32_matmul_precision("high")
    for _ in range(4):
        assert f(a) == 1
    with minidl.autocast("cuda"):
        for _ in range(4):
            assert f(a) == 1
    assert run.train(1)


def test_a_program_that_stops_in_the_middle_leaves_nothing_switched_on():
    @minidl.compile
    def f(x):
        with minidl.autocast("cuda"):
            return x @ x

    a = minidl.ones(2, 2, device="cuda")
    f(a), f(a)
    program = next(iter(f._compiled.programs.values()))
    program.lines[1] = (lambda *_: 1 / 0, False, *program.lines[1][2:])
    with pytest.raises(ZeroDivisionError):
        program.run([a])
    assert not minidl.is_autocast_enabled()


# -- losses that are scaled


@rounds
def test_small_gradients_survive_in_float16():
    w = minidl.ones(1, 1, device="cuda", requires_grad=True)
    x = minidl.full((1, 1), 2.0**-3, device="cuda")
    scaler, opt = minidl.amp.GradScaler(), optim.SGD([w], 1.0)
    for scale in (False, True):
        opt.zero_grad()
        with minidl.autocast("cuda"):
            loss = (x @ w).sum() * 2.0**-26  # too small for float16 by half
        (scaler.scale(loss) if scale else loss).backward()
        assert w.grad == (2.0**-29 * 2.0**16 if scale else 0)
    scaler.step(opt)
    scaler.update()
    assert w.grad == 2.0**-29 and scaler.get_scale() == 2.0**16


OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9), "Adam": lambda p: optim.Adam(p), "AdamW": lambda p: optim.AdamW(p),
    "RMSprop": lambda p: optim.RMSprop(p), "Adagrad": lambda p: optim.Adagrad(p), "NAdam": lambda p: optim.NAdam(p),
}  # fmt: skip


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_step_with_an_infinite_gradient_is_left_out(name, device):
    def params():
        return [minidl.ones(shape, device=device, requires_grad=True) for shape in ((3, 70), (5,), ())]

    ours, theirs = params(), params()
    opt, other = OPTIMISERS[name](ours), OPTIMISERS[name](theirs)
    scaler = minidl.amp.GradScaler(device, 4.0, growth_interval=2)
    scales = []
    for i, bad in enumerate([None, np.inf, None, np.nan, None, None, -np.inf]):
        for p, q in zip(ours, theirs):
            p.grad, q.grad = (minidl.full(p.shape, float(i - 2), device=device) for _ in range(2))
            p.grad *= scaler.get_scale()
        if bad is not None:
            ours[i % 2].grad.view(-1)[-1] = bad
        scaler.step(opt)
        scaler.update()
        scales.append(scaler.get_scale())
        if bad is None:
            other.step()
        for p, q in zip(ours, theirs):
            assert p.tolist() == q.tolist()
    assert scales == [4, 2, 2, 1, 1, 2, 1]


def test_unscaled_gradients_can_be_clipped():
    w = minidl.ones(4, device="cuda", requires_grad=True)
    scaler, opt = minidl.amp.GradScaler(init_scale=8.0), optim.SGD([w], 1.0)
    scaler.scale((3 * w).sum()).backward()
    scaler.unscale_(opt)
    assert w.grad.tolist() == [3.0] * 4
    nn.utils.clip_grad_norm_([w], 1.0)
    scaler.step(opt)
    np.testing.assert_allclose(w.tolist(), [0.5] * 4, rtol=1e-6)
    with pytest.raises(RuntimeError, match="unscaled already"):
        scaler.unscale_(opt)
    with pytest.raises(RuntimeError, match="step was taken already"):
        scaler.step(opt)
    scaler.update()
    assert scaler.get_scale() == 8


def test_a_scaler_alone():
    scaler = minidl.amp.GradScaler("cpu", 2.0, growth_interval=5)
    a, b = minidl.ones(2), minidl.ones(())
    one, (two,) = scaler.scale((a, [b]))
    assert one.tolist() == [2, 2] and two.tolist() == 2
    for wrong in (3, {a}):
        with pytest.raises(TypeError, match="wants a Tensor, or a list or tuple of them"):
            scaler.scale(wrong)
    with pytest.raises(RuntimeError, match="no step was taken"):
        scaler.update()
    opt = optim.SGD([minidl.ones(2, requires_grad=True)], 0.1)
    with pytest.raises(RuntimeError, match="call backward"):
        scaler.step(opt)
    with pytest.raises(NotImplementedError, match="a closure is not supported"):
        scaler.step(opt, lambda: None)
    half = minidl.ones(2, dtype=minidl.float16, requires_grad=True)
    half.sum().backward()
    with pytest.raises(ValueError, match="keep the parameters in float32"):
        scaler.unscale_(optim.SGD([half], 0.1))
    scaler.update(16.0)
    scaler.set_growth_factor(3.0), scaler.set_backoff_factor(0.25), scaler.set_growth_interval(7)
    other = minidl.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == {
        "scale": 16.0, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 7, "_growth_tracker": 0,
    }  # fmt: skip
    assert (other.get_growth_factor(), other.get_backoff_factor(), other.get_growth_interval()) == (3.0, 0.25, 7)
    assert pickle.loads(pickle.dumps(other)).get_scale() == 16
    with pytest.raises(ValueError, match="lacks scale, growth_factor"):
        other.load_state_dict({})
    with pytest.raises(ValueError, match="growth_factor must be above 1"):
        minidl.amp.GradScaler("cpu", growth_factor=1.0)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_what_is_compiled_scales_by_the_factor_as_it_is_then(device):
    """Up to `backward`; `step`, which waits, comes after it."""
    w, scaler = minidl.ones(2, device=device, requires_grad=True), minidl.amp.GradScaler(device, 4.0, growth_interval=3)
    opt, seen = optim.SGD([w], 0.0), []

    @minidl.compile
    def forward_and_back(x):
        opt.zero_grad()
        scaler.scale((w * x).sum()).backward()

    for i in range(9):
        forward_and_back(minidl.full((2,), np.inf if i == 7 else 3.0, device=device))
        seen.append(w.grad.tolist()[0])
        scaler.step(opt)
        scaler.update()
    scaler.load_state_dict({**scaler.state_dict(), "scale": 5.0})
    forward_and_back(minidl.ones(2, device=device))
    assert seen == [12] * 3 + [24] * 3 + [48, np.inf, 24] and w.grad.tolist() == [5, 5]
    assert ("captured as a CUDA graph" if device == "cuda" else "steps became") in minidl.compiler.explain(forward_and_back)
    assert scaler.scale(minidl.tensor(2, device=device)) == 10 and scaler.scale(minidl.ones((), device=device).double()) == 5


def test_a_scaler_that_is_not_enabled(monkeypatch):
    off, w = minidl.amp.GradScaler("cpu", enabled=False), minidl.ones(2, requires_grad=True)
    opt = optim.SGD([w], 1.0)
    off.scale(w.sum()).backward()
    off.unscale_(opt), off.step(opt), off.update(), off.load_state_dict({})
    assert w.tolist() == [0, 0] and off.get_scale() == 1 and off.state_dict() == {} and not off.is_enabled()
    monkeypatch.setattr(minidl.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="GradScaler: there is no GPU"):
        assert not minidl.amp.GradScaler().is_enabled()
