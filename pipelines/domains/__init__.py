"""Every domain by the name a recipe gives it: a third one is one reader, one file here and one line below."""

from pipelines.domains.chest_xrays import CHEST_XRAYS
from pipelines.domains.domain import Domain
from pipelines.domains.galaxies import GALAXIES

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (GALAXIES, CHEST_XRAYS)}
