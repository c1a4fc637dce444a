"""One picture -> another version of it, as people and apps make them, and a mask of the content that was changed.

Edits come in three families. Tone edits leave content where it is; shape edits move it, and the mask goes the same way;
content edits draw over it, and what they change is added to the mask. Strong edits throw much of the picture away; two
strongly edited versions of one photo may have nothing in common, so a training pair should hold at most one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops

from dedup.training import overlay_edits, shape_edits, tone_edits
from dedup.training.content_edits import CONTENTS, watermark
from dedup.training.overlay_edits import OVERLAYS
from dedup.training.shape_edits import STRONG_SHAPES, WEAK_SHAPES, Others, collage
from dedup.training.tone_edits import RARE_TONES, TONES, Edit

_LONGEST = 512  # pixels; frames and bars add up, and verification looks at no more
_VISIBLE = 14  # grey levels, of the largest change of a channel, from which content counts as changed
# of weak edits: tone, shape, content. Most versions of photos are recoloured or compressed.
_FAMILIES = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class Version:
    """A version of a picture.   changed: L, of the same size, 255 where its content is not that of the source.

    Masks are meaningless outside what the version shows of its source, in frames and bars.   kinds: names of its edits.
    """

    image: Image.Image
    changed: Image.Image
    kinds: tuple[str, ...] = ()


Family = Callable[[Version, Edit, Generator], Version]


def unedited(image: Image.Image) -> Version:
    """Return the picture as a version of itself: nothing is changed."""
    return Version(image, Image.new("L", image.size))


def toned(version: Version, edit: Edit, rng: Generator) -> Version:
    """Return the version after a tone edit."""
    image = edit(version.image, rng)
    same = image.size == version.image.size
    return replace(version, image=image, changed=version.changed if same else version.changed.resize(image.size))


def shaped(version: Version, edit: Edit, rng: Generator) -> Version:
    """Return the version after a shape edit. The mask goes through the same edit, its generator in the same state."""
    again = np.random.default_rng()
    again.bit_generator.state = rng.bit_generator.state
    image = edit(version.image, rng)
    if version.changed.getbbox() is None:
        return replace(version, image=image, changed=Image.new("L", image.size))
    return replace(version, image=image, changed=edit(version.changed.convert("RGB"), again).convert("L"))


def overdrawn(version: Version, edit: Edit, rng: Generator) -> Version:
    """Return the version after a content edit, with the visible part of what it changed added to the mask."""
    image = edit(version.image, rng)
    changed = ImageChops.lighter(version.changed, difference_mask(version.image, image))
    return replace(version, image=image, changed=changed)


def difference_mask(image: Image.Image, other: Image.Image, *, visible: int = _VISIBLE) -> Image.Image:
    """Return an L image of the size of both, 255 where a channel differs by more than `visible` grey levels."""
    largest = np.asarray(ImageChops.difference(image, other)).max(2)
    return Image.fromarray((largest > visible).astype(np.uint8) * 255)


def edited(
    start: Version, rng: Generator, *, strong: bool, others: Others, weak: int | None = None, added: float = 0.0
) -> Version:
    """Return a version after 0 to 3 weak edits, and one strong edit among them if `strong`.

    others: draws photos to stand beside it in collages.   weak: the number of weak edits, instead of a random one.
    added: share of the weak edits that are of the kinds in ADDED, besides those that are anyway.
    """
    count = int(rng.choice(4, p=[0.15, 0.4, 0.3, 0.15])) if weak is None else weak
    steps = [_added_edit(rng) if added and rng.random() < added else _weak_edit(rng) for _ in range(count)]
    if strong:
        n = int(rng.integers(len(STRONG_SHAPES) + 1))
        edit: Edit = STRONG_SHAPES[n] if n < len(STRONG_SHAPES) else partial(collage, others=others)
        steps.insert(int(rng.integers(len(steps) + 1)), (shaped, edit))
    version = start
    for family, edit in steps:
        version = _bounded(family(version, edit, rng))
        version = replace(version, kinds=(*version.kinds, kind_of(edit)))
    return version


def kind_of(edit: Edit) -> str:
    """Return the name of an edit."""
    return edit.func.__name__ if isinstance(edit, partial) else edit.__name__


def _added_edit(rng: Generator) -> tuple[Family, Edit]:
    return ADDED[rng.integers(len(ADDED))]


def _weak_edit(rng: Generator) -> tuple[Family, Edit]:
    """Return a weak edit and how it treats the mask; within a family every edit is as likely, the rare ones aside."""
    family = rng.choice(3, p=_FAMILIES)
    if family == 0:
        some = RARE_TONES if rng.random() < 0.01 else TONES
        return toned, some[rng.integers(len(some))]
    if family == 1:
        return shaped, WEAK_SHAPES[rng.integers(len(WEAK_SHAPES))]
    some = OVERLAYS if rng.random() < 0.4 else CONTENTS
    return overdrawn, some[rng.integers(len(some))]


def _bounded(version: Version) -> Version:
    """Return the version with its longer side at most _LONGEST."""
    if max(version.image.size) <= _LONGEST:
        return version
    image = version.image.copy()
    image.thumbnail((_LONGEST, _LONGEST))
    return replace(version, image=image, changed=version.changed.resize(image.size))


# Kinds that were added after a first training, and a few that were rare in it, for pairs to learn from besides. Logos
# and words are drawn more often.
ADDED: list[tuple[Family, Edit]] = [
    *((overdrawn, edit) for edit in (overlay_edits.logo,) * 3),
    *((overdrawn, edit) for edit in (overlay_edits.headline,) * 2),
    *((overdrawn, edit) for edit in (overlay_edits.stock_marks, overlay_edits.detections, overlay_edits.redacted)),
    *((overdrawn, edit) for edit in (overlay_edits.particles, overlay_edits.cut_out, watermark)),
    *((toned, edit) for edit in (tone_edits.portrait, tone_edits.recoloured, tone_edits.oil, tone_edits.halftone)),
    (toned, tone_edits.unevenly_lit),
    *((shaped, edit) for edit in (shape_edits.waves, shape_edits.stretched, shape_edits.lens)),
]
