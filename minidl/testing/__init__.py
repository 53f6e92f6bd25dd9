"""Checking gradients: against differences, against transposes, and (`minidl.testing.strategies`) under Hypothesis.

NumPy is all that this package needs; only `minidl.testing.strategies` imports Hypothesis.
"""

from .differences import numerical_jacobian
from .engine import Engine
from .gradcheck import GradcheckError, KinkWarning, adjointcheck, gradcheck, gradgradcheck

__all__ = ["Engine", "GradcheckError", "KinkWarning", "adjointcheck", "gradcheck", "gradgradcheck", "numerical_jacobian"]
