"""Every self-supervised method by the name a recipe gives it."""

from collections.abc import Callable

from domainssl.encoders import TimmEncoder
from domainssl.methods.byol import BYOL
from domainssl.methods.method import Method
from domainssl.methods.simclr import SimCLR
from domainssl.options import PretrainOptions

METHODS: dict[str, Callable[[TimmEncoder, PretrainOptions], Method]] = {
    "simclr": SimCLR,
    "byol": BYOL,
}
