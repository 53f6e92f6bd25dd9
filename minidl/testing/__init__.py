"""Checking gradients: against differences, against transposes, and (`minidl.testing.strategies`) under Hypothesis.

NumPy is all that this package needs; only `minidl.testing.strategies` imports Hypothesis.
"""

from .check import GradcheckError, KinkWarning
from .differences import numerical_jacobian
from .engine import Engine
from .gradcheck import adjointcheck, gradcheck, gradgradcheck

__all__ = ["Engine", "GradcheckError", "KinkWarning", "adjointcheck", "gradcheck", "gradgradcheck", "numerical_jacobian"]
