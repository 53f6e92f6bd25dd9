"""minidl and PyTorch: one program serves both, for the names are the same."""

import importlib

from . import given, networks

MODELS = {"cifar": networks.cifar_network, "resnet20": networks.resnet20, "mlp": networks.tiny_mlp}


class Case:
    """A network with its batch, its weights and its optimiser."""

    def __init__(self, model, batch, train=True, threads=None, *, library, channels_last=False, compiled=False):
        self.lib = lib = importlib.import_module(library)
        if compiled and not hasattr(lib, "compile"):
            raise NotImplementedError(f"this {library} has no compile")
        if threads:
            lib.set_num_threads(threads)
        self.train = train
        net = MODELS[model](lib)
        weights = given.weights({name: tuple(p.shape) for name, p in net.named_parameters()})
        for name, p in net.named_parameters():
            p.data = lib.from_numpy(weights[name])
        self.x, self.y = map(lib.from_numpy, given.batch(model, batch))
        if channels_last and model != "mlp":
            net, self.x = net.to(memory_format=lib.channels_last), self.x.to(memory_format=lib.channels_last)
        self.criterion = lib.nn.MSELoss() if model == "mlp" else lib.nn.CrossEntropyLoss()
        self.optimizer = lib.optim.SGD(net.parameters(), lr=given.LR, momentum=given.MOMENTUM)
        self.net = lib.compile(net) if compiled else net

    def step(self):
        """A training step, or a forward pass; the loss."""
        if not self.train:
            with self.lib.no_grad():
                return self.criterion(self.net(self.x), self.y)
        self.optimizer.zero_grad()
        loss = self.criterion(self.net(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()
