"""Overlays: two pictures in one frame, and outlines of what differs."""

import io

import numpy as np
import pytest
from album import scene
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from dedup.geometry.overlay import Overlay, draw_overlay, encode_jpeg

SAME = np.eye(3)
PHOTO = scene(1, (640, 480))


def overlay(a: Image.Image, b: Image.Image, transform: NDArray[np.float64] = SAME, longest: int = 1600) -> Overlay:
    return draw_overlay(np.array(a.convert("RGB")), np.array(b.convert("RGB")), transform, longest=longest)


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=quality)
    return Image.open(data)


@pytest.mark.parametrize(
    "version",
    [
        PHOTO,
        recompressed(PHOTO, 30),
        ImageEnhance.Brightness(PHOTO).enhance(1.3),
        PHOTO.resize((320, 240), Image.Resampling.LANCZOS),
        recompressed(ImageEnhance.Contrast(PHOTO).enhance(0.7), 60),
    ],
    ids=["same", "recompressed", "brighter", "half", "flat and recompressed"],
)
def test_version_of_one_picture_has_no_outline(version: Image.Image) -> None:
    assert overlay(PHOTO, version).changes == []


@pytest.mark.parametrize("keeper_has_it", [False, True])
def test_caption_is_outlined_where_it_is(keeper_has_it: bool) -> None:
    captioned = recompressed(PHOTO, 90)
    ImageDraw.Draw(captioned).rectangle((320, 360, 540, 400), (255, 255, 255))
    pair = (captioned, PHOTO) if keeper_has_it else (PHOTO, captioned)
    changes = overlay(*pair).changes
    corners = np.concatenate(changes) * (640, 480)
    assert np.abs(np.concatenate([corners.min(0), corners.max(0)]) - (320, 360, 540, 400)).max() < 12


def test_frame_shows_all_of_a_wider_second_picture_and_stripes_where_the_first_ends() -> None:
    crop = PHOTO.crop((160, 120, 480, 360))
    whole_in_crop = np.array([[0.5, 0, 0.25], [0, 0.5, 0.25], [0, 0, 1]])  # crop -> whole
    found = overlay(crop, PHOTO, whole_in_crop)
    assert found.first.shape == found.second.shape == found.difference.shape == (480, 640, 3)
    assert np.abs(found.second.astype(int) - np.array(PHOTO)).mean() < 1
    assert set(np.unique(found.first[:100])) == {118, 138}
    assert found.difference[130:350, 170:470].mean() < 6
    assert found.changes == []
    narrow = overlay(PHOTO, crop, np.linalg.inv(whole_in_crop))
    assert narrow.first.shape == (480, 640, 3)
    assert set(np.unique(narrow.second[:100])) == {118, 138}


def test_frame_has_the_finer_resolution_and_no_more_than_it_may() -> None:
    small = PHOTO.resize((160, 120))
    assert overlay(small, PHOTO).first.shape == (480, 640, 3)
    assert overlay(small, PHOTO, longest=320).first.shape == (240, 320, 3)


def test_turned_picture_is_turned_back() -> None:
    quarter = np.array([[0, -1, 1], [1, 0, 0], [0, 0, 1.0]])  # (x, y) -> (1 - y, x): a quarter turn clockwise
    found = overlay(PHOTO, PHOTO.transpose(Image.Transpose.ROTATE_270), quarter)
    assert found.difference.mean() < 3
    assert found.changes == []


def test_homography_that_maps_a_corner_beyond_the_horizon_is_drawn_all_the_same() -> None:
    steep = np.linalg.inv(np.array([[1, 0, 0], [0, 1, 0], [-1.5, 0, 1.0]]))
    assert overlay(PHOTO, PHOTO, steep).first.shape == (480, 640, 3)


def test_jpeg_is_the_picture() -> None:
    decoded = np.array(Image.open(io.BytesIO(encode_jpeg(np.array(PHOTO)))))
    assert np.abs(decoded.astype(int) - np.array(PHOTO)).mean() < 6
