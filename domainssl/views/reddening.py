"""Galactic reddening of linear images: from the object's own E(B-V) to a drawn one."""

import dataclasses
import math
from dataclasses import dataclass
from typing import final

import torch

from domainssl.store import Batch
from domainssl.views.operation import uniform


@final
@dataclass(frozen=True)
class Reddening:
    """Multiply each band by 10^(-0.4 R (E' - E)): E the object's own E(B-V), E' drawn from U(0, largest).

    `coefficients` are R a band (magnitudes of extinction per E(B-V)). Unknown E (NaN, or no "ebv") is drawn from the
    lognormal that Stein et al. 2021 fitted to the Legacy Survey: shape 0.673, location 0.0011, scale 0.0334.
    Sky noise is not scaled: extinction dims the object, not the sky.
    """

    coefficients: tuple[float, ...]
    largest: float = 0.2

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        count = len(batch.images)
        prior = 0.001146 + 0.03338 * torch.exp(0.67306 * torch.randn(count, generator=generator))
        own = batch.nuisance["ebv"][:, 0] if "ebv" in batch.nuisance else torch.full((count,), math.nan)
        own = torch.where(torch.isnan(own), prior, own)
        drawn = uniform(generator, count, 0.0, self.largest)
        exponent = -0.4 * torch.tensor(self.coefficients)[None, :] * (drawn - own)[:, None]
        nuisance = {**batch.nuisance, "ebv": drawn[:, None].expand(count, len(self.coefficients))}
        return dataclasses.replace(batch, images=batch.images * (10.0**exponent)[:, :, None, None], nuisance=nuisance)
