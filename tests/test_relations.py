from dataclasses import replace

import numpy as np
import pytest

from dedup.grouping.containment import beside, contained, in_words, shortfall
from dedup.grouping.relations import identical_candidates, likeliest, relate
from dedup.types.pairs import HARMLESS, Loss, Relation, Scores, Verdicts, Verified
from dedup.types.photo import Exposure, Facts, Photo


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


def test_relation_is_the_likeliest() -> None:
    copy, similar = np.float32([0.6, 0.3, 0.1]), np.float32([0.4, 0.6, 0.2])
    assert [Relation(r).word for r in likeliest(copy, similar)] == ["copy", "similar", "unrelated"]


# --- what the camera wrote


def of_camera(
    shots: tuple[Exposure, Exposure], *, camera: str = "Canon", at: str | None = "2020-05-01T10:00:00"
) -> str:
    """Return the relation of two photos of one camera that the networks take for a sure copy."""
    some = [
        replace(p, camera=camera, taken_at=at, facts=Facts(exposure=e))
        for p, e in zip(photos((1, 2), (3, 4)), shots, strict=True)
    ]
    found = relate(some, scores((0, 1, 0.9), copy=0.99999), verified((0, 1, 0.99999, 0.0, False)), {})
    assert float(found.copy[0] + found.similar[0]) <= 1.0001
    return words(found)[0]


@pytest.mark.parametrize(
    "other",
    [
        Exposure(time=1 / 125),
        Exposure(bias=-2.0),
        Exposure(aperture=4.0),
        Exposure(iso=200),
        Exposure(subsecond=0.53),
        Exposure(serial="2"),
    ],
)
def test_two_exposures_of_one_camera_are_two_shots_whatever_the_networks_say(other: Exposure) -> None:
    shot = Exposure(1 / 500, 0.0, 2.8, 100, 0.12, None, "1")
    changes = {name: value for name in Exposure.__slots__ if (value := getattr(other, name)) is not None}
    assert of_camera((shot, replace(shot, **changes))) == "similar"


@pytest.mark.parametrize(
    "other",
    [
        Exposure(),  # the program that wrote it dropped them
        Exposure(0.00201, 0.05, 2.79, 100, 0.12, None, "1"),  # rounded
        Exposure(1 / 500, 0.0, 2.8, 100, 0.0),  # without the fraction
        Exposure(1 / 500, 0.0, 2.8, 100, 0.12, True, "1", "another"),
    ],
)
def test_one_exposure_written_by_two_programs_is_one_shot(other: Exposure) -> None:
    assert of_camera((Exposure(1 / 500, 0.0, 2.8, 100, 0.12, None, "1"), other)) == "copy"


def test_exposures_of_two_cameras_say_nothing() -> None:
    some = [
        replace(p, camera=c, facts=Facts(exposure=Exposure(time=t)))
        for p, c, t in zip(photos((1, 2), (3, 4)), ("Canon", "Nikon"), (0.1, 0.2), strict=True)
    ]
    assert words(relate(some, scores((0, 1, 0.9), copy=0.99), verified(), {})) == ["copy"]


# --- what would be lost


def lost(*facts: Facts | None, size: tuple[int, int] = (100, 100), other: tuple[int, int] = (100, 100),
         transform: list[list[float]] | None = None, same: bool = False) -> tuple[str, str]:  # fmt: skip
    """Return the names of what would be lost of each of two photos."""
    both = [replace(p, facts=f) for p, f in zip(photos(size, other), facts or (Facts(), Facts()), strict=True)]
    at = np.array(transform or np.eye(3), float)
    found = beside(*both, transform=at, identical=same)
    return tuple("|".join(str(loss.name) for loss in Loss if loss & lost) for lost in found.losses)  # type: ignore[return-value]


HALF = [[0.5, 0.0, 0.25], [0.0, 0.5, 0.25], [0.0, 0.0, 1.0]]  # the first picture lies in the middle of the other


@pytest.mark.parametrize(
    ("camera", "small_loss", "word"),
    [
        (None, Loss.DETAIL, ""),
        (None, Loss(0), "RESOLUTION"),
        ("ACME 1", Loss.DETAIL, "RESOLUTION"),
        (None, Loss.ENLARGED, ""),
    ],
    ids=["blurred enlargement", "soft photo", "photo of a camera", "equal"],
)
def test_more_pixels_are_lost_unless_they_are_a_blurred_enlargement(
    camera: str | None, small_loss: Loss, word: str
) -> None:
    large, small = photos((200, 200), (100, 100))
    large, small = (replace(photo, facts=Facts()) for photo in (replace(large, camera=camera), small))
    found = beside(large, small, transform=np.eye(3), measured=(int(Loss.ENLARGED), int(small_loss)), identical=False)
    names = "|".join(str(loss.name) for loss in Loss if loss & found.losses[0] & ~Loss.ENLARGED)
    assert names == word


def test_nothing_is_lost_of_a_recompressed_copy() -> None:
    assert lost() == ("", "")


def test_crop_is_contained_in_the_whole_and_the_whole_not_in_the_crop() -> None:
    assert lost(size=(50, 50), transform=HALF) == ("", "CROPPED")
    assert lost(size=(100, 100), transform=HALF) == ("RESOLUTION", "CROPPED")  # a crop that was enlarged, or a scan
    assert lost(size=(25, 25), transform=HALF) == ("", "CROPPED|RESOLUTION")


def test_smaller_version_is_contained_in_the_larger_one() -> None:
    assert lost(size=(50, 50)) == ("", "RESOLUTION")
    assert lost(size=(99, 100)) == ("", "")  # within a per cent: rounded to even numbers


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (Facts(frames=2), "FRAMES"),
        (Facts(pictures=1), "PICTURES"),
        (Facts(video="ab"), "VIDEO"),
        (Facts(gain_map=True), "DEPTH"),
        (Facts(depth_map=True), "DEPTH"),
        (Facts(alpha=True), "ALPHA"),
        (Facts(bits=16), "BITS"),
    ],
)
def test_what_only_one_file_holds_would_be_lost(facts: Facts, name: str) -> None:
    assert lost(facts, Facts()) == (name, "")


def test_two_animations_do_not_contain_each_other_unless_all_frames_are_identical() -> None:
    assert lost(Facts(frames=9), Facts(frames=9)) == ("FRAMES", "FRAMES")
    assert lost(Facts(frames=9), Facts(frames=9), same=True) == ("", "")


def test_same_video_is_not_lost_and_another_one_is() -> None:
    assert lost(Facts(video="ab"), Facts(video="ab")) == ("", "")
    assert lost(Facts(video="ab"), Facts(video="cd")) == ("VIDEO", "VIDEO")


def test_intact_file_is_lost_beside_a_damaged_one() -> None:
    damaged, worse = Facts(damaged="x", intact=0.9), Facts(damaged="x", intact=0.5)
    assert lost(Facts(), damaged) == ("DAMAGED", "")
    assert lost(damaged, worse) == ("DAMAGED", "")
    assert lost(damaged, damaged) == ("DAMAGED", "DAMAGED")  # the damage may lie elsewhere


def test_unread_and_unverified_photos_contain_nothing() -> None:
    assert lost(None, Facts()) == ("UNREAD", "UNREAD")
    both = photos((1, 2), (1, 2))
    assert beside(*both, transform=None, identical=False).losses == (Loss.UNVERIFIED, Loss.UNVERIFIED)
    assert beside(*both, transform=None, identical=True).losses == (Loss(0), Loss(0))


def test_borders_that_verification_found_are_not_missed() -> None:
    framed, photo = photos((200, 200), (100, 100))
    there = np.linalg.inv(np.array(HALF))
    found = beside(framed, photo, transform=there, measured=(int(Loss.BORDERS), 0), identical=False)
    assert found.losses == (Loss.BORDERS, Loss(0))
    assert found.inside == pytest.approx((0.25, 1.0), abs=0.02)
    assert [contained(loss) for loss in found.losses] == [True, True]


def test_every_loss_has_words() -> None:
    one, other = photos((100, 100), (50, 50))
    one = replace(one, facts=Facts(frames=6))
    for loss in Loss:
        assert bool(shortfall(loss, one, other, 0.4)) == (not loss & HARMLESS)
    assert shortfall(Loss.FRAMES | Loss.CROPPED, one, other, 0.4) == "with 1 of 6 frames, cropped to 40%"
    assert shortfall(Loss.RESOLUTION, one, other, 1.0) == "50x50 instead of 100x100"
    assert shortfall(Loss.DAMAGED, one, replace(other, facts=Facts(intact=0.87)), 1.0) == "damaged from 87% on"


def test_verdicts_say_what_would_be_lost_of_copies_only() -> None:
    some = photos((100, 100), (50, 50), (100, 100))
    found = relate(some, scores((0, 1, 0.9), (0, 2, 0.9), copy=0.99), verified((0, 1, 0.99, 0.0, False)), {})
    assert found.left_loss.tolist() == [Loss.RESOLUTION, Loss.UNVERIFIED]
    assert (found.left_contained.tolist(), found.right_contained.tolist()) == ([False, False], [True, False])
    refused = relate(some, scores((0, 1, 0.9), copy=0.1), verified(), {})
    assert (refused.left_contained.tolist(), refused.right_contained.tolist()) == ([False], [False])


def test_words_say_which_of_two_photos_contains_the_other() -> None:
    one, other = photos((100, 100), (50, 50))
    crop, video = int(Loss.CROPPED), int(Loss.VIDEO)
    assert in_words((0, 0), one, other, (1.0, 1.0)) == "each contains the other"
    assert in_words((crop, 0), one, other, (0.4, 1.0)) == "the first contains the second, which is cropped to 40%"
    assert in_words((0, video), one, other, (1.0, 1.0)) == "the second contains the first, which is without the video"
    assert in_words((crop, video), one, other, (0.4, 1.0)) == (
        "neither contains the other: the first is without the video; the second is cropped to 40%"
    )
