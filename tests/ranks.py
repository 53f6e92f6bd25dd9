"""What the tests of `minidl.distributed` run as several ranks: ``launch -n 2 tests/ranks.py NAME arguments``.

Each function is a program. An assertion that fails on any rank ends all of them with an error.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import minidl
import minidl.nn.functional as F
from minidl import distributed, nn, optim
from minidl.nn.parallel import DistributedDataParallel
from minidl.utils.data import DataLoader, DistributedSampler, TensorDataset


def same_everywhere(array):
    """Whether all ranks have the same bits."""
    found = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, np.ascontiguousarray(array).tobytes())
    return len(set(found)) == 1


def collectives():
    """Each against what the ranks' numbers, which all can compute, come to."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    assert distributed.get_backend() == "mpi"
    for dtype in (minidl.float64, minidl.float32, minidl.float16, minidl.int64, minidl.uint8):
        everyone = [np.arange(1, 13).reshape(3, 4) + r for r in range(size)]
        expected = {"SUM": sum(everyone), "PRODUCT": np.prod(everyone, 0), "MIN": everyone[0], "MAX": everyone[-1]}
        for name, numbers in expected.items():
            t = minidl.tensor(everyone[rank], dtype=dtype)
            distributed.all_reduce(t, op=distributed.ReduceOp[name])
            assert t.dtype == dtype and t.tolist() == numbers.astype(t.numpy().dtype).tolist(), (dtype, name)
    one, other = (minidl.zeros(3), minidl.zeros(2, dtype=minidl.int64)) if rank else (minidl.zeros(2), minidl.zeros(2))
    for call in (lambda: distributed.all_reduce(one), lambda: distributed.broadcast(other, 0)):
        try:
            call()
        except RuntimeError as error:
            assert "same call, with the same shape and dtype; here rank 0 " in str(error) and "of (2,), float32" in str(error)
        else:
            raise AssertionError("ranks with different tensors exchanged them")
    t = minidl.full((2, 2), float(rank))
    distributed.all_reduce(t, distributed.ReduceOp.AVG)
    assert t.tolist() == [[(size - 1) / 2] * 2] * 2
    for t in (minidl.zeros(4, 3).T, minidl.zeros(8, 6)[::2, ::3], minidl.tensor(0.0), minidl.zeros(0)):  # awkward ones
        t.copy_(minidl.arange(t.numel()).reshape(t.shape) + rank)
        before = t.clone()
        distributed.all_reduce(t)
        assert (t == size * before + size * (size - 1) / 2 - size * rank).all()
    for root in range(size):
        for t in (minidl.full((3, 2), rank), minidl.tensor(rank > root), minidl.full((2, 3), float(rank)).T):
            distributed.broadcast(t, src=root)
            assert t.unique().tolist() == [type(t.flatten()[0].item())(root if t.dtype != minidl.bool else 0)]
    found = [minidl.zeros(2) for _ in range(size)]
    distributed.all_gather(found, minidl.tensor([rank, rank + 0.5]))
    assert [t.tolist() for t in found] == [[r, r + 0.5] for r in range(size)]
    objects = [f"from {rank}", {"rank": rank}]
    distributed.broadcast_object_list(objects, src=size - 1)
    assert objects == [f"from {size - 1}", {"rank": size - 1}]
    for wrong in (-1, size, None):
        try:
            distributed.broadcast(minidl.zeros(1), src=wrong)
        except ValueError as error:
            assert "src must be a rank" in str(error)
        else:
            raise AssertionError(wrong)


def threads():
    """The ranks share the cores of a host; when the group ends, each may use all of them again."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    mine = minidl.get_num_threads()
    distributed.destroy_process_group()
    assert mine == max(1, minidl.get_num_threads() // size)
    distributed.init_process_group("MPI", world_size=size, rank=rank)
    assert minidl.get_num_threads() == mine
    try:
        distributed.init_process_group()
    except ValueError as error:
        assert "already" in str(error)


def logs():
    """Rank 0 tells, everyone warns."""
    logger = distributed.get_logger("test")
    logger.info("hello")
    logger.warning("careful")
    logger.info("all of us", extra={"all_ranks": True})


class Net(nn.Module):
    """A convolution whose weight may lie in another memory order, a layer that is not always used, and a buffer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 4)
        self.spare = nn.Linear(3, 4)

    def forward(self, x, spare=False):
        x = self.bn(self.conv(x)).relu().mean((2, 3))
        return {"scores": (self.spare if spare else self.fc)(x), "more": [x]}


def raises(kind, words, function):
    try:
        function()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}")


def data_parallel():
    """Start, reduction, accumulation, what is left out, buffers."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    minidl.manual_seed(rank)  # other weights on each rank, until they are wrapped
    net = Net().double()
    assert not same_everywhere(net.conv.weight.detach().numpy())
    ddp = DistributedDataParallel(net, find_unused_parameters=True)
    assert all(same_everywhere(t.detach().numpy()) for t in (*net.parameters(), *net.buffers()))
    assert next(iter(ddp.state_dict())) == "module.conv.weight"
    x = minidl.randn(4, 2, 5, 5, dtype=minidl.float64)  # differs

    def own(spare=False):
        return minidl.autograd.grad(net(x, spare)["scores"].square().sum(), net.conv.weight)[0].numpy()

    def averaged(array):
        found = [None] * size
        distributed.all_gather_object(found, array)
        return sum(a / size for a in found)

    ddp(x)["scores"].square().sum().backward()
    assert np.allclose(net.conv.weight.grad.numpy(), averaged(own()), rtol=1e-12)
    assert all(same_everywhere(p.grad.numpy()) for p in net.parameters() if p.grad is not None)
    assert net.spare.weight.grad is None
    ddp.zero_grad()
    with ddp.no_sync():
        for _ in range(2):
            ddp(x)["scores"].square().sum().backward()
    assert np.allclose(net.conv.weight.grad.numpy(), 2 * own(), rtol=1e-12)
    ddp(x)["scores"].square().sum().backward()
    assert np.allclose(net.conv.weight.grad.numpy(), averaged(3 * own()), rtol=1e-12)
    ddp.zero_grad(set_to_none=False)
    ddp(x, spare=rank == 0)["scores"].square().sum().backward()  # one rank uses what the others do not
    assert np.allclose(net.conv.weight.grad.numpy(), averaged(own(rank == 0)), rtol=1e-12)
    assert net.spare.weight.grad is not None and same_everywhere(net.spare.weight.grad.numpy())
    assert same_everywhere(net.fc.weight.grad.numpy())
    ddp.eval()
    net.bn.running_mean.fill_(rank)
    ddp(x)
    assert net.bn.running_mean.tolist() == [0.0] * 3
    net.bn.running_mean.fill_(rank + 1)
    once = DistributedDataParallel(net, forward_sync_buffers=False)
    assert net.bn.running_mean.tolist() == [1.0] * 3
    net.bn.running_mean.fill_(rank)
    once(x)
    strict = DistributedDataParallel(net, broadcast_buffers=False, device_ids=[0], output_device=0)
    strict(x)
    assert net.bn.running_mean.tolist() == [float(rank)] * 3
    ddp.zero_grad()
    DistributedDataParallel(net, static_graph=True)(x)["scores"].sum().backward()  # leaves some out
    assert net.spare.weight.grad is None and same_everywhere(net.fc.weight.grad.numpy())
    ddp.zero_grad()
    words = f"spare.weight, spare.bias got no gradient on rank {rank}"
    raises(RuntimeError, words, lambda: strict(x)["scores"].sum().backward())
    assert (
        not strict.zero_grad() and minidl.autograd.grad(strict(x)["scores"].sum(), net.fc.bias)[0] is not None
    )  # nobody waits
    raises(RuntimeError, "has another model", lambda: DistributedDataParallel(nn.Linear(2, 2 + rank)))
    longer = nn.Sequential(*(nn.Linear(2, 2) for _ in range(1 + rank)))
    raises(RuntimeError, "parameters and buffers, not", lambda: DistributedDataParallel(longer))
    frozen, turned = nn.Linear(2, 2), nn.Linear(2, 3)  # whose numbers, without names, would go into the others' weights
    frozen.weight.requires_grad_(rank > 0)
    turned.weight = nn.Parameter(minidl.zeros(3, 2) if rank else minidl.zeros(2, 3).T)
    for layer in (frozen, turned):
        raises(RuntimeError, "has another model", lambda layer=layer: DistributedDataParallel(layer))
    layer = nn.Linear(3, 4)
    compiled = DistributedDataParallel(minidl.compile(nn.Sequential(layer, nn.ReLU())))
    for _ in range(4):
        compiled.zero_grad()
        compiled(minidl.full((2, 3), float(rank + 1))).sum().backward()
    assert same_everywhere(layer.weight.grad.numpy()) and "became" in compiled.module.explain()


def sync_batch_norm():
    """The whole batch normalised at once, in values, gradients, running statistics; parts of different size; and order two."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    minidl.manual_seed(3)
    shape, weights = (2 * size + 1, 3, 4), minidl.randn(2 * size + 1, 3, 4, dtype=minidl.float64)
    x = minidl.randn(*shape, dtype=minidl.float64, requires_grad=True)
    mine = slice(2 * rank, 2 * rank + 2 if rank < size - 1 else None)
    for momentum in (0.1, None):
        one, many = nn.BatchNorm1d(3, momentum=momentum).double(), nn.SyncBatchNorm(3, momentum=momentum).double()
        for _ in range(2):
            whole, part = one(x), many(x[mine])
        assert np.allclose(part.detach().numpy(), whole[mine].detach().numpy(), atol=1e-12)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert np.allclose(getattr(one, name).numpy(), getattr(many, name).numpy(), atol=1e-12), name
    g = minidl.autograd.grad((whole * weights).sum(), [x, one.weight], create_graph=True)
    h = minidl.autograd.grad((part * weights[mine]).sum(), [x, many.weight], create_graph=True)
    assert np.allclose(h[0][mine].detach().numpy(), g[0][mine].detach().numpy(), atol=1e-12)
    total = h[1].detach().clone()
    distributed.all_reduce(total)
    assert np.allclose(total.numpy(), g[1].detach().numpy(), atol=1e-12)
    gg = minidl.autograd.grad(g[0].square().sum(), x)[0]
    hh = minidl.autograd.grad(h[0][mine].square().sum(), x)[0]
    assert np.allclose(hh[mine].numpy(), gg[mine].numpy(), atol=1e-12)
    many.eval(), one.eval()
    assert np.allclose(many(x[mine]).detach().numpy(), one(x[mine]).detach().numpy(), atol=1e-12)
    many, one = nn.SyncBatchNorm(2).half(), nn.BatchNorm2d(2).half()
    x = minidl.randn(17, 2, 64, 64).half() + 2  # more pixels than float16 can count, and a sum that goes beyond it
    part, whole = many(x), one(x)  # all ranks have the same
    assert part.dtype == minidl.float16 and (part - whole).abs().max() < 0.01
    for name in ("running_mean", "running_var"):
        assert (getattr(many, name) - getattr(one, name)).abs().max() < 0.01, name
    raises(RuntimeError, "SyncBatchNorm: wants the dtype of input", lambda: many(x.double()))
    if rank == 0:  # evaluation is of the rank alone, also without running statistics
        assert nn.SyncBatchNorm(2, track_running_stats=False).eval()(x.float()).shape == x.shape


def train(steps, out, batch=100, die_at=-1):
    """Steps on parts of the same batches however many ranks there are; resumes from ``out`` if that is there."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    steps, die_at, out = int(steps), int(die_at), Path(out)
    minidl.manual_seed(1)
    data = TensorDataset(minidl.randn(500, 3, 8, 8, dtype=minidl.float64), minidl.randint(10, (500,)))
    sampler = DistributedSampler(data, seed=7)
    loader = DataLoader(data, int(batch) // size, sampler=sampler, generator=minidl.Generator().manual_seed(1))
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10)).double()
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    step = 0
    if out.exists():
        state = minidl.load(out)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        loader.load_state_dict(state["loader"])
        step = state["step"]
    ddp = DistributedDataParallel(net)
    while step < steps:
        sampler.set_epoch(step // len(loader))
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(ddp(x), y).backward()
            optimizer.step()
            step += 1
            if rank == 0 and (step % 10 == 0 or step == steps):
                parts = {"net": net, "optimizer": optimizer, "loader": loader}
                minidl.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, out)
            if step == die_at and rank == size - 1:
                print("died at", time.time(), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            if step == steps:
                break
    assert all(same_everywhere(p.detach().numpy()) for p in net.parameters())
    print("trained", step, flush=True)


def fail():
    """One rank has an error, the others wait for it."""
    if distributed.get_rank() == 1:
        raise KeyError("what went wrong")
    distributed.barrier()
    time.sleep(60)


def sleep():
    """All say so and sleep."""
    distributed.barrier()
    if distributed.get_rank() == 0:
        print("asleep", flush=True)
    time.sleep(60)


def where():
    """Every rank says where it is, and they agree on a sum."""
    t = minidl.ones(100000)
    distributed.all_reduce(t)
    assert t.unique().tolist() == [distributed.get_world_size()]
    sys.stdout.write(f"rank {distributed.get_rank()} local {distributed.get_node_local_rank()} on {os.uname().nodename}\n")


def nccl():
    """The same wrapper as for NCCL, over stand-ins for it and for CuPy: numbers lie on a GPU, each rank has its own."""
    from standin import nccl as standin
    from standin import strict

    distributed.destroy_process_group()
    raises(RuntimeError, "CuPy is not installed", lambda: distributed.init_process_group("nccl"))
    assert not distributed.is_nccl_available()
    strict.install()
    standin.install()
    distributed.init_process_group("nccl")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    assert distributed.get_backend() == "nccl" and minidl.cuda.current_device() == rank
    raises(TypeError, "lies on the CPU", lambda: distributed.all_reduce(minidl.zeros(2)))
    for op, wanted in (("SUM", size * (size - 1) / 2), ("MAX", size - 1), ("AVG", (size - 1) / 2)):
        for dtype in (minidl.float16, minidl.float32, minidl.float64):
            t = minidl.full((2, 3), rank, dtype=dtype, device="cuda").T
            distributed.all_reduce(t, distributed.ReduceOp[op])
            assert t.device.type == "cuda" and t.unique().cpu().tolist() == [wanted], (op, dtype)
    t = minidl.tensor([rank, 5 - rank], device="cuda")
    distributed.broadcast(t, src=1)
    assert t.cpu().tolist() == [1, 4]
    found = [minidl.zeros(3, device="cuda") for _ in range(size)]
    distributed.all_gather(found, minidl.full((3,), float(rank), device="cuda"))
    assert [x.cpu().tolist() for x in found] == [[float(r)] * 3 for r in range(size)]
    minidl.manual_seed(rank)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).cuda()
    ddp = DistributedDataParallel(net, device_ids=[rank])
    standin.CALLS.clear()
    before = len(strict.SYNCS)
    ddp(minidl.full((2, 3), float(rank), device="cuda")).sum().backward()
    assert standin.CALLS == [("allReduce", 26)] and len(strict.SYNCS) == before, "one call, and nobody waits for the GPU"
    assert all(same_everywhere(p.grad.cpu().numpy()) for p in net.parameters())
    assert net[1].bias.grad.cpu().tolist() == [2.0, 2.0]


if __name__ == "__main__":
    distributed.init_process_group()
    for program in sys.argv[1].split(","):
        globals()[program](*sys.argv[2:])
        distributed.barrier()
        if distributed.get_rank() == 0:
            print(f"done {program}\n", end="", flush=True)  # in one piece: another rank may write at the same time
