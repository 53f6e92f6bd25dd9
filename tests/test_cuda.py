"""Devices, on a GPU or on the stand-in for one: where tensors are made and go, what may meet, what waits, what is refused."""

import collections
import copy
import importlib.metadata
import io
import pickle
import sys
import types
from concurrent import futures

import numpy as np
import pytest
from standin import emulator, strict
from standin.suite import real_gpu

import minidl
import minidl.nn.functional as F
from minidl import backend, cuda, devices, nn, optim, random
from minidl.autograd import Function
from minidl.autograd.tape import wrap
from minidl.kernels import symbols
from minidl.sequences import attention
from minidl.testing import GradcheckError, gradcheck
from minidl.utils.data import DataLoader
from minidl.vision import transforms

CUPY = ("cupy", "cupy.cuda", "cupyx", "cupyx.scipy", "cupyx.scipy.special")


@pytest.fixture(autouse=True)
def gpu(request):
    """A GPU as it is; or the stand-in, and afterwards the world as it was."""
    if real_gpu() or request.config.on_gpu is not None:
        yield
        return
    if emulator.compiler() is None:
        pytest.skip("there is no g++ to run CUDA kernels on the CPU")
    kept = {name: sys.modules.get(name) for name in CUPY}
    strict.install()
    yield
    forget()
    for name, module in kept.items():
        sys.modules.pop(name, None) if module is None else sys.modules.__setitem__(name, module)


def forget():
    backend.gpu, backend.several = None, False
    for kind in backend.gpu_types:
        backend.types.pop(kind)
    backend.gpu_types.clear()
    random.of_gpus.clear()
    devices._noted.clear()
    strict.here.device = 0


on_standin = pytest.mark.skipif(real_gpu(), reason="what is tested is the stand-in, or what only it can pretend, as two GPUs")


# -- where tensors are


def test_tensors_are_made_where_they_are_asked_for():
    like = minidl.ones(2, 3, device="cuda")
    made = [
        minidl.zeros(2, device="cuda"), minidl.full((2,), 3, device="cuda:0"), minidl.arange(3, device=minidl.device("cuda")),
        minidl.linspace(0, 1, 3, device="cuda"), minidl.eye(2, device="cuda"), minidl.rand(3, device="cuda"),
        minidl.randint(5, (2,), device="cuda"), minidl.randperm(4, device="cuda"), minidl.tensor([1, 2], device="cuda"),
        minidl.as_tensor(np.ones(2), device="cuda"), minidl.tril_indices(2, 2, device="cuda"), like, minidl.zeros_like(like),
        minidl.randn_like(like), like.new_ones(2), like.new_tensor([1.0]), minidl.full_like(like, 2), like + 1,
        minidl.zeros_like(minidl.ones(2, device="cpu"), device="cuda"), like.clone(), like[0], like.sum(), like > 0,
        minidl.tensor(like), 2 * like,
    ]  # fmt: skip
    for t in made:
        assert t.device == minidl.device("cuda", 0) == "cuda:0" and t.is_cuda and t.get_device() == 0, t
        assert "device='cuda:0'" in repr(t)
    for t in (minidl.zeros_like(like, device="cpu"), like.cpu(), like.to("cpu"), minidl.from_numpy(np.ones(1)).cpu()):
        assert t.device == "cpu" and not t.is_cuda and t.get_device() == -1
    np.testing.assert_array_equal(minidl.arange(2, 11, 3, device="cuda").cpu().numpy(), [2, 5, 8])


def test_the_default_device():
    before = minidl.get_default_device()
    with minidl.device("cuda"):
        assert minidl.zeros(1).is_cuda and minidl.tensor([1.0]).is_cuda and nn.Linear(2, 3).weight.is_cuda
        assert not minidl.zeros(1, device="cpu").is_cuda
        with minidl.device("cpu"):
            assert not minidl.zeros(1).is_cuda
    assert minidl.get_default_device() == before
    minidl.set_default_device("cuda:0")
    assert minidl.ones(2).is_cuda and minidl.get_default_device() == "cuda:0"
    minidl.set_default_device(None)
    assert not minidl.ones(2).is_cuda
    minidl.set_default_device(before)


def test_to_and_back(request):
    x = minidl.tensor([[1.0, 2.0], [3.0, 4.0]], device="cpu", requires_grad=True)
    y = x.to("cuda", minidl.float64)
    assert y.dtype == minidl.float64 and y.is_cuda and y.grad_fn is not None
    (y * y).sum().backward()
    assert x.grad.device == "cpu" and x.grad.dtype == minidl.float32 and x.grad.tolist() == [[2, 4], [6, 8]]
    z = x.detach().cuda()
    assert z.cuda() is z and z.to("cuda:0") is z and z.to(z) is z and z.to(0) is z and z.to("cuda", copy=True) is not z
    assert z.cpu().tolist() == x.tolist() and z.T.cpu().is_contiguous() and x.detach().T.cuda().is_contiguous()
    if request.config.on_gpu is None:  # the suite on a GPU allows it
        for read in (z.numpy, lambda: np.asarray(z), lambda: np.sin(z)):
            with pytest.raises(TypeError, match=r"cuda:0.*cpu\(\)"):
                read()
    assert z.numpy(force=True).tolist() == x.tolist()
    again = pickle.loads(pickle.dumps(z))
    assert again.is_cuda and copy.deepcopy(z).is_cuda and again.tolist() == z.tolist()


def test_pinned_memory():
    x = minidl.arange(6.0, device="cpu").reshape(2, 3)
    pinned = x.pin_memory()
    assert pinned.is_pinned() and not x.is_pinned() and pinned.pin_memory() is pinned and pinned.tolist() == x.tolist()
    assert pinned.to("cuda", non_blocking=True).tolist() == x.tolist()
    assert minidl.zeros(0, 2, device="cpu").pin_memory().shape == (0, 2)
    with pytest.raises(RuntimeError, match="pin_memory: .*cuda:0"):
        x.cuda().pin_memory()


Pair = collections.namedtuple("Pair", "image label")


class Own:
    def pin_memory(self):
        return "pinned"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_pins_its_batches(num_workers):
    samples = [(np.full(3, i, np.float32), i) for i in range(6)]
    with minidl.device("cpu"):
        for x, y in DataLoader(samples, 2, num_workers=num_workers, pin_memory=True):
            assert x.is_pinned() and y.is_pinned() and y.tolist() == x[:, 0].tolist()
            assert x.to("cuda", non_blocking=True).is_cuda
        assert not next(iter(DataLoader(samples, 2)))[0].is_pinned()
        one = minidl.ones(2)
        batch = {"pair": Pair(one, [one]), "text": "a", "own": Own(), "rest": (one, 3)}
        batch["proxy"] = types.MappingProxyType({1: one})
        (found,) = DataLoader([batch], None, collate_fn=lambda x: x, num_workers=num_workers, pin_memory=True)
    assert found["pair"].image.is_pinned() and found["pair"].label[0].is_pinned() and found["text"] == "a"
    assert found["own"] == "pinned" and found["rest"][0].is_pinned() and found["rest"][1] == 3 and found["proxy"][1].is_pinned()
    assert not one.is_pinned()


# -- what may meet


def test_operands_on_different_devices():
    here, there = minidl.ones(2, 3, device="cpu"), minidl.ones(2, 3, device="cuda")
    weight = minidl.ones(4, 3, device="cpu")
    for op in (
        lambda: here + there, lambda: there * here, lambda: there @ here.T, lambda: F.linear(there, weight),
        lambda: minidl.cat([there, here]), lambda: minidl.where(here > 0, there, there), lambda: minidl.maximum(there, here),
        lambda: F.cross_entropy(there, minidl.tensor([0, 1], device="cpu")), lambda: there.add_(here),
        lambda: there + here.numpy(),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"'(cpu|cuda:0)'.* and .*'(cpu|cuda:0)'"):
            op()
    with pytest.raises(RuntimeError, match="setitem: the value is on 'cpu', the tensor on 'cuda:0'"):
        there[0] = here[0]
    with pytest.raises(RuntimeError, match=r"'cuda:0' for a tensor on 'cpu'"):
        here[minidl.tensor([0], device="cuda")]
    with pytest.raises(RuntimeError, match="grad: "):
        there.grad = here
    assert there.tolist() == [[1, 1, 1]] * 2
    there.copy_(here * 2)  # as in PyTorch, this may
    assert there[minidl.tensor([1], device="cpu")].tolist() == [[2, 2, 2]]


def test_what_has_no_dimensions_comes_along():
    a = minidl.tensor(3.0, device="cpu", requires_grad=True)
    x = minidl.ones(2, device="cuda", requires_grad=True)
    for y in (a * x, x * a, minidl.where(x > 0, a, x) + x * 0, np.float32(3) * x):
        assert y.is_cuda and y.tolist() == [3, 3]
    (a * x).sum().backward()
    assert a.grad.device == "cpu" and a.grad.item() == 2 and x.grad.is_cuda


@on_standin
def test_ops_run_where_their_operands_are():
    x = minidl.arange(1.0, 4.0, device="cuda:1").requires_grad_()
    y = (x * x).exp().sum() + F.relu(x).max()
    y.backward()
    assert y.device == x.grad.device == "cuda:1" and cuda.current_device() == 0
    with pytest.raises(RuntimeError, match=r"'cuda:1' \(shape \(3,\)\) and 'cuda:0'"):
        x + minidl.ones(3, device="cuda")
    x.detach()[0] = 5.0
    assert x.to("cuda:0").device == "cuda:0" and x.to("cuda:0").tolist() == [5, 2, 3]
    net = nn.Linear(3, 2).to("cuda:1")
    opt = optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(2):
        opt.zero_grad()
        net(x.detach()).sum().backward()
        opt.step()
    assert opt.state[net.weight]["momentum_buffer"].device == "cuda:1" and cuda.current_device() == 0
    with cuda.device(1):
        assert cuda.current_device() == 1 and minidl.zeros(1, device="cuda").device == "cuda:1"
    cuda.set_device(1)
    assert minidl.zeros(1, device="cuda").device == "cuda:1"
    cuda.set_device("cuda:0")


@pytest.mark.parametrize("dtype", [minidl.bool, minidl.uint8, minidl.int64])
def test_pooling_of_what_has_no_gradient(dtype):
    x = minidl.tensor([[[[0, 1, 0, 0], [0, 0, 0, 0]]]], dtype=dtype, device="cpu")
    out = F.max_pool2d(x.cuda(), 2)
    assert out.dtype == dtype and out.cpu().tolist() == F.max_pool2d(x, 2).tolist() == [[[[1, 0]]]]


def test_raw_arrays_of_cupy():
    x = minidl.ones(2, device="cuda")
    array = x._array + 1
    assert minidl.as_tensor(array)._array is array and (x + array).tolist() == [3, 3] and minidl.exp(array).shape == (2,)
    assert minidl.tensor(array)._array is not array and x.__cuda_array_interface__["shape"] == (2,)
    with pytest.raises(AttributeError, match="cuda"):
        minidl.ones(2, device="cpu").__cuda_array_interface__  # noqa: B018


# -- networks and their state


def net_and_data():
    minidl.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    return net, minidl.randn(5, 3, device="cpu"), minidl.tensor([0, 1, 1, 0, 1], device="cpu")


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.Adam(p, 0.01), optim.RMSprop])
def test_training_is_the_same_and_the_state_follows(make):
    with minidl.device("cpu"):
        net, x, y = net_and_data()
        twin = copy.deepcopy(net)
    ours, theirs = make(net.parameters()), make(twin.parameters())

    def steps(net, opt, where):
        for _ in range(2):
            opt.zero_grad()
            F.cross_entropy(net(x.to(where)), y.to(where)).backward()
            opt.step()

    steps(net, ours, "cpu")
    steps(twin, theirs, "cpu")
    assert twin.cuda() is twin and all(p.is_cuda and p.grad.is_cuda for p in twin.parameters())
    steps(net, ours, "cpu")
    steps(twin, theirs, "cuda")
    for p, q in zip(net.parameters(), twin.parameters()):
        np.testing.assert_allclose(q.detach().cpu().numpy(), p.detach().numpy(), 1e-5, 1e-6)
        for name, value in theirs.state[q].items():
            assert value.is_cuda == (name != "step"), name
    assert not any(b.is_cuda for b in twin.cpu().buffers())
    file = io.BytesIO()
    minidl.save(theirs.state_dict(), file)
    theirs.load_state_dict(minidl.load(io.BytesIO(file.getvalue()), map_location="cuda"))
    assert not any(v.is_cuda for kept in theirs.state.values() for v in kept.values())


def test_files_and_map_location():
    state = {"w": minidl.arange(3.0, device="cuda"), "b": [minidl.ones(2, device="cpu"), 3]}
    file = io.BytesIO()
    minidl.save(state, file)
    load = lambda **options: minidl.load(io.BytesIO(file.getvalue()), **options)  # noqa: E731
    found = load()
    assert found["w"].device == "cuda:0" and found["b"][0].device == "cpu" and found["w"].tolist() == [0, 1, 2]
    assert load(map_location="cpu")["w"].device == "cpu" and load(map_location="cuda")["b"][0].is_cuda


@on_standin
def test_a_file_of_a_gpu_that_is_not_here(monkeypatch):
    file = io.BytesIO()
    minidl.save(minidl.ones(2, device="cuda:1"), file)
    monkeypatch.setattr(strict.Device, "count", 1)
    with pytest.raises(RuntimeError, match="map_location='cpu'.*cuda:1"):
        minidl.load(io.BytesIO(file.getvalue()))
    assert minidl.load(io.BytesIO(file.getvalue()), map_location="cuda").device == "cuda:0"


# -- random numbers


def test_generators():
    minidl.manual_seed(3)
    first = minidl.rand(4, device="cuda"), minidl.rand(4, device="cpu")
    minidl.manual_seed(3)
    assert minidl.rand(4, device="cuda").tolist() == first[0].tolist()
    cuda.manual_seed(3)
    assert minidl.rand(4, device="cuda").tolist() == first[0].tolist()
    state = cuda.get_rng_state()
    assert state.shape == (16,) and state.dtype == minidl.uint8 and not state.is_cuda and cuda.initial_seed() == 3
    after = minidl.randn(5, device="cuda").tolist()
    cuda.set_rng_state(state)
    assert minidl.randn(5, device="cuda").tolist() == after
    own = minidl.Generator("cuda").manual_seed(3)
    assert minidl.rand(4, device="cuda", generator=own).tolist() == first[0].tolist()
    with pytest.raises(RuntimeError, match="generator: wants one of the device 'cpu', got one of 'cuda:0'"):
        minidl.rand(4, device="cpu", generator=own)
    with pytest.raises(ValueError, match="16 bytes"):
        own.set_state(minidl.default_generator.get_state())


def test_distributions():
    n = 4000
    x = {
        "uniform": minidl.empty(n, device="cuda").uniform_(-1, 3),
        "normal": minidl.empty(n, device="cuda").normal_(1, 2),
        "exponential": minidl.empty(n, device="cuda").exponential_(0.5),
        "geometric": minidl.empty(n, device="cuda").geometric_(0.25),
        "bernoulli": minidl.bernoulli(minidl.full((n,), 0.3, device="cuda")),
        "poisson": minidl.poisson(minidl.full((n,), 4.0, device="cuda")),
        "integers": minidl.randint(2, 8, (n,), device="cuda").double(),
    }
    means = dict(uniform=1, normal=1, exponential=2, geometric=4, bernoulli=0.3, poisson=4, integers=4.5)
    variances = dict(uniform=4 / 3, normal=4, exponential=4, geometric=12, bernoulli=0.21, poisson=4, integers=35 / 12)
    for name, t in x.items():
        assert t.is_cuda
        a = t.double().cpu().numpy()
        assert abs(a.mean() - means[name]) < 6 * (variances[name] / n) ** 0.5, name
        assert abs(a.var() / variances[name] - 1) < 0.3, name
    assert sorted(minidl.randperm(50, device="cuda").tolist()) == list(range(50))
    p = minidl.tensor([0.0, 1.0, 3.0], device="cuda")
    drawn = minidl.multinomial(p, 4000, replacement=True).double()
    assert 0.7 < (drawn == 2).double().mean().item() < 0.8 and (drawn == 0).sum().item() == 0
    assert sorted(minidl.multinomial(p, 2).tolist()) == [1, 2]
    kept = F.dropout(minidl.ones(n, device="cuda"), 0.25)
    assert 0.7 < (kept > 0).double().mean().item() < 0.8 and abs(kept.max().item() - 4 / 3) < 1e-6


# -- what was found to go wrong


def test_counts_and_repeats_given_as_tensors():
    x = minidl.tensor([2, 0, 2, 1], device="cuda")
    assert minidl.bincount(x, minidl.tensor([0.5, 1.0, 2.0, 4.0], device="cuda")).tolist() == [1, 4, 2.5]
    assert minidl.repeat_interleave(x, x).tolist() == [2, 2, 2, 2, 1]
    assert minidl.isin(2, x).item() and not minidl.isin(3, x).item()


def test_steps_are_flat_and_a_condition_may_be_a_bool():
    x = minidl.tensor([0.5, -1.5], device="cuda", requires_grad=True)
    (minidl.floor(x) + minidl.sign(x) * minidl.where(True, x, 3.0)).sum().backward()
    assert x.grad.tolist() == [1, -1] and minidl.where(False, x, 3.0).tolist() == [3, 3]


def test_pictures_on_the_device_are_transformed_there():
    images = minidl.rand(3, 3, 8, 6, device="cpu")
    steps = [
        transforms.Resize((5, 4)), transforms.RandomHorizontalFlip(0.5), transforms.RandomRotation(30.0, fill=0.5),
        transforms.RandomErasing(1.0, value="random"), transforms.Normalize([0.5] * 3, [0.2] * 3),
        transforms.RandomCrop(6, padding=1), transforms.ColorJitter(0.2, 0.2, 0.2, 0.1), transforms.RandomResizedCrop(4),
    ]  # fmt: skip
    for step in steps:
        minidl.manual_seed(3)
        wanted = step.batch(images.clone())
        minidl.manual_seed(3)
        found = step.batch(images.cuda())
        assert found.is_cuda
        np.testing.assert_allclose(found.cpu().numpy(), wanted.numpy(), atol=1e-5, err_msg=repr(step))


def test_rungs_leave_no_trace_on_the_device():
    before = cuda.get_rng_state()
    found = minidl.rung.compare(lambda: minidl.rand(3, device="cuda"), ("numpy", "fast"))
    assert found.differences() == {"output": 0.0} and cuda.get_rng_state().tolist() == before.tolist()


# -- the device itself


def test_the_api():
    assert cuda.is_available() and cuda.device_count() >= 1 and isinstance(cuda.get_device_name(), str)
    assert len(cuda.get_device_capability()) == 2 and cuda.synchronize() is None
    cuda.reset_peak_memory_stats()
    before = cuda.memory_allocated()
    x = minidl.zeros(1 << 16, device="cuda")
    assert cuda.memory_allocated() - before >= x.nbytes <= cuda.memory_reserved()
    del x
    assert cuda.max_memory_allocated() >= before + (1 << 18) and cuda.memory_allocated() == before
    cuda.empty_cache()
    free, total = cuda.mem_get_info()
    assert 0 < free <= total


def test_streams_and_events():
    start, end = (cuda.Event(enable_timing=True) for _ in range(2))
    stream = cuda.Stream()
    assert stream != cuda.default_stream() == cuda.current_stream() and start.query()
    with pytest.raises(RuntimeError, match="recorded"):
        start.elapsed_time(end)
    with cuda.stream(stream):
        assert cuda.current_stream() == stream
        start.record()
        x = minidl.ones(3, device="cuda") * 2
        end.record()
    with cuda.stream(None):
        cuda.current_stream().wait_stream(stream)
    stream.synchronize()
    end.synchronize()
    assert start.elapsed_time(end) >= 0 and stream.query() and x.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="enable_timing"):
        cuda.Event().elapsed_time(end)
    with pytest.raises(NotImplementedError, match="interprocess"):
        cuda.Event(interprocess=True)


def test_a_mistake_is_told_when_somebody_waits():
    scores = minidl.zeros(2, 3, device="cuda")
    loss = F.cross_entropy(scores, minidl.tensor([0, 2], device="cuda"))
    assert abs(loss.item() - np.log(3)) < 1e-6
    table = minidl.ones(3, 2, device="cuda")
    for wrong, said in (
        (lambda: F.binary_cross_entropy(scores + 2, scores), "binary_cross_entropy: all elements of input"),
        (lambda: minidl.gather(table, 0, minidl.tensor([[0, 0]], device="cuda") * 0 - 1), "gather: an index is out of range"),
    ):
        try:
            wrong()
        except IndexError:  # the stand-in sees it too
            pass
        with pytest.raises((IndexError, RuntimeError), match=said):
            cuda.synchronize()
        cuda.synchronize()


def test_gradients_on_the_device():
    x = minidl.randn(3, 4, device="cuda", dtype=minidl.float64, requires_grad=True)
    assert gradcheck(lambda x: (x.exp() @ x.T).softmax(-1), x)


def _changes_g(g, x):
    g._array *= 2
    return minidl.empty_like(g).copy_(g)


def _in_memory_order(g, x):
    return wrap(g._array.ravel("K").reshape(g.shape) * 1)


def _changes_its_input(g, x):
    x._array += 1
    return g * 1


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (_changes_g, "changed the cotangent"),
        (_in_memory_order, "when the cotangent is not contiguous"),
        (_changes_its_input, "the backward pass changed input 0"),
    ],
)
def test_bad_manners_of_a_rule_are_found_on_the_device(rule, said):
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return rule(g, *ctx.saved_tensors)

    x = minidl.randn(2, 3, device="cuda", dtype=minidl.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match=said):
        gradcheck(Same.apply, x)


# -- a training step waits for nothing


def cnn():
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten()
    net = nn.Sequential(*layers, nn.Linear(64, 5)).cuda()
    x, y = minidl.randn(2, 3, 8, 8, device="cuda"), minidl.tensor([1, 2], device="cuda")
    return net, lambda: F.cross_entropy(net(x), y)


def lstm():
    table, cells, out = nn.Embedding(7, 4), nn.LSTM(4, 5, 2, dropout=0.1), nn.Linear(5, 7)
    t = minidl.tensor(np.arange(12).reshape(3, 4) % 7, device="cuda")
    net = nn.ModuleList([table, cells, out]).cuda()
    return net, lambda: F.cross_entropy(out(cells(table(t))[0]).reshape(-1, 7), t.reshape(-1))


def gpt():
    table, places, norm, out = nn.Embedding(7, 8), nn.Embedding(4, 8), nn.LayerNorm(8), nn.Linear(8, 7)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, activation="gelu", batch_first=True, norm_first=True)
    net = nn.ModuleList([table, places, layer, norm, out]).cuda()
    t = minidl.tensor(np.arange(8).reshape(2, 4) % 7, device="cuda")

    def loss():
        mask = nn.Transformer.generate_square_subsequent_mask(4, device="cuda")
        x = layer(table(t) + places(minidl.arange(4, device="cuda")), src_mask=mask, is_causal=True)
        return F.cross_entropy(out(norm(x)).reshape(-1, 7), t.reshape(-1))

    return net, loss


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that have been launched."""
    names, launch = [], strict.RawKernel.__call__

    def logged(kernel, *args):
        names.append(kernel.name)
        launch(kernel, *args)

    monkeypatch.setattr(strict.RawKernel, "__call__", logged)
    return names


@on_standin
def test_dropout_is_one_launch_and_a_product(launched):
    for dtype in (minidl.float16, minidl.float32, minidl.float64):
        kept = F.dropout(minidl.ones(400, device="cuda", dtype=dtype), 0.2)
        assert kept.dtype == dtype and kept.unique().tolist() == [0, 1.25] and 280 < kept.count_nonzero().item() < 360
        assert F.dropout2d(kept.reshape(4, 25, 2, 2)).dtype == F.alpha_dropout(kept, 0.5, True).dtype == dtype
    assert launched == ["keep"] * 9


@on_standin
def test_what_is_resized_alike_is_told_how_once():
    def step(size):
        x = minidl.ones(1, 2, 7, 5, device="cuda", requires_grad=True)
        (F.interpolate(x, size, mode="bilinear").sum() + F.adaptive_avg_pool2d(x, (3, 2)).sum()).backward()

    step((4, 9))
    waits, uploads = len(strict.SYNCS), len(strict.UPLOADS)
    step((4, 9))
    assert strict.SYNCS[waits:] == [] and strict.UPLOADS[uploads:] == []
    step((5, 9))
    assert strict.SYNCS[waits:] == strict.UPLOADS[uploads:] != [], "another stream may be the next that reads it"


def test_attention_of_a_usual_size_is_one_block():
    q = minidl.zeros(12, 4, 128, 32, device="cuda")._array
    blocks = attention._Blocks(q, q, None, True, 0.0, 0)
    assert len(blocks.groups) == len(blocks.queries) == 1
    many = minidl.zeros(1, 2, 1 << 14, 1, device="cuda")._array
    blocks = attention._Blocks(many, many, None, False, 0.0, 0)
    assert blocks.size * many.itemsize <= attention.GPU_BLOCK_BYTES and len(blocks.groups) == 2 and len(blocks.queries) == 16


def test_several_threads_at_once():
    def work(seed):
        x = minidl.linspace(-1, 1, 60, device="cuda").reshape(3, 20) * seed
        w = minidl.ones(20, 4, device="cuda", requires_grad=True)
        F.cross_entropy(F.layer_norm(x @ w, (4,)) + x[:, :4], minidl.tensor([0, 1, 2], device="cuda")).backward()
        return w.grad.tolist()

    wanted = [work(seed) for seed in range(8)]
    with futures.ThreadPoolExecutor(4) as pool:
        assert [*pool.map(work, range(8))] == wanted


@on_standin
def test_each_thread_has_a_current_device():
    with cuda.device(1), futures.ThreadPoolExecutor(1) as pool:
        assert cuda.current_device() == 1 and pool.submit(cuda.current_device).result() == 0


@on_standin
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_an_optimiser_steps_in_one_launch(kind, launched):
    net = nn.Sequential(*(nn.Linear(n, n + 1) for n in range(1, 30))).cuda()
    own, there = [*net.parameters()], nn.Parameter(minidl.ones(2, device="cuda:1"))
    opt = kind([{"params": own[:40]}, {"params": [*own[40:], there]}], lr=0.1)
    for p in (*own, there):
        p.grad = minidl.ones_like(p)
    before = [p.tolist() for p in (*own, there)]
    launched.clear()  # of drawing the weights, where the default device is a GPU
    opt.step()
    assert launched == ["many"] * 3  # a group each, and the one on the other GPU
    for p, was in zip((*own, there), before):
        np.testing.assert_allclose(p.tolist(), np.array(was) * (0.999 if kind is optim.AdamW else 1) - 0.1, atol=1e-6)


def test_an_optimiser_of_ones_own_that_builds_on_another():
    class Clipped(optim.SGD):
        def update(self, param, grad, state, group):
            super().update(param, grad.clip(-1, 1), state, group)
            param.clip(0, 2, out=param)

    p = nn.Parameter(minidl.tensor([1.0, 0.5, 3.0], device="cuda"))
    p.grad = minidl.tensor([5.0, 5.0, 0.0], device="cuda")
    Clipped([p], lr=0.75).step()
    assert p.tolist() == [0.25, 0.0, 2.0]


@on_standin
@pytest.mark.parametrize("make", [cnn, lstm, gpt])
@pytest.mark.parametrize("optimiser", [lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.AdamW(p, 1e-3)])
def test_a_training_step_waits_for_nothing(make, optimiser):
    with minidl.device("cpu"):
        net, loss = make()
    opt, losses = optimiser(net.parameters()), []
    for step in range(3):
        waits, uploads = len(strict.SYNCS), len(strict.UPLOADS)
        opt.zero_grad()
        found = loss()
        found.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        if step:
            assert strict.SYNCS[waits:] == [] and strict.UPLOADS[uploads:] == []
        losses.append(found.item())
    assert strict.SYNCS[waits:] and np.isfinite(losses).all()


def test_a_note_that_another_thread_has_taken(monkeypatch):
    class Taken(list):
        def __bool__(self):  # there was one when this thread looked
            return True

    monkeypatch.setattr(devices, "_noted", Taken())
    devices.settle()


# -- what is refused, and what is said then


def asked():
    """The error of asking for a GPU when nothing is known of one."""
    forget()
    with pytest.raises(RuntimeError) as caught:
        minidl.zeros(2, device="cuda")
    assert not cuda.is_available() and cuda.device_count() == 0
    for name in ("manual_seed", "manual_seed_all"):
        getattr(cuda, name)(0)
    cuda.empty_cache()
    return str(caught.value)


@on_standin
def test_without_cupy(monkeypatch, request):
    if request.config.on_gpu:
        pytest.skip("the whole suite runs on it")
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "zeros: device 'cuda' cannot be used: CuPy " in asked()

    def no_cupy(name, *args, **options):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")
        return real(name, *args, **options)

    real = __builtins__["__import__"] if isinstance(__builtins__, dict) else __builtins__.__import__
    monkeypatch.setattr("builtins.__import__", no_cupy)
    assert "CuPy is not installed; pip install 'minidl[cuda13]'" in asked()


@on_standin
@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("cudaErrorInsufficientDriver: CUDA driver version is insufficient", "no NVIDIA driver, or one too old"),
        ("cudaErrorNoDevice: no CUDA-capable device is detected", "no NVIDIA GPU to be seen; CUDA_VISIBLE_DEVICES is '-1'"),
    ],
)
def test_without_a_driver_or_a_device(monkeypatch, request, message, said):
    if request.config.on_gpu:
        pytest.skip("the whole suite runs on it")

    def count():
        raise strict.CUDARuntimeError(message)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(strict.runtime, "getDeviceCount", count)
    assert said in asked()


@on_standin
def test_two_builds_of_cupy(monkeypatch, request):
    if request.config.on_gpu:
        pytest.skip("the whole suite runs on it")
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda n: "14.2.0" if n in ("cupy-cuda12x", "cupy-cuda13x") else real(n))
    assert "cupy-cuda12x 14.2.0 and cupy-cuda13x 14.2.0 are installed" in (said := asked()) and "pip uninstall" in said


def test_a_number_that_there_is_not():
    with pytest.raises(RuntimeError, match=r"ones: there is no device 'cuda:99'; there (are|is) \d"):
        minidl.ones(2, device="cuda:99")
    with pytest.raises(RuntimeError, match="no device 'cuda:99'"):
        nn.Linear(2, 2).to("cuda:99")
    with pytest.raises(ValueError, match="expected a GPU"):
        cuda.synchronize("cpu")


@on_standin
def test_the_stand_in_is_not_put_beside_cupy(monkeypatch):
    """Arrays of one would come to the launches of the other."""
    monkeypatch.setattr(sys.modules["minidl.kernels.cuda.loader"], "cupy", types.ModuleType("cupy"))
    with pytest.raises(RuntimeError, match="kernels work with cupy already"):
        strict.install()


@on_standin
def test_the_stand_in_is_as_strict_as_cupy():
    with pytest.raises(TypeError, match="Unsupported type .*Symbol"):
        symbols.trace(lambda out, x: out.__setitem__(..., strict.arctan(x)), np.dtype("f4"), 2)
    with pytest.raises(AttributeError, match="'bool' object has no attribute 'astype'"):
        strict.where(True, strict.ones(2), 0.0)
    assert strict.empty((0, 3)).data.ptr == 0 != strict.empty(1).data.ptr


def test_cupy_is_not_imported_before_it_is_wanted():
    assert isinstance(sys.modules["minidl"], types.ModuleType)
    assert minidl.device("cuda:3").index == 3  # a name is no request
