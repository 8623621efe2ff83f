"""Public collections by the name that a recipe's `layout` gives: a further one is one file here and one line below."""

from catalogs.chest_xrays.collections.chexpert import CHEXPERT
from catalogs.chest_xrays.collections.layout import Collection
from catalogs.chest_xrays.collections.mimic import MIMIC, MIMIC_NEGBIO
from catalogs.chest_xrays.collections.nih import NIH
from catalogs.chest_xrays.collections.rsna import RSNA
from catalogs.chest_xrays.collections.vindr import VINDR

COLLECTIONS: dict[str, Collection] = {
    "chexpert": CHEXPERT,
    "nih": NIH,
    "rsna": RSNA,
    "vindr": VINDR,
    "mimic": MIMIC,
    "mimic_negbio": MIMIC_NEGBIO,
}
