"""Checking gradients: against differences, against transposes, and (`minidl.testing.strategies`) under Hypothesis.

`minidl.testing.zoo` is a collection of wrong gradients, which scores a checker, this one or any other. NumPy is all that this
package needs; only `minidl.testing.strategies` imports Hypothesis.
"""

from .check import GradcheckError, KinkWarning
from .differences import numerical_jacobian
from .engine import Engine, MyGradEngine, TorchEngine
from .gradcheck import adjointcheck, gradcheck, gradgradcheck

__all__ = [
    "Engine",
    "GradcheckError",
    "KinkWarning",
    "MyGradEngine",
    "TorchEngine",
    "adjointcheck",
    "gradcheck",
    "gradgradcheck",
    "numerical_jacobian",
]
