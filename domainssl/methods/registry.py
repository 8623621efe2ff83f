"""Every self-supervised method by the name a recipe gives it, and what it needs. Imports no torch.

A new method: one file beside this one, one line here, and a table in `domainssl.method_options` if it has options.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from domainssl.encoders import TimmEncoder
    from domainssl.methods.method import Method
    from domainssl.options import PretrainOptions

Family = Literal["reconstruction", "pretext", "pairs", "contrastive", "teacher and student", "none", "supervised"]
# bands: two or more. grid: an encoder with a feature map. tokens: a vision transformer. dense: an encoder of one dense
# layer. labels: a column of the catalog to learn from.
Need = Literal["bands", "grid", "tokens", "dense", "labels"]

# How the names of timm's plain vision transformers and of our one-layer encoders begin.
TRANSFORMERS = ("vit_", "deit", "test_vit")
DENSE = ("dense_", "sigmoid_")


@dataclass(frozen=True)
class About:
    """One method: `where` it is ("module:Class" in this folder, "" for no training at all), what it needs, its source,
    what it is good for."""

    family: Family
    where: str
    source: str
    good_for: str
    needs: tuple[Need, ...] = ()

    def load(self) -> "Callable[[TimmEncoder, PretrainOptions], Method]":
        """The class; imports torch. ValueError where nothing is trained."""
        if not self.where:
            raise ValueError("pretrain.method: 'none' trains nothing; the encoder is used as it is")
        module, name = self.where.split(":")
        found: Callable[[TimmEncoder, PretrainOptions], Method]
        found = getattr(importlib.import_module(f"domainssl.methods.{module}"), name)
        return found


METHODS: Mapping[str, About] = {
    "linear_autoencoder": About(
        "reconstruction",
        "linear_autoencoder:LinearAutoencoder",
        "Baldi and Hornik 1989, Neural Networks 2, 53",
        "the yardstick: principal components, learnt by gradient descent",
        ("dense",),
    ),
    "autoencoder": About(
        "reconstruction",
        "autoencoder:Autoencoder",
        "Hinton and Salakhutdinov 2006, Science 313, 504",
        "seeing what a few numbers keep of an image; a small code may still memorise",
    ),
    "denoising_autoencoder": About(
        "reconstruction",
        "denoising_autoencoder:DenoisingAutoencoder",
        "Vincent et al. 2010, JMLR 11, 3371",
        "codes larger than the input too, since copying the input does not solve the task",
    ),
    "sparse_autoencoder": About(
        "reconstruction",
        "sparse_autoencoder:SparseAutoencoder",
        "Ng 2011, CS294A lecture notes, sec. 3",
        "many units of which few speak for any one image",
    ),
    "contractive_autoencoder": About(
        "reconstruction",
        "contractive_autoencoder:ContractiveAutoencoder",
        "Rifai et al. 2011, ICML, 833",
        "codes that hardly move when the image changes a little",
    ),
    "variational_autoencoder": About(
        "reconstruction",
        "variational_autoencoder:VariationalAutoencoder",
        "Kingma & Welling 2014, arXiv:1312.6114",
        "a smooth code that can be walked through and drawn from",
    ),
    "context_encoder": About(
        "reconstruction",
        "context_encoder:ContextEncoder",
        "Pathak et al. 2016, arXiv:1604.07379",
        "objects whose parts follow from one another, and an encoder that is a convolutional network",
    ),
    "split_brain": About(
        "reconstruction",
        "split_brain:SplitBrain",
        "Zhang et al. 2017, arXiv:1611.09842",
        "many bands: each half of them is predicted from the other",
        ("bands",),
    ),
    "colorization": About(
        "reconstruction",
        "colorization:Colorization",
        "Zhang et al. 2016, arXiv:1603.08511",
        "objects whose shape tells their colour",
        ("bands",),
    ),
    "mae": About(
        "reconstruction",
        "mae:MAE",
        "He et al. 2022, arXiv:2111.06377",
        "vision transformers and many images, cheaply: the encoder sees a quarter of each",
        ("tokens",),
    ),
    "relative_patch": About(
        "pretext",
        "relative_patch:RelativePatch",
        "Doersch et al. 2015, arXiv:1505.05192",
        "images with an up and a layout, such as radiographs: learns how parts lie to one another",
    ),
    "jigsaw": About(
        "pretext",
        "jigsaw:Jigsaw",
        "Noroozi & Favaro 2016, arXiv:1603.09246",
        "images with a layout of parts: all nine places at once, harder than one neighbour's",
    ),
    "rotation": About(
        "pretext",
        "rotation:Rotation",
        "Gidaris et al. 2018, arXiv:1803.07728",
        "images with an up; on survey data a test for leaks of orientation, at chance where there is none",
    ),
    "exemplar": About(
        "pretext",
        "exemplar:Exemplar",
        "Dosovitskiy et al. 2014, arXiv:1406.6909",
        "small cohorts whose details matter, up to some thousand images",
    ),
    "siamese": About(
        "pairs",
        "siamese:Siamese",
        "Hadsell et al. 2006 (CVPR)",
        "distances that are to be compared with a threshold: the same object or not",
    ),
    "triplet": About(
        "pairs",
        "triplet:Triplet",
        "Schroff et al. 2015, arXiv:1503.03832",
        "retrieval and verification, where the order of distances matters and not their size",
    ),
    "simclr": About(
        "contrastive",
        "simclr:SimCLR",
        "Chen et al. 2020, arXiv:2002.05709",
        "the default: helps from a few hundred images on, and needs no teacher",
    ),
    "moco": About(
        "contrastive",
        "moco:MoCo",
        "He et al. 2019, arXiv:1911.05722; v2: Chen et al. 2020, arXiv:2003.04297",
        "many negatives by small batches",
    ),
    "cpc": About(
        "contrastive",
        "cpc:CPC",
        "v2: Henaff et al. 2019, arXiv:1905.09272",
        "structure across the image, from a single view; convolutional encoders are fastest",
    ),
    "deep_infomax": About(
        "contrastive",
        "deep_infomax:DeepInfoMax",
        "Hjelm et al. 2019, arXiv:1808.06670",
        "features that tell of every part of the image, from a single view",
        ("grid",),
    ),
    "byol": About(
        "teacher and student",
        "byol:BYOL",
        "Grill et al. 2020, arXiv:2006.07733",
        "small batches, since no image repels another",
    ),
    "dino": About(
        "teacher and student",
        "dino:DINO",
        "Caron et al. 2021, arXiv:2104.14294",
        "transformers, whose attention then outlines objects; works with convolutional encoders",
    ),
    "ijepa": About(
        "teacher and student",
        "ijepa:IJEPA",
        "Assran et al. 2023, arXiv:2301.08243",
        "transformers, where no distortion of the images is known to be harmless",
        ("tokens",),
    ),
    "none": About(
        "none",
        "",
        "DINOv2: Oquab et al. 2023, arXiv:2304.07193; DINOv3: Simeoni et al. 2025, arXiv:2508.10104",
        "any encoder of timm as it is: ImageNet, DINOv2, DINOv3",
    ),
    "supervised": About(
        "supervised",
        "supervised:Supervised",
        "cross-entropy",
        "what labels give by the same views and schedule, to compare with",
        ("labels",),
    ),
}


def not_applicable(method: str, encoder: str, bands: int) -> str | None:
    """Why this method cannot train this encoder on images of so many bands, and what to do; None where it can."""
    needs = METHODS[method].needs
    if "bands" in needs and bands < 2:
        return f"{method} predicts bands from other bands, the images have {bands}; `domainssl methods` lists others"
    if "tokens" in needs and not encoder.startswith(TRANSFORMERS):
        return f"{method} needs a vision transformer, {encoder} is none; give encoder.name = 'vit_tiny_patch16_224'"
    if "dense" in needs and not encoder.startswith(DENSE):
        return f"{method} needs one dense layer, {encoder} is none; give encoder.name = 'dense_32' and weights = 'none'"
    if "grid" in needs and encoder.startswith((*TRANSFORMERS, *DENSE)):
        return f"{method} needs a feature map, {encoder} has none; give encoder.name = 'tf_efficientnet_lite0'"
    return None
