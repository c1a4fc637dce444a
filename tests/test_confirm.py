import numpy as np

from dedup.confirm import confirm, perhaps_identical
from dedup.types import Photo, Relation, Verdicts


def photos(*shapes: tuple[int, int]) -> list[Photo]:
    return [Photo(str(n) * 64, 1, w, h, "PNG", None, None, ()) for n, (w, h) in enumerate(shapes)]


def verdicts(*pairs: tuple[int, int, float]) -> Verdicts:
    left, right, similarity = (np.array(column) for column in zip(*pairs, strict=True))
    half = np.full(len(pairs), 0.5, np.float32)
    relation = np.full(len(pairs), Relation.UNRELATED, np.int8)
    return Verdicts(left, right, similarity.astype(np.float32), half, half, relation)


def test_only_photos_of_one_shape_that_look_alike_are_asked_about() -> None:
    some = photos((10, 20), (20, 10), (10, 20), (10, 20), (10, 20))
    assert perhaps_identical(some, verdicts((0, 1, 1.0), (0, 2, 1.0), (2, 3, 0.99), (3, 4, 0.9))).tolist() == [0, 2, 3]


def test_equal_pixels_are_identical_with_certainty_whatever_the_head_said() -> None:
    some = photos(*[(10, 20)] * 4)
    found = confirm(some, verdicts((0, 1, 1.0), (0, 2, 1.0), (1, 3, 1.0)), {0: b"x", 1: b"x", 2: b"y", 3: None})
    assert [Relation(r).word for r in found.relation] == ["identical", "unrelated", "unrelated"]
    assert found.copy.tolist() == [1.0, 0.5, 0.5]
    assert found.similar.tolist() == [0.0, 0.5, 0.5]


def test_pixels_that_nobody_could_read_are_not_equal() -> None:
    found = confirm(photos((1, 1), (1, 1)), verdicts((0, 1, 1.0)), {0: None, 1: None})
    assert found.relation.tolist() == [Relation.UNRELATED]
