from dataclasses import replace

import numpy as np
import pytest

from dedup.grouping.relations import figures, identical_candidates, likeliest, relate, selected_for_verification
from dedup.models.weights import WeightsSpec
from dedup.types.pairs import Gate, Relation, Scores, Verdicts, Verified
from dedup.types.photo import Photo

ALL, NONE = (Gate(inner=((0.0,),) * 4, outer=(0.0, bias)) for bias in (9.0, -9.0))


def photos(*shapes: tuple[int, int]) -> list[Photo]:
    return [Photo(str(n) * 64, 1, w, h, "PNG", None, None, ()) for n, (w, h) in enumerate(shapes)]


def scores(*pairs: tuple[int, int, float], copy: float = 0.4) -> Scores:
    left, right, similarity = (np.array(column) for column in zip(*pairs, strict=True))
    said = np.full(len(pairs), copy, np.float32)
    return Scores(left, right, similarity.astype(np.float32), said, 0.4 * (1 - said))


def verified(*rows: tuple[int, int, float, float, bool]) -> Verified:
    left, right, copy, similar, bare = (np.array(c) for c in (zip(*rows, strict=True) if rows else [[]] * 5))
    floats = (x.astype(np.float32) for x in (copy, copy, similar))
    pair = (left.astype(np.int64), right.astype(np.int64))
    nothing = np.zeros(len(rows), np.int64)
    return Verified(*pair, *floats, bare.astype(bool), np.tile(np.eye(3), (len(rows), 1, 1)), nothing, nothing)


def words(verdicts: Verdicts) -> list[str]:
    return [Relation(r).word for r in verdicts.relation]


def test_only_photos_of_one_shape_that_look_alike_are_asked_about() -> None:
    some = photos((10, 20), (20, 10), (10, 20), (10, 20), (10, 20))
    assert identical_candidates(some, scores((0, 1, 1.0), (0, 2, 1.0), (2, 3, 0.99), (3, 4, 0.9))).tolist() == [0, 2, 3]


def test_equal_pixels_are_identical_with_certainty_whatever_the_networks_said() -> None:
    some = photos(*[(10, 20)] * 4)
    said = scores((0, 1, 1.0), (0, 2, 1.0), (1, 3, 1.0))
    found = relate(some, said, verified((0, 1, 0.0, 0.9, True)), {0: b"x", 1: b"x", 2: b"y", 3: None})
    assert words(found) == ["identical", "unrelated", "unrelated"]
    assert found.copy.tolist() == pytest.approx([1.0, 0.4, 0.4])
    assert found.similar[0] == 0.0


def test_pixels_that_nobody_could_read_are_not_equal() -> None:
    assert words(relate(photos((1, 1), (1, 1)), scores((0, 1, 1.0)), verified(), {0: None, 1: None})) == ["unrelated"]


def test_second_look_has_the_last_word_where_there_was_one() -> None:
    some, said = photos(*[(1, 2), (3, 4), (5, 6)]), scores((0, 1, 0.9), (0, 2, 0.9), (1, 2, 0.9), copy=0.95)
    found = relate(some, said, verified((0, 1, 0.1, 0.8, False), (1, 2, 0.99, 0.0, False)), {})
    assert words(found) == ["similar", "copy", "copy"]
    assert found.copy.tolist() == pytest.approx([0.1, 0.95, 0.99])


def test_plain_pictures_are_inconclusive_and_never_likely() -> None:
    some, said = photos((1, 2), (3, 4), (5, 6)), scores((0, 1, 0.9), (0, 2, 0.9), (1, 2, 0.9), copy=0.95)
    found = relate(some, said, verified((0, 1, 0.99, 0.0, True), (0, 2, 0.2, 0.7, True), (1, 2, 0.1, 0.1, True)), {})
    assert words(found) == ["inconclusive", "inconclusive", "unrelated"]
    assert found.copy.max() < 0.05


@pytest.mark.parametrize(
    ("times", "cameras", "relation"),
    [
        (("2020-05-01T10:00:00", "2020-05-01T10:00:07"), ("Nikon D90", "Nikon D90"), "similar"),
        (("2020-05-01T10:00:00", "2020-05-01T10:00:00"), ("Nikon D90", "Nikon D90"), "copy"),
        (("2020-05-01T10:00:00", "2020-05-01T12:00:00"), ("Nikon D90", "Nikon D90"), "copy"),  # another time zone
        (("2020-05-01T10:00:00", "2020-05-01T10:00:07"), ("Nikon D90", "Canon"), "copy"),
        (("2020-05-01T10:00:00", None), ("Nikon D90", "Nikon D90"), "copy"),
        (("2020-05-01T10:00:00", "yesterday"), ("Nikon D90", "Nikon D90"), "copy"),
    ],
)
def test_camera_that_names_another_moment_makes_a_copy_less_likely(
    times: tuple[str, str], cameras: tuple[str, str], relation: str
) -> None:
    some = [replace(p, taken_at=t, camera=c) for p, t, c in zip(photos((1, 2), (3, 4)), times, cameras, strict=True)]
    found = relate(some, scores((0, 1, 0.9), copy=0.93), verified(), {})
    assert words(found) == [relation]
    assert float(found.copy[0] + found.similar[0]) <= 1


def test_looks_are_bounded_a_photo_and_go_to_the_likeliest() -> None:
    n = 60  # all copies of each other
    left, right = np.triu_indices(n, 1)
    rng = np.random.default_rng(0)
    copy = rng.uniform(0.5, 1, len(left)).astype(np.float32)
    chosen = selected_for_verification(Scores(left, right, copy, copy, 1 - copy), ALL)
    assert chosen.sum() <= 12 * n
    for i in range(n):
        mine = np.flatnonzero((left == i) | (right == i))
        best = mine[np.argsort(-copy[mine])][:12]
        assert chosen[best].all()


def test_pairs_that_are_surely_unrelated_are_not_looked_at() -> None:
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.0001), ALL).tolist() == [False]
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.2), ALL).tolist() == [True]


def test_copies_of_the_head_are_looked_at_whatever_the_line_says() -> None:
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.49), NONE).tolist() == [False]
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.5), NONE).tolist() == [True]


def test_chance_of_a_line_by_hand() -> None:
    gate = Gate(inner=((1.0, 0.0), (0.0, -1.0), (2.0, 0.0), (0.5, 0.0)), outer=(2.0, 3.0, -1.0))
    copy, similar, cosine = np.float32([0.5]), np.float32([0.1]), np.float32([0.25])
    # log-odds of a copy 0, of similar against unrelated log(1/4): hidden 0 + 2 * 0.25 + 0.5 = 1 and log 4
    assert gate.chance(figures(copy, similar, cosine))[0] == pytest.approx(
        1 / (1 + np.exp(-(2 * 1 + 3 * np.log(4) - 1)))
    )


def test_shipped_line_rises_with_the_probability_of_a_copy(shipped_weights: WeightsSpec) -> None:
    copy = np.float32([0.02, 0.1, 0.3])
    for similar in (0.01, 0.5):
        chance = shipped_weights.gate.chance(
            figures(copy, np.full(3, similar, np.float32), np.full(3, 0.6, np.float32))
        )
        assert (np.diff(chance) > 0).all()
    assert chance[-1] > 0.3


def test_relation_is_the_likeliest() -> None:
    copy, similar = np.float32([0.6, 0.3, 0.1]), np.float32([0.4, 0.6, 0.2])
    assert [Relation(r).word for r in likeliest(copy, similar)] == ["copy", "similar", "unrelated"]
