"""Steps captured into CUDA graphs; on the stand-in a capture notes what is done, and a launch does it again.

On a GPU nobody writes down what waits, and `strict.SYNCS` stays empty: the numbers and the graphs are tested all the same.
"""

import itertools
import warnings
import weakref

import numpy as np
import pytest
from standin import strict
from test_cuda import gpu, on_standin  # noqa: F401

import minidl
import minidl.nn.functional as F
from minidl import backend, cuda, nn, optim
from minidl.compiler import CompileWarning, explain, graph


@pytest.fixture(autouse=True)
def ready(gpu):  # noqa: F811
    """A GPU is known, and what is not captured without being expected is an error."""
    minidl.zeros(1, device="cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        yield


@pytest.fixture
def launches(ready, monkeypatch):
    """The graphs that are launched."""
    kind = backend.gpu.kernels.Graph
    found, launch = [], kind.launch

    def logged(graph, first=False):
        found.append(graph)
        launch(graph, first)

    monkeypatch.setattr(kind, "launch", logged)
    return found


def cnn():
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten()
    net = nn.Sequential(*layers, nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5)).cuda()
    return net, net, lambda rng, n: (rng.normal(size=(n, 3, 4, 4)).astype(np.float32), rng.integers(0, 5, n))


def lstm():
    table, cells, out = nn.Embedding(7, 4), nn.LSTM(4, 5, 2, dropout=0.1), nn.Linear(5, 7)
    net = nn.ModuleList([table, cells, out]).cuda()
    return net, lambda t: out(cells(table(t))[0][-1]), lambda rng, n: (rng.integers(0, 7, (3, n)), rng.integers(0, 7, n))


def gpt():
    table, norm, out = nn.Embedding(7, 8), nn.LayerNorm(8), nn.Linear(8, 7)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, activation="gelu", batch_first=True, norm_first=True)
    net = nn.ModuleList([table, layer, norm, out]).cuda()
    return net, lambda t: out(norm(layer(table(t))))[:, -1], lambda rng, n: (rng.integers(0, 7, (n, 4)), rng.integers(0, 7, n))


def sgd(p):
    opt = optim.SGD(p, 0.1, momentum=0.9, nesterov=True)
    return opt, optim.lr_scheduler.CosineAnnealingLR(opt, 20)


def adam(p):
    opt = optim.AdamW([{"params": [*p]}], 1e-2, amsgrad=True)
    return opt, optim.lr_scheduler.OneCycleLR(opt, 0.05, total_steps=30)  # which changes a beta too


class Run:
    """Training, from the same beginning each time it is made."""

    def __init__(self, make=cnn, optimiser=adam, compiled=True):
        minidl.manual_seed(0)
        with minidl.device("cpu"):
            self.net, forward, self.draw = make()
        self.opt, self.schedule = optimiser(self.net.parameters())
        self.rng, self.losses = np.random.default_rng(0), []

        def step(x, y):
            self.opt.zero_grad()
            loss = F.cross_entropy(forward(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.opt.step()
            return loss

        self.step = minidl.compile(step) if compiled else step

    def train(self, n, batch=4):
        for _ in range(n):
            x, y = (minidl.tensor(a, device="cuda") for a in self.draw(self.rng, batch))
            with backend.gpu.kernels.suitable():  # products by the same kernel
                self.losses.append(self.step(x, y))
            self.schedule.step()
        return self

    def all(self):
        """Everything that there is, to be compared."""
        state = [[value.tolist() for value in kept.values()] for kept in self.opt.state_dict()["state"].values()]
        drawn = minidl.get_rng_state().tolist(), cuda.get_rng_state().tolist()
        weights = {name: t.tolist() for name, t in self.net.state_dict().items()}
        return [loss.item() for loss in self.losses], weights, state, [p.grad.tolist() for p in self.net.parameters()], drawn


def line():
    net = nn.Linear(3, 2).cuda()
    return net, net, lambda rng, n: (rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 2, n))


OTHERS = {
    "Adagrad": {"lr_decay": 0.1},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adadelta": {},
    "Adamax": {},
    "NAdam": {"decoupled_weight_decay": True},
    "RAdam": {},  # whose steps are of another kind from the sixth on
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_optimiser_can_be_captured(name, launches):
    def make(p):
        opt = getattr(optim, name)(p, lr=0.05, weight_decay=0.1, **OTHERS[name])
        return opt, optim.lr_scheduler.ExponentialLR(opt, 0.9)

    wanted = Run(line, make, compiled=False).train(12).all()
    run = Run(line, make).train(4)
    waits = len(strict.SYNCS)
    run.train(8)
    assert strict.SYNCS[waits:] == [] and len(launches) == 9
    assert run.all() == wanted and len({*wanted[0]}) == 12


@pytest.mark.parametrize(("make", "optimiser"), [(cnn, sgd), (cnn, adam), (lstm, sgd), (gpt, adam)])
def test_twenty_steps_are_the_same_to_the_last_bit(make, optimiser, launches):
    wanted = Run(make, optimiser, compiled=False).train(20).all()
    run = Run(make, optimiser).train(4)
    assert "captured as a CUDA graph" in explain(run.step) and len(launches) == 1
    waits = len(strict.SYNCS)
    run.train(16)
    assert strict.SYNCS[waits:] == [] and len(launches) == 17 and len({*map(id, launches)}) == 1
    assert run.all() == wanted
    assert len({*wanted[0]}) == 20


def test_products_by_cublas_differ_in_rounding_only():
    run = Run().train(8)
    eager = Run(compiled=False)
    for _ in range(8):
        x, y = (minidl.tensor(a, device="cuda") for a in eager.draw(eager.rng, 4))
        eager.losses.append(eager.step(x, y))
        eager.schedule.step()
    np.testing.assert_allclose([t.item() for t in run.losses], [t.item() for t in eager.losses], rtol=1e-3)
    assert eager.losses[0].requires_grad == run.losses[-1].requires_grad is True


def test_a_graph_for_each_shape(launches):
    wanted = Run(compiled=False).train(6).train(5, 3).train(2).train(2, 3).all()
    run = Run().train(6).train(5, 3).train(2).train(2, 3)
    assert run.all() == wanted
    assert [launches.index(g) for g in launches] == [0] * 3 + [3] * 2 + [0] * 2 + [3] * 2
    assert explain(run.step).count("captured as a CUDA graph") == 2


def test_what_is_changed_in_between(launches):
    """Seeds, numbers and options are read again; what has gone to other places in memory is captured anew."""

    def story(run):
        run.train(6)
        minidl.manual_seed(7)
        run.train(2)
        for p in run.net.parameters():
            p.grad = None
        kept = run.opt.state_dict()
        run.opt.param_groups[0]["eps"] = 1e-3
        halves = {name: t * 0.5 if t.is_floating_point() else t for name, t in run.net.state_dict().items()}
        run.net.load_state_dict(halves)
        run.train(2)
        run.opt.load_state_dict(kept)
        run.train(3)
        last = [*run.net.parameters()][-1]
        last.data = last.data * 2
        run.train(3)
        run.opt.param_groups[0]["maximize"] = True
        run.train(2)
        return run.all()

    assert story(Run()) == story(Run(compiled=False))
    assert len({*map(id, launches)}) >= 3


def test_gradients_that_add_up_over_calls(launches):
    def story(compiled):
        minidl.manual_seed(0)
        net, found = nn.Linear(3, 2).cuda(), []
        opt = optim.SGD(net.parameters(), 0.1)

        def step(x):
            loss = net(x).square().mean()
            loss.backward()
            return loss

        step = minidl.compile(step) if compiled else step
        for i in range(12):
            with backend.gpu.kernels.suitable():
                found.append(step(minidl.full((4, 3), i / 4, device="cuda")))
            if i == 6:
                opt.step()
                opt.zero_grad(set_to_none=False)
        return [loss.item() for loss in found], net.weight.grad.tolist()

    assert story(True) == story(False) and len(launches) == 9


def test_a_mistake_in_a_later_step_is_told_when_somebody_waits():
    net = nn.Linear(3, 2).cuda()

    loss = minidl.no_grad()(minidl.compile(lambda x, y: F.cross_entropy(net(x), y)))
    x, y = minidl.ones(2, 3, device="cuda"), [minidl.tensor(t, device="cuda") for t in ([0, 1], [0, 9])]
    for _ in range(5):
        right = loss(x, y[0]).item()
    loss(x, y[1])
    found = loss(x, y[0])
    with pytest.raises(IndexError, match="found on the GPU"):
        found.item()
    assert loss(x, y[0]).item() == right


def test_more_numbers_than_one_launch_can_tell():
    """300 draws are 600 words; and each is the next one, in every repetition."""
    kernels, count = backend.gpu.kernels, itertools.count()
    graph = kernels.Graph()
    drawn = graph.capture(lambda: [kernels.uniform(3, np.float32, lambda: (7, next(count))) for _ in range(300)])
    assert graph.used > kernels.capture.AT_ONCE
    again = itertools.count()
    for first in (True, False):
        graph.launch(first)
        for found in drawn:
            wanted = kernels.uniform(3, np.float32, lambda: (7, next(again)))
            np.testing.assert_array_equal(found.get(), wanted.get())


# -- what is not captured


def refused(step, *args, warns=True):
    """What is said of a step that goes on as it did, also as a warning if that is unusual."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CompileWarning)
        for _ in range(5):
            step(*args)
    assert len(caught) == warns and all(str(w.message).partition(" runs ")[2] in explain(step) for w in caught)
    return explain(step)


def test_a_step_that_cannot_be_captured_goes_on_as_it_did(launches, monkeypatch):
    """What the attempt has counted, drawn and dropped is put back."""
    monkeypatch.setattr(backend.gpu.kernels.elementwise, "MOST_SEARCHED", 0)
    wanted = Run(lstm, compiled=False).train(8).all()
    run = Run(lstm)
    with pytest.warns(CompileWarning, match="step by step, as no CUDA graph: _backward: additions at 12 places .* sorted"):
        run.train(8)
    assert run.all() == wanted and launches == []


def test_a_capture_that_is_interrupted_is_made_at_the_next_call(launches, monkeypatch):
    wanted, run = Run(line, compiled=False).train(7).all(), Run(line).train(3)
    drawn = run.rng.bit_generator.state

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backend.gpu.kernels.Graph, "tell", interrupted)  # in the step of the optimiser
        with pytest.raises(KeyboardInterrupt):
            run.train(1)
    run.rng.bit_generator.state = drawn
    assert run.train(4).all() == wanted and len(launches) == 4
    assert "captured as a CUDA graph" in explain(run.step)


def test_what_is_refused_and_why():
    x, w = minidl.ones(3, device="cuda"), nn.Parameter(minidl.ones(3, device="cuda"))
    assert "still be differentiated" in refused(minidl.compile(lambda x: (x * w).exp()), x, warns=False)
    assert "an argument wants a gradient" in refused(minidl.compile(lambda x: (x * 2).sum().backward()), w, warns=False)
    assert "changes, detaches or returns one of its arguments" in refused(minidl.compile(lambda x: x.add_(1)), x, warns=False)
    assert "view of a parameter" in refused(minidl.no_grad()(minidl.compile(lambda x: (w[1:], x + 1))), x, warns=False)
    assert "shares memory with another" in refused(minidl.compile(lambda x: (lambda y: (y, y[1:]))(x + 1)), x, warns=False)
    assert "how large the result of nonzero is depends on numbers" in refused(minidl.compile(lambda x: x.nonzero()), x)
    assert "item() reads it" in refused(minidl.compile(lambda x: x * x.sum().item()), x)


def test_what_is_on_the_cpu_is_told():
    """Also where it may meet what is on the GPU; and for arguments from there the program is another one."""
    half, host, w = minidl.tensor(0.5, device="cpu"), minidl.ones(3, device="cpu"), minidl.ones(3, device="cuda")
    step = minidl.compile(lambda x: (x.to("cuda") * w).sum())
    for _ in range(5):
        assert step(host.to("cuda")).item() == 3
    with pytest.warns(CompileWarning, match=r"no CUDA graph: a tensor of shape \(3,\) is on 'cpu', others are on 'cuda:0'"):
        for _ in range(5):
            assert step(host).item() == 3
    assert explain(step).count("captured as a CUDA graph") == 1
    said = refused(minidl.compile(lambda x: (x * half).sum()), host.to("cuda"))
    assert "a tensor of shape () is on 'cpu'" in said


def test_a_step_that_finds_a_parameter_elsewhere_is_captured_once_it_is_back(launches):
    net = nn.Linear(3, 2).cuda()
    step = minidl.no_grad()(minidl.compile(lambda x: net(x)))
    x = minidl.ones(1, 3, device="cuda")
    for _ in range(5):
        wanted = step(x).tolist()
    net.cpu()
    with pytest.raises(RuntimeError, match="different devices"):
        step(x)
    net.cuda()
    assert step(x).tolist() == step(x).tolist() == wanted and len(launches) == 4


def test_a_step_whose_states_have_been_elsewhere_is_captured_again(launches):
    def story(run):
        run.train(6)
        run.net.cpu()
        with minidl.device("cpu"):
            x, y = (minidl.tensor(a) for a in run.draw(run.rng, 4))
            run.step(x, y)
        run.net.cuda()
        return run.train(4).all()

    wanted, run = story(Run(line, sgd, compiled=False)), Run(line, sgd)
    assert story(run) == wanted
    assert len(launches) == 6 and len({*map(id, launches)}) == 2


def test_one_hot_is_captured(launches):
    step = minidl.compile(lambda t: F.one_hot(t, 3) * 2)
    right, wrong = minidl.tensor([0, 2], device="cuda"), minidl.tensor([0, 3], device="cuda")
    for _ in range(5):
        assert step(right.clone()).tolist() == [[2, 0, 0], [0, 0, 2]]
    with pytest.raises(ValueError, match="one_hot: a class number does not fit num_classes 3"):
        step(wrong).tolist()
    with pytest.raises(ValueError, match="one_hot: class numbers must not be negative"):
        step(-right).tolist()
    assert len(launches) == 4


def test_a_result_that_is_returned_twice_is_one_tensor(launches):
    step, x = minidl.compile(lambda x: (lambda y: (y, x * 3, y))(x * 2)), minidl.ones(3, device="cuda")
    for _ in range(5):
        a, b, again = step(x)
        assert a is again and a.tolist() == [2] * 3 and b.tolist() == [3] * 3
    assert len(launches) == 2


@pytest.mark.parametrize("dtype", [minidl.float32, minidl.int64])
def test_many_tensors_are_joined(dtype, launches):
    """More than 8, which CuPy would join by sending where they are."""
    step = minidl.compile(lambda x: minidl.stack([x + i for i in range(12)], 1))
    for n in range(5):
        x = minidl.tensor([[n, 1], [2, 3]], dtype=dtype, device="cuda")
        assert step(x).tolist() == [[[row[0] + i, row[1] + i] for i in range(12)] for row in x.tolist()]
    assert len(launches) == 2


def test_a_graph_that_is_given_up_leaves_no_memory_behind():
    """Neither one whose results could be differentiated, with all its activations, nor one whose parameters always move."""
    x, w = minidl.ones(3, device="cuda"), nn.Parameter(minidl.ones(3, device="cuda"))
    made, Graph = [], backend.gpu.kernels.Graph
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend.gpu.kernels, "Graph", lambda: made.append(weakref.ref(graph := Graph())) or graph)
        refused(minidl.compile(lambda x: (x * w).exp()), x, warns=False)
        assert len(made) == 1 and made[0]() is None
        step = minidl.no_grad()(minidl.compile(lambda x: (x * w).exp()))
        with pytest.warns(CompileWarning, match="gradients were in another place 8 times"):
            for _ in range(20):
                step(x)
                w.data = w.data.clone()
    assert len(made) == 1 + graph.MOST_CAPTURES and not any(g() for g in made)


def test_what_a_graph_reads_is_kept(launches):
    """Also the tables of `interpolate`, of which only the last few hundred are."""
    x, step = (
        minidl.rand(1, 1, 3, 3, device="cuda"),
        minidl.compile(lambda x: F.interpolate(x, (5, 5), mode="bilinear").detach()),
    )
    for _ in range(4):
        wanted = step(x).tolist()
    backend.gpu.kernels.resize._sent.cache_clear()
    assert step(x).tolist() == wanted and len(launches) == 2


class Own(optim.Optimizer):
    """Nobody knows what it reads on the host."""

    def update(self, param, grad, state, group):
        param -= grad


@pytest.mark.parametrize("half", [False, True])
def test_what_is_refused_of_optimisers(half):
    x = minidl.ones(3, device="cuda", dtype=minidl.float16 if half else minidl.float32)
    w = nn.Parameter(x.clone())
    opt = optim.RMSprop([w], 0.1) if half else Own([w], {})

    def step():
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    why = "parameters that are of float16, huge or with gaps" if half else "the step of Own needs the host"
    assert why in refused(minidl.compile(step))


def test_hooks_are_called_though_there_is_a_graph(launches):
    w, seen = nn.Parameter(minidl.ones(3, device="cuda")), []
    opt = optim.SGD([w], 0.1)

    @minidl.compile
    def step():
        opt.zero_grad()
        (w * w).sum().backward()
        opt.step()

    for _ in range(5):
        step()
    handles = w.register_hook(lambda g: seen.append("tensor")), opt.register_step_post_hook(lambda *_: seen.append("step"))
    step()
    for handle in handles:
        handle.remove()
    step()
    assert seen == ["tensor", "step"] and len(launches) == 3
    np.testing.assert_allclose(w.tolist(), [0.8**7] * 3, rtol=1e-5)


@on_standin
def test_a_wait_inside_an_op_is_named():
    x = minidl.ones(3, device="cuda")
    said = refused(minidl.compile(lambda x: x.sort().values * 2), x)
    assert "no CUDA graph: argsort: " in said and "waits for the device" in said


def test_on_the_cpu_nothing_is_captured():
    step = minidl.compile(lambda x: x * 2)
    for _ in range(4):
        assert step(minidl.ones(2, device="cpu")).tolist() == [2, 2]
    assert "graph" not in explain(step)


# -- the stand-in itself


@on_standin
def test_the_stand_in_captures_as_a_gpu_does():
    pool, stream = strict.cuda.MemoryPool(), strict.cuda.Stream(non_blocking=True)
    x, out = strict.ones(3), []
    with strict.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        y = x * 2
        y += 1
        x[1:] = y[1:]
        assert stream.is_capturing()
        graph = stream.end_capture()
    assert x.get().tolist() == [1, 1, 1] and np.isnan(y.get()).all()  # nothing has happened yet
    for _ in range(2):
        graph.launch()
        out.append((x.get().tolist(), y.get().tolist()))
    assert out == [([1, 3, 3], [3, 3, 3]), ([1, 7, 7], [3, 7, 7])]
    del x
    with pytest.raises(strict.CUDARuntimeError, match="has been freed"):
        graph.launch()


@on_standin
@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda x: x.item(), "the host waits"),
        (lambda x: x[x > 0], "boolean index"),
        (lambda x: x + strict.asarray(np.ones(3)), "something is sent"),
        (lambda x: x @ x, "cuBLAS"),
        (lambda x: strict.matmul(x, x), "cuBLAS"),
        (lambda x: strict.argsort(x), "waits for the device"),
        (lambda x: strict.here.__setattr__("pool", None) or x + 1, "default pool"),
    ],
)
def test_the_stand_in_refuses_what_a_gpu_would(what, said):
    pool, stream, x = strict.cuda.MemoryPool(), strict.cuda.Stream(non_blocking=True), strict.ones(3)
    with strict.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        try:
            with pytest.raises((strict.CUDARuntimeError, NotImplementedError), match=said):
                what(x)
        finally:
            graph = stream.end_capture()
    with pytest.raises(strict.CUDARuntimeError, match="not the null one"):
        strict.Stream.null.begin_capture()
    graph.launch()


@on_standin
def test_a_graph_needs_its_pool():
    pool, stream, x = strict.cuda.MemoryPool(), strict.cuda.Stream(non_blocking=True), strict.ones(3)
    with strict.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        kept = x + 1
        graph = stream.end_capture()
    kept = kept.get()
    del pool
    with pytest.raises(strict.CUDARuntimeError, match="pool"):
        graph.launch()
