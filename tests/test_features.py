import cv2
import numpy as np
import pytest
from album import scene
from PIL import ImageOps

from dedup.geometry.features import LocalFeatures, fits, local_features
from dedup.geometry.homography import map_points
from dedup.types.arrays import Homography

CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
KEYSTONE = np.array([[0.1, 0.05], [0.95, 0], [0.8, 1], [0.15, 0.9]])  # where the corners of a picture seen askew lie


def grey(seed: int, *, mirrored: bool = False) -> np.ndarray:
    image = scene(seed)
    return np.array((ImageOps.mirror(image) if mirrored else image).convert("L"))


def seen_askew(picture: np.ndarray) -> np.ndarray:
    size = np.array(picture.shape[::-1])
    h = cv2.getPerspectiveTransform((CORNERS * size).astype(np.float32), (KEYSTONE * size).astype(np.float32))
    return np.asarray(cv2.warpPerspective(picture, h, tuple(size.tolist())))


def best_fit(a: np.ndarray, b: np.ndarray) -> tuple[Homography, int]:
    found = max(fits(local_features(a), local_features(b)), key=lambda fit: fit.inliers)
    return found.transform, found.inliers


@pytest.mark.parametrize("mirrored", [False, True], ids=["upright", "mirrored"])
def test_picture_seen_askew_is_fitted_by_a_homography(mirrored: bool) -> None:
    transform, inliers = best_fit(grey(5, mirrored=mirrored), seen_askew(grey(5)))
    corners = KEYSTONE[[1, 0, 3, 2]] if mirrored else KEYSTONE
    np.testing.assert_allclose(map_points(transform, CORNERS), corners, atol=0.02)
    assert inliers > 50


def test_few_matches_of_other_pictures_agree_on_a_transformation() -> None:
    assert max((fit.inliers for fit in fits(local_features(grey(5)), local_features(grey(6)))), default=0) < 15


def test_both_descriptors_of_a_feature_belong_to_its_point() -> None:
    upright, mirror = local_features(grey(5)), local_features(grey(5, mirrored=True))
    distance = np.linalg.norm(upright.points[:, None] * [-1, 1] + [1, 0] - mirror.points, axis=2)  # (M, M')
    same = np.argwhere(distance < 0.5 / 320)  # half a pixel
    differing = [int(np.unpackbits(upright.mirrored[i] ^ mirror.descriptors[j]).sum()) for i, j in same]
    assert len(differing) > 20
    assert np.median(differing) < 20  # of 256 bits; unrelated descriptors differ in 128


def test_smooth_picture_has_features_too() -> None:
    smooth = cv2.GaussianBlur(grey(5), (0, 0), 4)
    assert len(local_features(smooth)) > 150


def test_mirror_image_is_not_tried_where_most_matches_agree_without() -> None:
    one, other = local_features(grey(5)), local_features(seen_askew(grey(5)))
    assert all(np.linalg.det(fit.transform) > 0 for fit in fits(one, other))
    assert len(list(fits(one, other))) == 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3)])
def test_picture_too_small_for_features_has_none(shape: tuple[int, int]) -> None:
    found = local_features(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    assert (found.points.shape, found.descriptors.shape, found.mirrored.shape) == ((0, 2), (0, 32), (0, 32))
    assert list(fits(found, local_features(grey(5)))) == []


def test_features_are_compact() -> None:
    found: LocalFeatures = local_features(grey(5))
    assert len(found) <= 500
    assert found.points.nbytes + found.descriptors.nbytes + found.mirrored.nbytes <= 500 * 72
