"""Activation functions, made of functions of one and two values."""

from __future__ import annotations

from collections.abc import Callable

from midge.load.onnx.functions import apply, mapped, number, one, pair, two
from midge.load.onnx.held import Held
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.base import Activation
from midge.ops.binary import Function as Pair
from midge.ops.logistic import Logistic
from midge.ops.map import Function
from midge.ops.mul import Mul
from midge.ops.relu import Relu
from midge.ops.tanh import Tanh


def leaky_relu(site: Site) -> None:
    """LeakyRelu: the larger of x and alpha x (the smaller, where alpha is above 1)."""
    alpha = float(site.attribute("alpha", 0.01))
    x = site.held(0)
    site.bind(two(site, pair(Pair.MAXIMUM if alpha <= 1 else Pair.MINIMUM), x, two(site, Mul, x, number(alpha))))


def prelu(site: Site) -> None:
    """PRelu: max(x, 0) + slope min(x, 0)."""
    x, slope = site.held(0), site.operand(1)
    below = two(site, Mul, two(site, pair(Pair.MINIMUM), x, number(0.0)), slope)
    site.bind(two(site, Add, one(site, Relu(Activation.RELU), x), below))


def hard_sigmoid(site: Site) -> None:
    """HardSigmoid: alpha x + beta, between 0 and 1."""
    scaled = two(site, Mul, site.held(0), number(float(site.attribute("alpha", 0.2))))
    shifted = two(site, Add, scaled, number(float(site.attribute("beta", 0.5))))
    site.bind(two(site, pair(Pair.MINIMUM), one(site, Relu(Activation.RELU), shifted), number(1.0)))


def elu(site: Site) -> None:
    alpha = float(site.attribute("alpha", 1.0))
    x = site.held(0)
    site.bind(apply(site, Function.ELU, x) if alpha == 1.0 else _elu(site, x, alpha, 1.0))


def celu(site: Site) -> None:
    """Celu: max(x, 0) + min(0, alpha (e^(x / alpha) - 1))."""
    alpha = float(site.attribute("alpha", 1.0))
    if alpha == 0.0:
        site.broken("alpha 0", "another number")
    site.bind(_elu(site, site.held(0), alpha, 1.0 / alpha))


def selu(site: Site) -> None:
    """Selu: gamma (max(x, 0) + alpha (e^min(x, 0) - 1))."""
    found = _elu(site, site.held(0), float(site.attribute("alpha", 1.67326319217681884765625)), 1.0)
    site.bind(two(site, Mul, found, number(float(site.attribute("gamma", 1.05070102214813232421875)))))


def _elu(site: Site, x: Held, alpha: float, rate: float) -> Held:
    """max(x, 0) + alpha (e^(rate min(x, 0)) - 1)."""
    below = two(site, pair(Pair.MINIMUM), x, number(0.0))
    if rate != 1.0:
        below = two(site, Mul, below, number(rate))
    curve = two(site, Mul, apply(site, Function.ELU, below), number(alpha))
    return two(site, Add, one(site, Relu(Activation.RELU), x), curve)


def gelu(site: Site) -> None:
    is_tanh = site.attribute("approximate", "none") == "tanh"
    site.bind(apply(site, Function.GELU_TANH if is_tanh else Function.GELU, site.held(0)))


def softplus(site: Site) -> None:
    """Softplus."""
    site.bind(_softplus(site, site.held(0)))


def _softplus(site: Site, x: Held) -> Held:
    """max(x, 0) + ln(1 + e^-|x|)."""
    power = apply(site, Function.EXP, apply(site, Function.NEG, apply(site, Function.ABS, x)))
    logarithm = apply(site, Function.LOG, two(site, Add, power, number(1.0)))
    return two(site, Add, one(site, Relu(Activation.RELU), x), logarithm)


def softsign(site: Site) -> None:
    """Softsign: x / (1 + |x|)."""
    x = site.held(0)
    site.bind(two(site, pair(Pair.DIV), x, two(site, Add, apply(site, Function.ABS, x), number(1.0))))


def swish(site: Site) -> None:
    """Swish: x · sigmoid(alpha x)."""
    x, alpha = site.held(0), float(site.attribute("alpha", 1.0))
    inner = x if alpha == 1.0 else two(site, Mul, x, number(alpha))
    site.bind(two(site, Mul, x, one(site, Logistic(), inner)))


def mish(site: Site) -> None:
    """Mish: x · tanh(softplus(x))."""
    x = site.held(0)
    site.bind(two(site, Mul, x, one(site, Tanh(), _softplus(site, x))))


ROWS: dict[str, Callable[[Site], None]] = {
    "Celu": celu,
    "Elu": elu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": mapped(Function.HARD_SWISH),
    "LeakyRelu": leaky_relu,
    "Mish": mish,
    "PRelu": prelu,
    "Selu": selu,
    "Softplus": softplus,
    "Softsign": softsign,
    "Swish": swish,
    "com.microsoft:Gelu": gelu,
}
