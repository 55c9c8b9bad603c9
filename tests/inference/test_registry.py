from __future__ import annotations

import re
import subprocess
import sys

import pytest

from napari_sam.errors import CheckpointError
from napari_sam.inference.registry import DOMAINS, find_card, list_models, require_card, suggest_names

NAMES = [
    "nuclei", "vit_t_lm", "vit_b_lm", "vit_l_lm", "vit_t_em_organelles", "vit_b_em_organelles",
    "vit_l_em_organelles", "vit_b_histopathology", "vit_b_medical_imaging",
    "vit_t", "vit_b", "vit_l", "vit_h",
]  # fmt: skip


def test_the_table() -> None:
    cards = list_models()
    assert [card.name for card in cards] == NAMES
    assert [card.name for card in cards if card.bundled] == ["nuclei"]
    assert all(card.title and card.description and card.license for card in cards)
    assert [DOMAINS.index(card.domain) for card in cards] == sorted(DOMAINS.index(c.domain) for c in cards)
    assert [card.name for card in cards if card.decoder] == [
        n for n in NAMES if n.endswith(("lm", "les", "logy"))
    ]


def test_files_are_told_apart_by_name_and_content() -> None:
    files = [file for card in list_models() for file in card.files]
    assert len({file.name for file in files}) == len({file.xxh128 for file in files}) == len(files) == 19
    for file in files:
        assert re.fullmatch("[0-9a-f]{32}", file.xxh128)
        assert re.fullmatch(r"https://[^ ]+", file.url)
        assert file.megabytes > 0


@pytest.mark.parametrize(
    ("name", "url", "digest", "megabytes"),
    [
        pytest.param(
            "vit_b",
            "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
            "6923c33df3637b6a922d7682bfc9a86b",
            375,
            id="original",
        ),
        pytest.param(
            "vit_b_lm",
            "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/diplomatic-bug/1.2/files/vit_b.pt",
            "fe9252a29f3f4ea53c15a06de471e186",
            413,
            id="model zoo, with a decoder",
        ),
        pytest.param(
            "vit_b_medical_imaging",
            "https://owncloud.gwdg.de/index.php/s/f5Ol4FrjPQWfjUF/download",
            "40169f1e3c03a4b67bff58249c176d92",
            375,
            id="file share",
        ),
        pytest.param("nuclei", None, None, 0, id="bundled"),
    ],
)
def test_a_card(name: str, url: str | None, digest: str | None, megabytes: int) -> None:
    card = require_card(name)
    assert (card.url, card.digest, card.megabytes) == (url, digest, megabytes)


def test_decoders_lie_beside_their_models() -> None:
    zoo = [card for card in list_models() if card.decoder and "bioimage.io" in card.decoder.url]
    assert len(zoo) == 6
    for card in zoo:
        assert card.weights is not None
        assert card.decoder is not None
        assert card.decoder.url == card.weights.url.replace(".pt", "_decoder.pt")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("vit-b-lm", "vit_b_lm"),
        ("VIT_B", "vit_b"),
        ("sam_vit_h", "vit_h"),
        ("nucleus", "nuclei"),
        ("histopathology", "vit_b_histopathology"),
        ("MobileSAM", "vit_t"),
        ("vit_b_organelles", "vit_b_em_organelles"),
    ],
)
def test_near_matches(name: str, first: str) -> None:
    assert find_card(name) is None
    assert suggest_names(name)[0] == first
    with pytest.raises(CheckpointError, match=f"got '{name}'. Did you mean .*{first}"):
        require_card(name)


def test_far_from_everything() -> None:
    assert suggest_names("resnet50") == []
    with pytest.raises(CheckpointError, match=r"The names are nuclei, vit_t_lm, .*vit_h"):
        require_card("resnet50")


def test_the_table_needs_no_torch() -> None:
    code = (
        "import sys, napari_sam.inference.registry, napari_sam.inference.fetch;"
        "sys.exit(str({'torch', 'scipy', 'pooch', 'requests'} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
