"""Two photos of one photograph -> what would be lost of each if only the other one stayed.

A file is removed by default only if the file that stays shows everything that it shows. This module combines what is
known of two files: their facts (frames, video, damage, ...), where one lies in the other (cropped, at a lower
resolution), and what verification measured on the aligned pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from dedup.geometry.homography import coverage, inverse
from dedup.types.arrays import Homography
from dedup.types.message import Message, listed
from dedup.types.pairs import HARMLESS, Loss
from dedup.types.photo import Facts, Photo

_WHOLE = 0.96  # share of a picture inside another that counts as all of it: alignment is not exact
_DENSITY = 0.97  # pixels along a line, of the other picture per pixel of this one: below it the resolution is lower
_SIZE = 0.99  # the same where both show the whole picture, so that their sizes tell it exactly


@dataclass(frozen=True, slots=True)
class Beside:
    """What would be lost of the first and the second of two photos, and the share of each that lies in the other."""

    losses: tuple[Loss, Loss]
    inside: tuple[float, float] = (1.0, 1.0)


def beside(
    one: Photo, other: Photo, *, transform: Homography | None, measured: tuple[int, int] = (0, 0), identical: bool
) -> Beside:
    """Return what would be lost of two photos of one photograph if only the other one stayed.

    transform: where the first lies in the second; None if they were not verified.   measured: the flags of Loss that
    verification found on the aligned pixels, for each.   identical: both decode to the same pixels.
    """
    files = _of_files(one.facts, other.facts, identical), _of_files(other.facts, one.facts, identical)
    if identical:
        return Beside(files)
    if transform is None:
        return Beside((files[0] | Loss.UNVERIFIED, files[1] | Loss.UNVERIFIED))
    inside = coverage(transform), coverage(inverse(transform))
    shown = _of_geometry(one, other, inside, measured)
    return Beside((files[0] | shown[0] | Loss(measured[0]), files[1] | shown[1] | Loss(measured[1])), inside)


def _of_files(one: Facts | None, other: Facts | None, identical: bool) -> Loss:
    """Return what a file holds that another one does not."""
    if one is None or other is None:
        return Loss.UNREAD
    found = {
        Loss.DAMAGED: bool(other.damaged) and not (one.damaged and (identical or one.intact < other.intact)),
        Loss.BITS: one.bits > max(8, other.bits),
        Loss.DEPTH: one.gain_map > other.gain_map or one.depth_map > other.depth_map,
    }
    if not identical:
        found |= {
            Loss.FRAMES: one.frames > 1,  # only the first ones are compared
            Loss.PICTURES: one.pictures > 0,
            Loss.VIDEO: one.video not in ("", other.video),
            Loss.ALPHA: one.alpha > other.alpha,
        }
    return Loss(sum(loss for loss, there in found.items() if there))


def _of_geometry(one: Photo, other: Photo, inside: tuple[float, float], measured: tuple[int, int]) -> tuple[Loss, Loss]:
    """Return whether a part of each picture lies outside the other, and whether the other shows it at a lower
    resolution. Borders that verification found are not missed.
    """
    areas = (one.width * one.height * inside[0], other.width * other.height * inside[1])  # pixels of the shared part
    least = _SIZE if min(inside) >= _WHOLE else _DENSITY
    found = []
    equal = bool(measured[0] & measured[1] & Loss.ENLARGED)
    both = zip((one, other), areas, areas[::-1], inside, measured, measured[::-1], strict=True)
    for photo, mine, theirs, share, flags, its in both:
        cropped = share < _WHOLE and not flags & Loss.BORDERS
        # only what is blurred is an enlargement: a soft photo, too, has little more detail than its small copy
        enlarged = equal or (flags & Loss.ENLARGED and its & Loss.DETAIL and not photo.camera)
        finer = theirs < mine * least**2 and not enlarged
        found.append((Loss.CROPPED if cropped else Loss(0)) | (Loss.RESOLUTION if finer else Loss(0)))
    return found[0], found[1]


def in_words(losses: tuple[int, int], one: Photo, other: Photo, inside: tuple[float, float]) -> str:
    """Return which of two photos shows all of the other, in words, and what would be lost of the rest.

    losses, inside: see Beside.
    """
    second, first = shortfall(losses[0], one, other, inside[0]), shortfall(losses[1], other, one, inside[1])
    match contained(losses[0]), contained(losses[1]):
        case True, True:
            return "each contains the other"
        case True, False:
            return f"the second contains the first, which is {first}"
        case False, True:
            return f"the first contains the second, which is {second}"
    return f"neither contains the other: the first is {first}; the second is {second}"


def contained(lost: Loss | int) -> bool:
    """Return whether a picture is contained in another beside which this much of it is lost."""
    return not int(lost) & ~HARMLESS


def shortfall(lost: Loss | int, one: Photo, other: Photo, inside: float) -> str:
    """Return in words what the other photo is, or is without, so that this much of the first is lost beside it.

    inside: share of the first that lies in the other. Empty if nothing is lost.
    """
    ours, theirs = one.facts or Facts(), other.facts or Facts()
    fewer, sizes = theirs.frames < ours.frames, [f"{p.width}x{p.height}" for p in (one, other)]
    words = {
        Loss.UNREAD: Message("not read by this version yet"),
        Loss.UNVERIFIED: Message("not verified"),
        Loss.UNCOMPARED: Message("not compared at full resolution"),
        Loss.DAMAGED: Message("damaged from {part:.0%} on", part=theirs.intact)
        if theirs.intact
        else Message("damaged"),
        Loss.FRAMES: Message("with {some} of {all} frames", some=theirs.frames, all=ours.frames)
        if fewer
        else Message("with other frames"),
        Loss.PICTURES: Message("without the further pictures"),
        Loss.VIDEO: Message("without the video"),
        Loss.DEPTH: Message("without the gain or depth map"),
        Loss.ALPHA: Message("without transparency"),
        Loss.BITS: Message("of {bits} bits a channel", bits=theirs.bits),
        Loss.COLOUR: Message("grey"),
        Loss.CROPPED: Message("cropped to {share:.0%}", share=inside),
        Loss.RESOLUTION: Message("{found} instead of {whole}", found=sizes[1], whole=sizes[0])
        if inside >= _WHOLE
        else Message("of lower resolution"),
        Loss.TONE: Message("in another tone"),
        Loss.DETAIL: Message("blurred"),
        Loss.PART_BLURRED: Message("blurred in a part"),
        Loss.ADDED: Message("without the caption or sticker"),
        Loss.CONTENT: Message("different in a part"),
        Loss.RECOLOURED: Message("recoloured in a part"),
        Loss.SURROUNDED: Message("set into something larger"),
    }
    return listed([text for loss, text in words.items() if lost & loss])
