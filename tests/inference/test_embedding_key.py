from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import SamError
from napari_sam.inference.embedding import Frame
from napari_sam.inference.embedding_key import KeyMaker, digest_pixels
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.image_source import ImageSource
from napari_sam.inference.object_scale import choose_scale, expected_object_size, field_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 4000, (80, 120), dtype=np.uint16)
FIXED = EncodeSettings(limits=((0, 4000),))


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "?", "f4", "f2"], ids=str)
def test_a_digest_tells_values_shapes_and_types_apart(dtype: str) -> None:
    pixels = RNG.integers(0, 2, (300, 40, 3)).astype(dtype)
    views = [pixels, pixels[::-1], pixels[:, ::2], pixels[..., 1], pixels.reshape(40, 300, 3)]
    digests = [digest_pixels(view) for view in views]
    assert len(set(digests)) == len(views)
    assert digests == [digest_pixels(view.copy()) for view in views]


def test_a_digest_is_the_same_in_every_session() -> None:
    # kept on disk: a change makes all embeddings of users unreachable
    assert digest_pixels(np.arange(6, dtype="<u2").reshape(2, 3)) == "911c2a44c4659c6411218c7a65a55abe"


def test_large_views_are_digested_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digest_pixels(NOISE[:, 5:90])
    monkeypatch.setattr("napari_sam.inference.embedding_key.BAND", 1000)
    assert digest_pixels(NOISE[:, 5:90]) == expected


def key_of(maker: KeyMaker, image: Any, frame: Frame, settings: EncodeSettings = FIXED) -> str:
    return maker.make(maker.open(image), frame, settings).key


def test_the_place_of_the_pixels_is_not_in_the_key(conv_model: LoadedModel) -> None:
    maker = KeyMaker(conv_model)
    here = key_of(maker, NOISE, Frame((20, 40, 60, 100), 1.0, (64, 64)))
    assert key_of(maker, NOISE[15:, 30:], Frame((5, 10, 45, 70), 1.0, (64, 64))) == here
    assert key_of(maker, NOISE, Frame((20, 41, 60, 101), 1.0, (64, 64))) != here


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"frame": Frame((0, 0, 80, 120), 0.5, (128, 128))}, id="scale"),
        pytest.param({"frame": Frame((0, 0, 80, 120), 1.0, (128, 160))}, id="frame size"),
        pytest.param({"frame": Frame((0, 0, 80, 119), 1.0, (128, 128))}, id="crop"),
        pytest.param({"image": NOISE ^ 1}, id="pixels"),
        pytest.param({"image": NOISE.astype(np.int32)}, id="dtype"),
        pytest.param({"settings": EncodeSettings(limits=((0, 4001),))}, id="limits"),
        pytest.param({"settings": EncodeSettings()}, id="percentiles instead"),
        pytest.param({"settings": EncodeSettings(percentiles=(2, 98))}, id="percentiles"),
    ],
)
def test_what_is_in_the_key(conv_model: LoadedModel, other: dict[str, Any]) -> None:
    maker = KeyMaker(conv_model)
    same = {"image": NOISE, "frame": Frame((0, 0, 80, 120), 1.0, (128, 128)), "settings": FIXED}
    assert key_of(maker, **same) == key_of(KeyMaker(conv_model), **same)
    assert key_of(maker, **(same | other)) != key_of(maker, **same)


def test_channels_that_the_model_does_not_see_are_neither_read_nor_in_the_key(
    conv_model: LoadedModel, recording: Callable[..., Any]
) -> None:
    data = RNG.integers(0, 4000, (80, 120, 6), dtype=np.uint16)
    maker, frame = KeyMaker(conv_model), Frame((0, 0, 80, 120), 1.0, (128, 128))
    settings = EncodeSettings(channels=(4, 3), limits=((0, 4000),))
    before = key_of(maker, data, frame, settings)
    image = recording(data.copy())
    image.data[..., :3] = 0
    made = maker.make(maker.open(image), frame, settings)
    assert (made.key, [shape for shape, _ in image.reads]) == (before, [(80, 120, 2)])
    assert made.pixels is not None
    seen = made.normalization.apply(made.pixels)
    np.testing.assert_allclose(seen[..., :2], np.clip(data[..., [4, 3]] / 4000, 0, 1), atol=1e-6)
    assert not seen[..., 2].any()


def test_pixels_to_be_encoded_are_reduced_first(conv_model: LoadedModel) -> None:
    maker, frame = KeyMaker(conv_model), Frame((0, 0, 80, 120), 0.25, (64, 64))
    made = maker.make(maker.open(NOISE), frame, FIXED)
    expected = NOISE.reshape(20, 4, 30, 4).mean((1, 3))
    np.testing.assert_allclose(made.read(ImageSource(NOISE), frame), expected, rtol=1e-5)


# ---- the size of objects ----------------------------------------------------------------------------------


def test_the_scale_makes_objects_as_large_as_the_model_expects(
    conv_model: LoadedModel, vit_model: LoadedModel
) -> None:
    # frames of 256 in which objects of 20 are expected
    assert expected_object_size(conv_model) == 20
    table = {None: (256, None), 20: (256, 1.0), 80: (1024, 0.25), 10: (128, 2.0), 0.1: (16, 16.0)}
    for size, expected in table.items():
        field = field_size(conv_model, size)
        assert (field, choose_scale(conv_model, size, (0, 0, field, field))) == expected
    assert choose_scale(conv_model, 80, (5, 5, 100, 100)) == 0.25  # small crops too
    assert choose_scale(conv_model, 20, (0, 0, 512, 300)) == 0.5  # larger ones fill the frame
    # a frame of 128, always filled: only the crop's side depends on the size
    assert expected_object_size(vit_model) == 8
    assert [field_size(vit_model, s) for s in (None, 8, 32, 4)] == [128, 128, 512, 64]
    assert choose_scale(vit_model, 32, (0, 0, 512, 512)) is None


def test_the_record_says_what_size_the_model_expects(conv_model: LoadedModel) -> None:
    conv_model.record["object_size"] = 32
    try:
        assert expected_object_size(conv_model) == 32
        assert field_size(conv_model, 64) == 512
    finally:
        del conv_model.record["object_size"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"object_size": 0}, "object size above 0", id="no size"),
        pytest.param({"object_size": float("nan")}, "object size above 0", id="nan"),
        pytest.param({"channels": ()}, "one to three channels", id="no channels"),
        pytest.param({"channels": (0, -1)}, "counted from 0", id="a negative channel"),
        pytest.param({"percentiles": (50, 50)}, "low < high", id="equal percentiles"),
        pytest.param({"percentiles": (1, 101)}, "<= 100", id="a percentile above 100"),
        pytest.param({"limits": ((5, 5),)}, "low < high", id="equal limits"),
        pytest.param({"limits": ((0, float("inf")),)}, "finite", id="infinite limits"),
        pytest.param({"limits": ()}, "one to three pairs, got 0", id="no limits"),
        pytest.param({"limits": ((0, 1),) * 3, "channels": (0, 1)}, "got 3", id="more limits than channels"),
        pytest.param(
            {"object_size": "large"}, "object size above 0 pixels, got 'large'", id="a word for a size"
        ),
        pytest.param({"channels": 0}, "counted from 0, got 0", id="a number of channels"),
        pytest.param({"channels": "rg"}, "counted from 0, got 'rg'", id="names of channels"),
        pytest.param({"channels": (0.5,)}, "counted from 0, got", id="half a channel"),
        pytest.param({"percentiles": 99}, "low < high <= 100, got 99", id="one percentile"),
        pytest.param({"percentiles": ("1", "99")}, "low < high <= 100, got", id="words for percentiles"),
        pytest.param({"limits": (0, 4000)}, r"pairs .*, got \(0, 4000\)", id="a bare pair of limits"),
        pytest.param({"limits": (("a", "b"),)}, "finite intensities", id="words for limits"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SamError, match=message):
        EncodeSettings(**settings)


@pytest.mark.parametrize("kind", [list, np.array], ids=["lists", "arrays"])
def test_settings_may_be_lists(kind: Any, conv_model: LoadedModel) -> None:
    values: dict[str, Any] = {"channels": (1, 0), "percentiles": (2.0, 98.0)}
    maker, frame = KeyMaker(conv_model), Frame((0, 0, 80, 120), 1.0, (128, 128))
    source = ImageSource(np.dstack([NOISE, NOISE[::-1]]))
    for given in (values, values | {"limits": ((0.0, 900.0), (5.0, 700.0))}):
        plain, listed = EncodeSettings(**given), EncodeSettings(**{k: kind(v) for k, v in given.items()})
        assert listed == plain
        assert maker.make(source, frame, listed).key == maker.make(source, frame, plain).key


def test_settings_may_be_ranges_and_numbers_of_numpy() -> None:
    settings = EncodeSettings(channels=range(2), object_size=np.array(3.0))  # type: ignore[arg-type]
    assert settings == EncodeSettings(channels=(0, 1), object_size=3.0)


def test_normalization_is_measured_anew_when_the_plane_changes(conv_model: LoadedModel) -> None:
    maker, image = KeyMaker(conv_model), NOISE.copy()
    settings = EncodeSettings()
    first = maker.normalize(maker.open(image), settings)
    assert maker.normalize(maker.open(image.copy()), settings) is first  # measured once
    image[:] *= 2
    second: NDArray[Any] = np.array(maker.normalize(maker.open(image), settings).high)
    np.testing.assert_allclose(second, 2 * np.array(first.high))
