"""Which photo of a group is kept, and why.

Settings.keep names the criteria, the first one first. Photos are ranked within the set of those that match each other:
the first question after the user's own wishes is which of them contains the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce

from dedup.errors import BadUsage
from dedup.files.globs import glob_matcher
from dedup.files.path_rules import slashed
from dedup.grouping.containment import contained
from dedup.types.message import Message
from dedup.types.pairs import Loss, Relation, Verdicts
from dedup.types.photo import Facts, File, Photo
from dedup.types.settings import KEEP_WORDS, Settings

_LOSSY = frozenset(("JPEG", "MPO", "HEIF", "AVIF", "WEBP", "JXL"))
# Of equal pictures the likeliest original first: what cameras write, what is lossless, what converters write.
_FORMATS = {"RAW": 0, "HEIF": 1, "TIFF": 2, "PNG": 2, "JPEG": 3, "MPO": 3, "JXL": 4, "AVIF": 4, "WEBP": 4, "GIF": 6}
_OTHER_FORMAT = 5
_UNKNOWN = Loss.UNVERIFIED | Loss.UNREAD | Loss.UNCOMPARED


@dataclass(frozen=True, slots=True)
class Standing:
    """How a photo stands among those that match each other.

    exceeded: another one, without borders, contains it and is not contained in it.   contains: share of the others that
    it contains, of those that it was verified against: how many these are depends on the search.   bordered: it has
    borders that another one, with the same content, has not.   made_from: how sure it is at most that it was made from
    another one.   derived: share of the others that it was made from, less that of those that were made from it; what
    is only likely counts as a quarter in both.   resaved: a lossless file of the very pixels of a lossy one, so made
    from it.   largest: no other has more pixels.   bytes: of the smallest file with its pixels.
    """

    exceeded: bool = False
    contains: float = 1.0
    bordered: bool = False
    made_from: float = 0.0
    derived: float = 0.0
    resaved: bool = False
    largest: bool = True
    bytes: int | None = None


ALONE = Standing()
_Rows = Mapping[int, Mapping[int, int]]  # photo -> {photo it matches: row of their verdict}


def standings(photos: Sequence[Photo], members: Set[int], matched: _Rows, verdicts: Verdicts) -> dict[int, Standing]:
    """Return how each member of a set of photos stands. matched: of all photos."""
    pairs = {i: {j: row for j, row in matched.get(i, {}).items() if j in members} for i in members}
    largest = max(photos[i].width * photos[i].height for i in members)
    found, twin_of = {}, _lossy_twins(photos, pairs, verdicts)
    for i in members:
        both = [_losses(i, j, pairs, twin_of, verdicts) for j in pairs[i]]
        mine = [(their, our) for their, our in both if their >= 0 and not (their | our) & _UNKNOWN]
        made = [_derived(our) - _derived(their) for their, our in mine]
        twins = [photos[j] for j, row in pairs[i].items() if verdicts.relation[row] == Relation.IDENTICAL]
        sizes = [p.size for p in (*twins, photos[i])]
        found[i] = Standing(
            exceeded=any(contained(our) and not contained(their) and not their & Loss.BORDERS for their, our in mine),
            contains=sum(contained(their) for their, _ in mine) / len(mine) if mine else 1.0,
            bordered=any(contained(our) and our & Loss.BORDERS for _, our in mine),
            made_from=max((0.0, *made)),
            derived=sum(made) / max(len(made), 1),
            resaved=photos[i].format not in _LOSSY and any(p.format in _LOSSY for p in twins),
            largest=photos[i].width * photos[i].height >= 0.98 * largest,
            bytes=min(sizes),
        )
    return found


def _lossy_twins(photos: Sequence[Photo], pairs: _Rows, verdicts: Verdicts) -> dict[int, int]:
    """Return for each lossless file of the very pixels of a lossy one that lossy one: it has the traces of both."""
    return {
        i: j
        for i, others in pairs.items()
        for j, row in others.items()
        if verdicts.relation[row] == Relation.IDENTICAL
        and photos[j].format in _LOSSY
        and photos[i].format not in _LOSSY
    }


def _losses(i: int, j: int, pairs: _Rows, twin_of: Mapping[int, int], verdicts: Verdicts) -> tuple[int, int]:
    """Return what would be lost of photo j beside i, and of i beside j, as their lossy twins tell it."""
    one, other = twin_of.get(i, i), twin_of.get(j, j)
    if other not in pairs[one]:
        one, other = i, j
    row = pairs[one][other]
    return loss_of(verdicts, row, other), loss_of(verdicts, row, one)


def _derived(lost: int) -> float:
    """Return how sure it is that a photo was made from another one beside which this much of it is lost."""
    if lost & (Loss.DERIVED | Loss.ADDED | Loss.BORDERS):
        return 1.0
    return 0.25 if lost & Loss.FOLLOWS else 0.0


def loss_of(verdicts: Verdicts, row: int, photo: int) -> int:
    """Return what would be lost of a photo of a pair if only the other one stayed; all of it if they are no copies."""
    if verdicts.relation[row] > Relation.COPY:
        return -1
    return int((verdicts.left_loss if verdicts.left[row] == photo else verdicts.right_loss)[row])


def keep_order(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words that decide who is kept, as Settings holds them, with those that always come first.

    Raises BadUsage if one is unknown, if one is there twice, or if there are none.
    """
    unknown = [word for word in words if word not in KEEP_WORDS]
    if unknown or not words or len(set(words)) < len(words):
        what = f"{unknown[0]!r} is none of them" if unknown else "each once, at least one"
        raise BadUsage(f"keep takes words of {', '.join(KEEP_WORDS)}; {what}")
    wishes = [word for word in ("protected", "preferred") if word not in words]
    content = [word for word in ("contains", "original") if word not in words]
    first = next((n for n, word in enumerate(words) if word not in ("protected", "preferred", "edited")), len(words))
    return (*wishes, *words[:first], *content, *words[first:])


def below(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder, or in a folder below it."""
    return path.startswith(os.path.join(folder, ""))


def protected(path: str, settings: Settings) -> bool:
    """Return whether the file lies in a folder of which the user wants nothing removed."""
    return any(path == folder or below(path, folder) for folder in settings.never_removed)


def preference(path: str, settings: Settings) -> int:
    """Return -1 for a file that the user prefers, 1 for one to avoid, 0 for all others.

    A glob is compared as a whole with the path and with each folder above it, and with their names.
    """
    prefer, avoid = glob_matcher(settings.prefer), glob_matcher(settings.avoid)
    if not prefer and not avoid:
        return 0
    parts = slashed(path).split("/")
    texts = {*parts, *("/".join(parts[:n]) for n in range(2, len(parts) + 1))}
    return bool(avoid and any(map(avoid, texts))) - bool(prefer and any(map(prefer, texts)))


# Evidence of an original


_SCREENSHOT_NAME = re.compile(r"screen[ _-]?shot|screen[ _-]?capture|bildschirmfoto|capture d|schermata", re.IGNORECASE)
# WhatsApp, Telegram, Signal, Facebook, Messenger, WeChat, LINE, Snapchat, Viber
_MESSENGER_NAME = re.compile(
    r"img-\d{8}-wa\d|whatsapp|photo_\d{4}-\d\d-\d\d|signal-\d{4}|fb_img_|received_\d|\d+_\d+_\d+_[no]\.|mmexport\d|"
    r"line_album|line_\d|snapchat-|viber",
    re.IGNORECASE,
)
_EDITED_NAME = re.compile(r"img_e\d|.*[-_~ (](edited|edit|bearbeitet|retouched)\b", re.IGNORECASE)
# Short side, long side, in pixels, of screens that are sold in numbers: computers, then telephones and tablets.
_SCREENS = frozenset(
    tuple(map(int, size.split("x")))
    for size in (
        "768x1366 900x1440 900x1600 1050x1680 1080x1920 1200x1920 1440x2560 1600x2560 1800x2880 2160x3840 1964x3024 "
        "640x1136 750x1334 828x1792 1080x2340 1080x2400 1125x2436 1170x2532 1179x2556 1206x2622 1242x2208 1242x2688 "
        "1284x2778 1290x2796 1320x2868 1440x3120 1440x3200 1536x2048 1620x2160 1640x2360 1668x2388 2048x2732"
    ).split()
)


def is_screenshot(photo: Photo, file: File) -> bool:
    """Return whether the file says that it is a screenshot, or is named or shaped like one and of no camera."""
    screen = photo.format == "PNG" and tuple(sorted((photo.width, photo.height))) in _SCREENS
    return photo.screenshot or (photo.camera is None and (screen or bool(_SCREENSHOT_NAME.match(_name(file)))))


def is_edited(photo: Photo, file: File) -> bool:
    """Return whether an editor wrote the file, by what it says itself or by its name."""
    return _facts(photo).edited or bool(_EDITED_NAME.match(_name(file)))


def _name(file: File) -> str:
    return os.path.basename(file.path)


def _facts(photo: Photo) -> Facts:
    return photo.facts or Facts()


_NO_SCREENSHOT, _NOT_SENT = Message("no screenshot"), Message("not from a messenger")
_ACCOMPANIED = Message("has its RAW, video or sidecar beside it")
_CAMERA, _EXPOSURE = Message("has camera data"), Message("has exposure data")
_NOT_EDITED, _DATED = Message("not edited"), Message("has a capture time")
_TIME, _PLACE, _RATING = Message("a capture time"), Message("a place"), Message("a rating")


def _evidence(photo: Photo, file: File) -> list[tuple[bool, Message]]:
    """Return what speaks for an original, the strongest first: whether it is there, and in words."""
    exposure = _facts(photo).exposure
    return [
        (not is_screenshot(photo, file), _NO_SCREENSHOT),
        (not _MESSENGER_NAME.match(_name(file)), _NOT_SENT),
        (file.path in photo.accompanied, _ACCOMPANIED),
        (photo.camera is not None, _CAMERA),
        (exposure.time is not None or exposure.aperture is not None, _EXPOSURE),
        (not is_edited(photo, file), _NOT_EDITED),
        (photo.taken_at is not None, _DATED),
    ]


def _known(photo: Photo) -> list[Message]:
    """Return in words what the photo says of itself besides its pixels."""
    facts = {_TIME: photo.taken_at, _PLACE: photo.gps, _RATING: photo.rating}
    return [word for word, there in facts.items() if there]


# The criteria


@dataclass(frozen=True, slots=True)
class Ranked:
    """A photo, the best of its files, and how it stands among those that match each other."""

    photo: Photo
    file: File
    settings: Settings
    standing: Standing


CONTAINS_MORE = Message("contains more of the others")


def _of_standing(kept: Standing, other: Standing) -> Message:
    """Return why a photo that stands better is kept."""
    if other.bordered and not kept.bordered:
        return Message("has no borders")
    if kept.exceeded == other.exceeded and (other.made_from, other.derived) > (kept.made_from, kept.derived):
        return Message("the other one was made from it or from a common source")
    return CONTAINS_MORE


_Key = Callable[[Ranked], object]
_Why = Callable[[Ranked, Ranked], Message]


def _why_original(kept: Ranked, other: Ranked) -> Message:
    ours, theirs = (_evidence(r.photo, r.file) for r in (kept, other))
    better = (words for (mine, words), (its, _) in zip(ours, theirs, strict=True) if mine and not its)
    return next(better, Message("taken earlier"))


def _why_known(kept: Ranked, other: Ranked) -> Message:
    more = [word for word in _known(kept.photo) if word not in _known(other.photo)]
    return Message("has {what}", what=reduce(lambda one, two: Message("{one} and {two}", one=one, two=two), more))


def _protection(kept: Ranked) -> Message:
    named = any(below(kept.file.path, folder) for folder in kept.settings.reference)
    return Message("in a reference folder") if named else Message("in a protected folder")


def _size(photo: Photo) -> str:
    return f"{photo.width}x{photo.height}"


# Each word of Settings.keep: what sorts first, and what is said of the better one.
_RULES: dict[str, tuple[_Key, _Why]] = {
    "protected": (lambda r: not protected(r.file.path, r.settings), lambda k, o: _protection(k)),
    "preferred": (
        lambda r: preference(r.file.path, r.settings),
        lambda k, o: Message("in a folder preferred over the other"),
    ),
    "edited": (
        lambda r: not (is_edited(r.photo, r.file) and r.standing.largest),
        lambda k, o: Message("the edited version"),
    ),
    "contains": (
        lambda r: (
            r.standing.exceeded,
            r.standing.made_from,
            round(r.standing.derived, 3),
            -r.standing.contains,
            r.standing.bordered,
        ),
        lambda k, o: _of_standing(k.standing, o.standing),
    ),
    "original": (
        lambda r: (
            *(not there for there, _ in _evidence(r.photo, r.file)),
            r.photo.taken_at or "",
        ),
        _why_original,
    ),
    "pixels": (
        lambda r: -r.photo.width * r.photo.height,
        lambda k, o: Message("{kept} over {other}", kept=_size(k.photo), other=_size(o.photo)),
    ),
    "metadata": (
        lambda r: -len(_known(r.photo)),
        _why_known,
    ),
    "format": (
        lambda r: (r.standing.resaved, _FORMATS.get(r.photo.format, _OTHER_FORMAT)),
        lambda k, o: (
            Message("{kept}, of which the {other} was made", kept=k.photo.format, other=o.photo.format)
            if o.standing.resaved
            else Message("{kept} rather than {other}", kept=k.photo.format, other=o.photo.format)
        ),
    ),
    # of other pixels the least compressed file, of the same pixels the smallest one
    "bytes": (
        lambda r: (-(r.standing.bytes or r.photo.size), r.photo.size),
        lambda k, o: (
            Message("{kept:,} over {other:,} bytes", kept=k.photo.size, other=o.photo.size)
            if k.photo.size > o.photo.size
            else Message("the same in {kept:,} instead of {other:,} bytes", kept=k.photo.size, other=o.photo.size)
        ),
    ),
    "oldest": (lambda r: r.file.mtime_ns, lambda k, o: Message("older file")),
    "path": (lambda r: len(r.file.path), lambda k, o: Message("shorter path")),
}


def best_files(photo: Photo, settings: Settings) -> list[File]:
    """Return the files of a photo, the one to keep first."""
    if len(photo.files) == 1:
        return [*photo.files]

    def key(file: File) -> tuple[object, ...]:
        ranked = Ranked(photo, file, settings, ALONE)
        return (*(_RULES[word][0](ranked) for word in settings.keep), len(file.path), file.path)

    return sorted(photo.files, key=key)


def best_photo(photo: Photo, settings: Settings, standing: Standing = ALONE) -> tuple[object, ...]:
    """Return the key that sorts the photo to keep first, a figure a word of settings.keep; no two keys are equal."""
    ranked = Ranked(photo, best_files(photo, settings)[0], settings, standing)
    return (*(_RULES[word][0](ranked) for word in settings.keep), photo.sha256)


def keep_reason(
    keeper: Photo, other: Photo, settings: Settings, standing: tuple[Standing, Standing] = (ALONE, ALONE)
) -> Message:
    """Return the first criterion by which the keeper is the better one, in words. standing: of both."""
    ranked = [
        Ranked(p, best_files(p, settings)[0], settings, how) for p, how in zip((keeper, other), standing, strict=True)
    ]
    for word in settings.keep:
        key, why = _RULES[word]
        if key(ranked[0]) != key(ranked[1]):
            return why(*ranked)
    return Message("same in every respect")
