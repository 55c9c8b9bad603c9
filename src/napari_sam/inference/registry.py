"""The models that have a name: one table, and nothing that needs torch.

Sources: Kirillov et al. 2023 (the original models), Zhang et al. 2023 (MobileSAM), Archit et al. 2025,
"Segment Anything for Microscopy" (the fine-tuned models). A file is identified by its hash, so that one that
was put into the folder by hand is as good as one that was downloaded.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import Any, Final

from napari_sam.errors import CheckpointError

__all__ = [
    "DOMAINS",
    "ModelCard",
    "WeightFile",
    "describe_choice",
    "find_card",
    "list_models",
    "require_card",
    "suggest_names",
]

DOMAINS: Final = (
    "bundled",
    "light microscopy",
    "electron microscopy",
    "histopathology",
    "medical",
    "anything",
)
"""What models are for, in the order in which they are listed."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of a model.

    Attributes
    ----------
    name : str
        Under which it is kept.
    url : str
        Where it comes from.
    xxh128 : str
        Its content, 32 hexadecimal digits.
    megabytes : int
        About how large it is, in units of 10**6 bytes; for the user's decision and the check of free space.
    """

    name: str
    url: str
    xxh128: str
    megabytes: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that can be chosen by name.

    Attributes
    ----------
    name, title, description : str
    license : str
        Of the weights, as SPDX names it; "not stated" where its authors do not say.
    bundled : bool
        Whether the weights come with the package.
    architecture : str
        As ``build_sam`` names it.
    domain : str
        One of ``DOMAINS``.
    weights : WeightFile or None
        Encoder, prompt encoder and mask decoder; None for a bundled model.
    decoder : WeightFile or None
        The instance decoder, where there is one.
    object_size : float or None
        Typical diameter of the objects that it was trained on, in pixels of the image; None for any.
    defaults : dict
        Thresholds that suit the model, by method of automatic segmentation.
    """

    name: str
    title: str
    description: str
    license: str
    bundled: bool = False
    architecture: str = "vit_b"
    domain: str = "anything"
    weights: WeightFile | None = None
    decoder: WeightFile | None = None
    object_size: float | None = None
    defaults: dict[str, dict[str, Any]] = field(default_factory=dict, hash=False)

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """What has to be downloaded; empty for a bundled model."""
        return tuple(file for file in (self.weights, self.decoder) if file is not None)

    @property
    def megabytes(self) -> int:
        """Size of all files in units of 10**6 bytes; 0 for a bundled model."""
        return sum(file.megabytes for file in self.files)

    @property
    def url(self) -> str | None:
        """Where the weights come from; None for a bundled model."""
        return None if self.weights is None else self.weights.url

    @property
    def digest(self) -> str | None:
        """xxh128 of the weights; None for a bundled model."""
        return None if self.weights is None else self.weights.xxh128


_META: Final = "https://dl.fbaipublicfiles.com/segment_anything/"
_ZOO: Final = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/"
_GWDG: Final = "https://owncloud.gwdg.de/index.php/s/"

# The size of a checkpoint follows from its architecture: four bytes a weight.
_MEGABYTES: Final = {"vit_t": 41, "vit_b": 375, "vit_l": 1250, "vit_h": 2565}
_ENCODERS: Final = {"vit_t": "ViT-T", "vit_b": "ViT-B", "vit_l": "ViT-L", "vit_h": "ViT-H"}
_SPEEDS: Final = {
    "vit_t": "Tiny: the fastest.",
    "vit_b": "Base: a good start.",
    "vit_l": "Large: better and slower.",
    "vit_h": "Huge: the best of the original ones, and the slowest; for a GPU.",
}
# The thresholds of the paper (App. B).
_GRID: Final = {"grid": {"predicted_iou": 0.88, "stability": 0.95}}


def _original(architecture: str, file: str, xxh128: str, text: str = "") -> ModelCard:
    title = "MobileSAM" if architecture == "vit_t" else "Segment Anything"
    url = file if file.startswith("https:") else _META + file
    name = "mobile_sam.pt" if architecture == "vit_t" else file
    return ModelCard(
        name=architecture,
        title=f"{title} ({_ENCODERS[architecture]})",
        description=text or f"Trained on photographs of anything. {_SPEEDS[architecture]}",
        license="Apache-2.0",
        architecture=architecture,
        weights=WeightFile(name, url, xxh128, _MEGABYTES[architecture]),
        defaults=_GRID,
    )


def _tuned(base: ModelCard, architecture: str, folder: str, weights: str, decoder: str = "") -> ModelCard:
    """One size of a fine-tuned family; ``folder`` is of the model zoo, or the two keys of the file share."""
    name = f"{architecture}{base.name}"
    if "|" in folder:
        urls = [f"{_GWDG}{key}/download" for key in folder.split("|")]
    else:
        urls = [f"{_ZOO}{folder}/files/{architecture}{part}.pt" for part in ("", "_decoder")]
    return replace(
        base,
        name=name,
        title=f"{base.title} ({_ENCODERS[architecture]})",
        description=f"{base.description} {_SPEEDS[architecture]}",
        architecture=architecture,
        weights=WeightFile(f"{name}.pt", urls[0], weights, _MEGABYTES[architecture]),
        decoder=WeightFile(f"{name}_decoder.pt", urls[1], decoder, 38) if decoder else None,
    )


_LIGHT: Final = ModelCard(
    "_lm",
    "Light microscopy",
    "Cells and nuclei in fluorescence, phase contrast and other light microscopy.",
    "CC-BY-4.0",
    domain="light microscopy",
)
_ELECTRON: Final = ModelCard(
    "_em_organelles",
    "Electron microscopy, organelles",
    "Mitochondria, nuclei and other roundish organelles in electron microscopy.",
    "CC-BY-4.0",
    domain="electron microscopy",
)
_HISTOLOGY: Final = ModelCard(
    "_histopathology",
    "Histopathology",
    "Nuclei in stained tissue sections.",
    "not stated",
    domain="histopathology",
)
_MEDICAL: Final = ModelCard(
    "_medical_imaging",
    "Medical imaging",
    "Organs and lesions in CT, MRI, X-ray, ultrasound and other medical images.",
    "not stated",
    domain="medical",
)

_CARDS: Final = (
    ModelCard(
        "nuclei",
        "Nuclei (bundled)",
        "Small convolutional model for nuclei and similar blobs in fluorescence, histology and bright field.",
        "CC0-1.0",
        bundled=True,
        architecture="conv_s",
        domain="bundled",
    ),
    _tuned(
        _LIGHT, "vit_t", "faithful-chicken/1.1",
        "72ec5074774761a6e5c05a08942f981e", "3e914a5f397b0312cdd36813031f8823",
    ),
    _tuned(
        _LIGHT, "vit_b", "diplomatic-bug/1.2",
        "fe9252a29f3f4ea53c15a06de471e186", "708b15ac620e235f90bb38612c4929ba",
    ),
    _tuned(
        _LIGHT, "vit_l", "idealistic-rat/1.2",
        "017f20677997d628426dec80a8018f9d", "2faeafa03819dfe03e7c46a44aaac64a",
    ),
    _tuned(
        _ELECTRON, "vit_t", "greedy-whale/1",
        "253474720c497cce605e57c9b1d18fd9", "8f897c7bb93174a4d1638827c4dd6f44",
    ),
    _tuned(
        _ELECTRON, "vit_b", "noisy-ox/1.2",
        "f3bf2ed83d691456bae2c3f9a05fb438", "bb6398956a6b0132c26b631c14f95ce2",
    ),
    _tuned(
        _ELECTRON, "vit_l", "humorous-crab/1.2",
        "810b084b6e51acdbf760a993d8619f2d", "334877640bfdaaabce533e3252a17294",
    ),
    _tuned(
        _HISTOLOGY, "vit_b", "sBB4H8CTmIoBZsQ|KO9AWqynI7SFOBj",
        "ffd1a2cd84570458b257bd95fdd8f974", "6a66194dcb6e36199cbee2214ecf7213",
    ),
    _tuned(
        _MEDICAL, "vit_b", "f5Ol4FrjPQWfjUF|",
        "40169f1e3c03a4b67bff58249c176d92",
    ),
    _original(
        "vit_t", f"{_GWDG}TuDzuwVDHd1ZDnQ/download", "8eadbc88aeb9d8c7e0b4b60c3db48bd0",
        "Segment Anything with a small encoder: anything, in a tenth of the time, a little less precise.",
    ),
    _original("vit_b", "sam_vit_b_01ec64.pth", "6923c33df3637b6a922d7682bfc9a86b"),
    _original("vit_l", "sam_vit_l_0b3195.pth", "a82beb3c660661e3dd38d999cc860e9a"),
    _original("vit_h", "sam_vit_h_4b8939.pth", "97698fac30bd929c2e6d8d8cc15933c2"),
)  # fmt: skip


def list_models() -> tuple[ModelCard, ...]:
    """The models that have a name, the bundled ones first, then by what they are for."""
    return _CARDS


def find_card(name: str) -> ModelCard | None:
    """The model of this name; None where there is none."""
    return next((card for card in _CARDS if card.name == name), None)


def suggest_names(name: str, count: int = 3) -> list[str]:
    """Names and titles' names that are near a name nobody knows, the nearest first.

    Examples
    --------
    >>> suggest_names("vit-b-lm")[0]
    'vit_b_lm'
    """
    wanted = name.strip().lower().replace("-", "_").replace(" ", "_").removeprefix("sam_")
    keys = {card.name: card.name for card in _CARDS}
    keys |= {card.title.lower().replace("-", "_").replace(" ", "_"): card.name for card in _CARDS}
    if wanted in keys:
        return [keys[wanted]]
    near = difflib.get_close_matches(wanted, keys, n=len(keys), cutoff=0.55)
    near += [key for key in keys if len(wanted) > 3 and wanted in key]
    return list(dict.fromkeys(keys[key] for key in near))[:count]


def require_card(name: str) -> ModelCard:
    """The model of this name.

    Raises
    ------
    CheckpointError
        When there is none; the message lists near matches.
    """
    card = find_card(name)
    if card is None:
        raise CheckpointError(f"Expected the name of a model, got {name!r}. {describe_choice(name)}")
    return card


def describe_choice(name: str) -> str:
    """What somebody could have meant who asked for a name that nobody knows."""
    near = suggest_names(name)
    if near:
        meant = near[0] if len(near) == 1 else ", ".join(near[:-1]) + " or " + near[-1]
        return f"Did you mean {meant}?"
    return f"The names are {', '.join(card.name for card in _CARDS)}."
