"""The checker on other libraries' functions: PyTorch's, MyGrad's, and those of an engine of twenty lines."""

import numpy as np
import pytest

from minidl.testing import Engine, GradcheckError, MyGradEngine, TorchEngine, adjointcheck, gradcheck, gradgradcheck, zoo
from minidl.testing import strategies as mst


def points(engine, *shapes):
    rng = np.random.default_rng(0)
    return tuple(engine.tensor(rng.uniform(0.5, 2, shape), True) for shape in shapes)


class TestTorch:
    """PyTorch's."""

    @pytest.fixture(autouse=True)
    def installed(self):
        self.torch = pytest.importorskip("torch")
        self.engine = TorchEngine()

    def test_right_functions_pass(self):
        x, w = points(self.engine, (1, 2, 4, 4), (2, 2, 3, 3))
        conv = self.torch.nn.functional.conv2d
        assert gradcheck(conv, (x, w), engine=self.engine)
        assert gradgradcheck(conv, (x, w), engine=self.engine)
        assert adjointcheck(lambda x: x.sum(1), lambda g: g[:, None].expand(3, 4), x[0, 0, :3], engine=self.engine)

    def test_a_wrong_one_is_named(self):
        class Cube(self.torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x**3

            @staticmethod
            def backward(ctx, g):
                return g * 2 * ctx.saved_tensors[0] ** 2

        with pytest.raises(GradcheckError, match="gradcheck: CubeBackward: the gradient of input 0"):
            gradcheck(Cube.apply, points(self.engine, (3,)), engine=self.engine)

    def test_under_hypothesis(self):
        mst.gradient_test(self.torch.mul, mst.broadcastable(engine=self.engine), engine=self.engine)()

    def test_the_zoo_lives_there_too(self):
        engine = self.engine
        found = zoo.score(
            lambda func, inputs: gradcheck(func, inputs, engine=engine),
            lambda func, inputs: gradgradcheck(func, inputs, engine=engine),
            engine=engine,
        )
        assert found.missed == found.false_alarms == ()

    def test_the_score_of_its_own_checker(self, monkeypatch):
        for group in ("WRONG", "RIGHT"):  # thousands of elements take it long, and it judges them well
            monkeypatch.setattr(zoo, group, [a for a in getattr(zoo, group) if a.inputs()[0].size < 1000])
        check = self.torch.autograd
        found = zoo.score(check.gradcheck, check.gradgradcheck, engine=self.engine)
        assert found.false_alarms == ()
        assert "squared_g" in found.missed and "reads_g_in_memory_order" in found.missed  # as docs/gradcheck.md has it
        assert (len(found.caught), len(found.missed)) == (45, 5)


class TestMyGrad:
    """MyGrad's."""

    @pytest.fixture(autouse=True)
    def installed(self):
        self.mygrad = pytest.importorskip("mygrad")
        self.engine = MyGradEngine()

    def test_right_functions_pass(self):
        mg = self.mygrad
        assert gradcheck(lambda x, y: mg.sin(x) * y / (1 + x * x), points(self.engine, (2, 3), (3,)), engine=self.engine)
        assert gradcheck(mg.matmul, points(self.engine, (2, 3), (3, 2)), engine=self.engine)
        assert gradcheck(lambda x: (mg.exp(x), x.sum()), points(self.engine, (2,)), engine=self.engine)
        assert gradcheck(lambda x, y: x * 2, points(self.engine, (2,), (2,)), engine=self.engine)

    def test_a_wrong_one_is_named(self):
        with pytest.raises(GradcheckError, match="gradcheck: Multiply: the gradient of input 0"):
            gradcheck(lambda x: x * x.data, points(self.engine, (3,)), engine=self.engine)

    def test_second_derivatives_are_refused(self):
        with pytest.raises(NotImplementedError, match="MyGrad has no second derivatives"):
            gradgradcheck(self.mygrad.sin, points(self.engine, (3,)), engine=self.engine)
        with pytest.raises(NotImplementedError):
            self.engine.op(np.sin, np.cos)


def test_ops_of_arrays():
    product = Engine().op(np.multiply, lambda g, a, b: (g * b, g * a))
    x, y = points(Engine(), (2,), (2,))
    assert product.__self__.__name__ == "multiply"
    assert gradcheck(product, (x, y))
    with pytest.raises(GradcheckError):  # without `again` its gradients are constants
        gradgradcheck(product, (x, y))
