"""Which images and labels belong together, and what is wrong with some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.io import imsave

from napari_sam.cli.labelled_files import read_index, read_labelled_images, read_pair
from napari_sam.errors import ImageError, SamError
from napari_sam.training.dataset import LabelledImage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SPOT = np.eye(9, dtype=np.uint8)


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Path]:
    """Write one image with its labels; gives the folder."""

    def write(name: str, image: NDArray[Any], labels: NDArray[Any], **options: Any) -> Path:
        for kind, array in (("images", image), ("labels", labels)):
            (tmp_path / kind).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / kind / f"{name}.tif", array, **(options if kind == "images" else {}))
        return tmp_path

    return write


# ---- pairs ------------------------------------------------------------------------------------------------


def test_what_has_no_partner_is_counted(
    pair: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pair("both", SPOT, SPOT)
    tifffile.imwrite(tmp_path / "images" / "lonely.tif", SPOT)
    tifffile.imwrite(tmp_path / "labels" / "widowed.tif", SPOT)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    assert [image.name for image in read_labelled_images(folder)] == ["both"]
    assert "2 files have no partner of the same name" in capsys.readouterr().err


def test_image_and_labels_may_differ_in_format_and_ending(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in "ab":
        imsave(tmp_path / "images" / f"{name}.png", SPOT, check_contrast=False)
    tifffile.imwrite(tmp_path / "labels" / "a.TIFF", SPOT)
    tifffile.imwrite(tmp_path / "labels" / "b_labels.tif", SPOT)  # as the dock exports it
    assert [image.name for image in read_labelled_images(tmp_path)] == ["a", "b"]


def test_what_a_mac_leaves_beside_files_is_no_image(pair: Callable[..., Path], tmp_path: Path) -> None:
    folder = pair("a", SPOT, SPOT)
    for kind in ("images", "labels"):
        (tmp_path / kind / "._a.tif").write_bytes(b"\0\5\26\7")
    assert [image.name for image in read_labelled_images(folder)] == ["a"]


def test_two_images_of_one_name_are_not_guessed_about(pair: Callable[..., Path], tmp_path: Path) -> None:
    folder = pair("a", SPOT, SPOT)
    imsave(tmp_path / "images" / "a.png", SPOT, check_contrast=False)
    with pytest.raises(ImageError, match=r"one image per name, got a.png and a.tif"):
        read_labelled_images(folder)


# ---- the index --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "id,split,kind\na,train,fluo\nb,test,fluo\nc,train,histology\n",
        "\ufeffid,split,kind\r\na,train,fluo\r\nb,test,fluo\r\nc,train,histology\r\n",
        "Id;Split;Kind\na;train;fluo\nb;test;fluo\nc;train;histology\n",
        "id, split , kind\n a, train, fluo\nb,test,fluo\nc,train,histology\n",
        "kind\tid\tsplit\tby\nfluo\ta\ttrain\tme\nfluo\tb\ttest\nhistology\tc\ttrain\tyou\tand me\n",
    ],
    ids=[
        "plain",
        "as Excel writes it",
        "in other places",
        "with spaces",
        "other columns, short and long rows",
    ],
)
def test_the_index_tells_split_and_kind(pair: Callable[..., Path], tmp_path: Path, text: str) -> None:
    for name in "abcd":
        folder = pair(name, SPOT, SPOT)
    (tmp_path / "index.csv").write_text(text, encoding="utf-8", newline="")
    assert [(i.name, i.group) for i in read_labelled_images(folder)] == [("a", "fluo"), ("c", "histology")]
    assert [i.name for i in read_labelled_images(folder, "test")] == ["b"]
    with pytest.raises(SamError, match="split 'other', found none"):
        read_labelled_images(folder, "other")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"id,split\na.png,train\n", "found none"),
        (b"id,split\n", "found none"),
        (b"name,split\na,train\n", r"a column id in .*index.csv, got name, split"),
        (b"", r"a column id in .*index.csv, got none"),
        ("id,split\nZürich,train\n".encode("cp1252"), r"UTF-8 in .*index.csv.*save it as CSV UTF-8"),
        ("id,split\na,train\n".encode("utf-16"), r"UTF-8 in .*index.csv"),
    ],
    ids=["other names", "no rows", "no id", "empty", "of Windows", "UTF-16"],
)
def test_an_index_that_is_of_no_use(
    pair: Callable[..., Path], tmp_path: Path, index: bytes, message: str
) -> None:
    folder = pair("a", SPOT, SPOT)
    (tmp_path / "index.csv").write_bytes(index)
    with pytest.raises(SamError, match=message):
        read_labelled_images(folder)


def test_an_index_without_split_is_all_used(pair: Callable[..., Path], tmp_path: Path) -> None:
    for name in "ab":
        folder = pair(name, SPOT, SPOT)
    (tmp_path / "index.csv").write_text("id\nb\n")
    assert [i.name for i in read_labelled_images(folder)] == ["b"]
    assert read_index(tmp_path / "index.csv") == (["id"], {"b": {"id": "b"}})


# ---- pixels -----------------------------------------------------------------------------------------------


def test_pairs_are_read(tmp_path: Path) -> None:
    image, labels = np.full((20, 30), 10, np.uint8), np.zeros((20, 30), np.uint16)
    image[5:10, 5:15], labels[5:10, 5:15] = 200, 7
    for kind, array in (("images", image), ("labels", labels)):
        (tmp_path / kind).mkdir()
        imsave(tmp_path / kind / "a.png", array, check_contrast=False)
    [found] = read_labelled_images(tmp_path)
    assert isinstance(found, LabelledImage)
    assert (found.pixels.shape, found.pixels.dtype) == ((20, 30, 3), np.float16)
    assert (found.labels == (labels > 0)).all()
    assert (found.pixels[labels > 0] == 1).all()
    assert (found.pixels[labels == 0] == 0).all()


def test_gray_with_alpha_is_gray_as_in_use(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    gray = np.arange(81, dtype=np.uint8).reshape(9, 9)
    Image.fromarray(np.stack([gray, np.full_like(gray, 255)], -1), "LA").save(tmp_path / "images" / "a.png")
    imsave(tmp_path / "labels" / "a.png", SPOT, check_contrast=False)
    [found] = read_labelled_images(tmp_path)
    assert (found.pixels == found.pixels[..., :1]).all()
    assert found.pixels[..., 1].max() == 1


@pytest.mark.parametrize(
    ("image", "labels", "options", "message"),
    [
        (SPOT, np.eye(8, dtype=np.uint8), {}, r"shape \(9, 9\) in .*labels.a.tif, got \(8, 8\)"),
        (SPOT, np.eye(9), {}, r"labels.a.tif, got YX float64"),
        (SPOT, np.zeros((9, 9, 3), np.uint8), {"photometric": None}, r"labels.a.tif, got"),
        (np.zeros((3, 9, 9), np.uint8), SPOT, {"photometric": "minisblack"}, r"one plane in .*images.a.tif"),
        (np.zeros((2, 2, 9, 9)), SPOT, {"photometric": "minisblack"}, r"one plane in .*images.a.tif"),
        (SPOT, np.zeros((9, 9), np.uint8), {}, "Expected objects in .*labels, got background only"),
    ],
    ids=["other size", "fractions", "coloured labels", "three planes", "a volume", "nothing labelled"],
)
def test_unusable_pairs(
    pair: Callable[..., Path],
    image: NDArray[Any],
    labels: NDArray[Any],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(SamError, match=message):
        read_labelled_images(pair("a", image, labels, **options))


@pytest.mark.parametrize(
    "content", [b"", b"II*\0broken", b"\x89PNG\r\n\x1a\n\0\0"], ids=["empty", "TIFF", "PNG"]
)
def test_a_damaged_file_is_named(pair: Callable[..., Path], tmp_path: Path, content: bytes) -> None:
    folder = pair("a", SPOT, SPOT)
    (tmp_path / "images" / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tif"):
        read_labelled_images(folder)


def test_channels_are_chosen(pair: Callable[..., Path], tmp_path: Path) -> None:
    colour = np.zeros((9, 9, 3), np.uint8)
    colour[..., 1] = 5
    folder = pair("a", colour, SPOT, photometric="rgb")
    image, labels = read_pair(folder / "images" / "a.tif", folder / "labels" / "a.tif", (1,))
    assert (image == 5).all()
    assert (labels == SPOT).all()


# ---- masks ------------------------------------------------------------------------------------------------


def test_masks_are_warned_of(pair: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        folder = pair(name, SPOT, np.array([[255, 0, 255]] * 9, np.uint8).repeat(3, 1))
    assert len(read_labelled_images(folder)) == 2
    said = capsys.readouterr().err
    assert "the labels of a and 1 more have one id in several pieces" in said
    assert said.count("\n") == 1
