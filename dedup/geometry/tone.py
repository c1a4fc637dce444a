"""Two aligned pictures -> the change of colour that makes one of the other, by robust least squares and medians.

The model is what cameras, editors and filters do to a whole picture: a linear mix of the channels (grey, sepia, white
balance, saturation), a curve for each channel (exposure, contrast, gamma), or a curve of the lightness and one of how
far the channels are from it (the brightness and saturation of HSL); and, where that explains much more, a gain that
varies smoothly over the picture (vignette, gradient filter). A change of a part of the picture cannot be modelled
so, and remains as a residual.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.least_squares import by_median, hats, robust_factors

Image = NDArray[np.uint8]  # (H, W, 3), sRGB
Plane = NDArray[np.float32]  # (H, W), 0 to 255
Mask = NDArray[np.bool_]  # (H, W)

LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)  # ITU-R BT.601
_SAMPLES = 4000  # pixels that a fit takes
_BINS = 20  # of a curve
_AMPLIFIED = 2.5  # at most, since a mark on a bright place must still be seen
_LIGHT_EVERY = 3  # samples, of which one is taken
_LIGHTS = 12  # values of the lightness between which its curves are linear
_FEWEST = 8  # samples in a bin
_LARGEST_ERROR = 30.0  # grey levels; what differs more counts as so much
_BADLY = 5.0  # grey levels, the error of a tone from which the other way is tried
_WELL = 2.5  # grey levels, the error of a tone up to which no other is tried
_PREFERENCE = 0.5  # grey levels by which a mix of channels must beat leaving them apart
_SHADE_DEGREE = 4  # of the polynomial in x and y
_SHADE_GAIN, _SHADE_ERROR = 0.75, 1.5  # a shade must lower the error to this share of it, and the error be this large
_SHADE_RANGE, _SHADE_SEEN = (0.01, 4.0), 0.2  # of the gain; from which the tone is seen through it
_RADII = np.linspace(0, 1.4, 8)  # distances between which a vignette is linear; 1 is the middle of an edge
_RIDGE = 0.03  # what gains cost
_GROUNDS = (0.0, 255.0)  # grey levels
_MIDDLE, _ROUNDS = 0.5, 2  # distance up to which a vignette does little; fits in turns
_CLIPPED, _DETAIL = 3, 12  # grey levels from black and white that are clipped; that differ there
_UNCLIPPED = 0.1  # share of the samples from which a mix can be fitted


@dataclass(frozen=True)
class Tone:
    """A change of colour of a whole picture.

    mix: (3, 3) float32, target channels by source channels.   curves: (256, 1, 3) float32, of the mixed channels.
    light: (256, 2) float32, instead of both: by the lightness of a pixel (the mean of its largest and smallest channel)
    what that becomes, and by what the distance of the channels from it is multiplied; None for none.
    shade: (h, w) float32, a gain to be stretched over the picture, by which the distance from the level `ground`, black
    or white, is multiplied; None for none.   error: RMS of what remains, in grey levels over three channels, each
    pixel's at most 30.
    """

    mix: NDArray[np.float32]
    curves: NDArray[np.float32]
    shade: Plane | None
    error: float
    light: NDArray[np.float32] | None = None
    ground: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether a channel depends on others: grey, sepia, saturation."""
        return self.light is not None or not np.array_equal(self.mix, np.eye(3))

    def apply(self, image: Image) -> NDArray[np.float32]:
        """Return the picture in the target's colours, (H, W, 3) float32, 0 to 255."""
        changed = self._coloured(image)
        if self.shade is not None:
            gain = cv2.resize(self.shade, changed.shape[1::-1])[..., None]
            changed = np.asarray((changed - self.ground) * gain + self.ground, np.float32)
        return changed

    def _coloured(self, image: Image) -> NDArray[np.float32]:
        if self.light is not None:
            light = _lightness(image)
            middle, spread = (self.light[np.rint(light).astype(np.uint8), n, None] for n in range(2))
            return np.asarray(np.clip(middle + (image - light[..., None]) * spread, 0, 255), np.float32)
        mixed = cv2.transform(image, self.mix) if self.mixes else image
        return np.asarray(cv2.LUT(mixed, self.curves), np.float32)

    def amplification(self, image: Image) -> Plane:
        """Return (H, W), by what this amplifies the colours of each pixel, and their noise too; at most _AMPLIFIED."""
        if self.light is None:
            return np.ones(image.shape[:2], np.float32)
        return np.asarray(np.clip(self.light[np.rint(_lightness(image)).astype(np.uint8), 1], 1, _AMPLIFIED))

    def refinement(self, source: Image, target: Image, where: Mask) -> NDArray[np.float32]:
        """Return (H, W, 3), what a change of colour of second degree adds to this one, between two small pictures."""
        before = self.apply(source)
        x, rest = _terms(source), target.astype(np.float32) - before
        rows = _sampled(where)
        terms, y = x.reshape(-1, 10)[rows], rest.reshape(-1, 3)[rows]
        ridge = np.diag([1e-4] * 9 + [0]) * len(terms)
        factors = robust_factors(terms, y, ridge, lambda errors: by_median(np.square(errors).sum(1)))
        return np.asarray(np.clip(before + x @ factors, 0, 255) - before, np.float32)


def unchanged() -> Tone:
    """Return the tone that changes nothing."""
    levels = np.repeat(np.arange(256, dtype=np.float32), 3).reshape(256, 1, 3)
    return Tone(np.eye(3, dtype=np.float32), levels, None, 0.0)


def _terms(image: Image) -> NDArray[np.float32]:
    """Return (H, W, 10), the channels in [0, 1], their squares and products, and a constant."""
    x = image.astype(np.float32) / 255
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    return np.stack([r, g, b, r * r, g * g, b * b, r * g, r * b, g * b, np.ones_like(r)], axis=-1)


def luma(image: NDArray[np.uint8] | NDArray[np.float32]) -> Plane:
    """Return the luminance of a picture (H, W, 3)."""
    return np.asarray(cv2.transform(image.astype(np.float32), LUMA), np.float32)


def fit_tone(source: Image, target: Image, where: Mask) -> Tone:
    """Return the change of colour from source to target, two aligned pictures of one size, where the mask is set."""
    tone = _between(source, target, where)
    return _with_shade(tone, source, target, where) if tone.error > _SHADE_ERROR else tone


def common_tones(one: Image, other: Image, where: Mask) -> tuple[Tone, Tone]:
    """Return the tones of two aligned pictures after which they look alike where the mask is set; one is unchanged.

    What is dark or clipped in one of them cannot be had from it, so that the way that explains more is taken.
    """
    to_one = fit_tone(other, one, where)
    if to_one.error > _BADLY:
        to_other = fit_tone(one, other, where)
        of_one, of_other = (max(1.0, float(luma(image)[where].std())) for image in (one, other))
        if to_other.error * of_one < to_one.error * of_other:
            return to_other, unchanged()
    return unchanged(), to_one


def clipped_away(image: Image, other: Image, where: Mask) -> float:
    """Return the share of the pixels of a picture that are black or white in a channel where the other one has detail.

    What is black or white in both, in whatever tone, has none.
    """
    lost = np.zeros(where.shape, bool)
    for mine, its in zip(cv2.split(image), cv2.split(other), strict=True):
        for clipped in (where & (mine <= _CLIPPED), where & (mine >= 255 - _CLIPPED)):
            if np.count_nonzero(clipped) >= _FEWEST:
                values = its[clipped].astype(np.float32)
                lost[clipped] |= np.abs(values - np.median(values)) > _DETAIL
    return float(lost[where].mean())


def _samples(image: NDArray[np.generic], where: Mask) -> NDArray[np.float32]:
    """Return (M, 3), every n-th pixel of those inside the mask."""
    return np.asarray(image.reshape(-1, image.shape[-1])[_sampled(where)], np.float32)


def _sampled(where: Mask) -> NDArray[np.int64]:
    """Return the places of every n-th pixel inside the mask, in the picture as a row of pixels."""
    inside = np.flatnonzero(where)
    return inside[:: max(1, len(inside) // _SAMPLES)]


def _fit(x: NDArray[np.float32], y: NDArray[np.float32]) -> Tone:
    """Return the best tone from colours x to colours y, (M, 3) each: with the channels apart, mixed or by lightness."""
    apart = _with_curves(np.eye(3, dtype=np.float32), x, y)
    if apart.error <= _PREFERENCE:
        return apart
    mixed = _with_curves(_mix(x, y), x, y)
    best = mixed if mixed.error < apart.error - _PREFERENCE else apart
    if best.error <= _WELL:
        return best
    by_light = _with_light(x, y)
    return by_light if by_light.error < best.error - _PREFERENCE else best


def _mix(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (3, 3), the linear mix of channels from x to y; an offset is fitted and left to the curves.

    What is clipped in y does not follow a mix; it is left out unless nearly all is.
    """
    within = ((y > _CLIPPED) & (y < 255 - _CLIPPED)).all(1)
    if np.count_nonzero(within) > _UNCLIPPED * len(y):
        x, y = x[within], y[within]
    inputs = np.c_[x, np.full(len(x), 255, np.float32)]
    ridge = np.diag([0.5, 0.5, 0.5, 0]) * len(x)
    mix = robust_factors(inputs, y, ridge, lambda errors: by_median(np.square(errors).sum(1)))
    return np.ascontiguousarray(mix[:3].T, np.float32)


def _with_curves(mix: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> Tone:
    """Return the tone with this mix of channels and the curves that follow from it."""
    p = np.clip(x @ mix.T, 0, 255)
    curves = np.stack([_curve(p[:, c], y[:, c]) for c in range(3)], axis=1)  # (256, 3)
    level = p.astype(np.int64)
    found = np.stack([curves[level[:, c], c] for c in range(3)], axis=1)
    return Tone(mix, np.ascontiguousarray(curves[:, None]), None, _error(found - y))


def _error(residual: NDArray[np.float32]) -> float:
    """Return what Tone.error is, of differences of colours (M, 3)."""
    size = np.minimum(np.sqrt(np.square(residual).sum(1)), _LARGEST_ERROR)
    return float(np.sqrt(np.mean(np.square(size))))


def _lightness(image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (...), the mean of the largest and the smallest channel of colours (..., 3)."""
    return np.asarray((image.max(-1).astype(np.float32) + image.min(-1)) / 2, np.float32)


def _with_light(x: NDArray[np.float32], y: NDArray[np.float32]) -> Tone:
    """Return the tone that changes the lightness and the distances of the channels from it, fitted to some samples."""
    light = _lightness(x)
    at = np.unique(np.quantile(light, np.linspace(0, 1, _LIGHTS)).round())
    if len(at) < 2:
        return replace(unchanged(), error=_LARGEST_ERROR)
    terms = _light_terms(x[::_LIGHT_EVERY], at)
    ridge, wanted = np.eye(terms.shape[1]) * 1e-2, (y - x)[::_LIGHT_EVERY].T.ravel()
    factors = robust_factors(terms, wanted, ridge, lambda errors: by_median(np.square(errors)))
    levels = np.arange(256)
    curves = [levels + np.interp(levels, at, factors[: len(at)]), 1 + np.interp(levels, at, factors[len(at) :]) / 64]
    tone = replace(unchanged(), light=np.stack(curves, axis=1).astype(np.float32))
    return replace(tone, error=_error(tone.apply(x.round().astype(np.uint8)[None])[0] - y))


def _light_terms(x: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (3 * M, 2 * K), of what the curves of the lightness and of the distances are made; at: (K,)."""
    light = _lightness(x)
    of_light, away = hats(light, at).astype(np.float32), (x - light[:, None]) / 64
    return np.concatenate([np.concatenate([of_light, of_light * away[:, c, None]], axis=1) for c in range(3)])


def _curve(p: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (256,), the median of y by the value of p, linear between bins and beyond the outer ones."""
    low, high = float(p.min()), float(p.max())
    bins = np.rint((p - low) / max(high - low, 1.0) * _BINS).astype(np.int64)
    order = np.lexsort((y, bins))
    counts = np.bincount(bins, minlength=_BINS + 1)
    ends = np.cumsum(counts)
    full = counts >= _FEWEST
    if not full.any():
        return np.full(256, np.median(y), np.float32)
    centre = (np.bincount(bins, weights=p, minlength=_BINS + 1) / np.maximum(counts, 1))[full]
    median = y[order][(ends - (counts + 1) // 2)[full]]
    levels = np.arange(256)
    curve = np.interp(levels, centre, median)
    if len(centre) > 1:
        for end, inner, outside in ((0, 1, levels < centre[0]), (-1, -2, levels > centre[-1])):
            slope = (median[end] - median[inner]) / max(centre[end] - centre[inner], 1e-3, key=abs)
            curve[outside] = median[end] + (levels[outside] - centre[end]) * np.clip(slope, -3, 3)
    return np.asarray(np.clip(curve, 0, 255), np.float32)


# A gain that varies over the picture


def _with_shade(tone: Tone, source: Image, target: Image, where: Mask) -> Tone:
    """Return the tone with a gain over the picture if that explains much more, otherwise as it is.

    A tone that was fitted to a shaded picture holds some of the shade. So the tone starts from the middle, where a
    vignette does little, and both are fitted in turns.
    """
    bright = cv2.blur(luma(target), (3, 3))

    def rest(tone: Tone) -> float:
        errors = np.abs(cv2.blur(luma(tone.apply(source)), (3, 3)) - bright)[where]
        return float(np.minimum(errors, _LARGEST_ERROR).mean())

    before = rest(tone)
    if before < _SHADE_ERROR or rest(_shaded(tone, source, bright, where, 0.0)[0]) > _SHADE_GAIN * before:
        return tone
    middle = where & (_radius(where.shape) < _MIDDLE)
    start = _between(source, target, middle if np.count_nonzero(middle) > _FEWEST else where)
    best, gain = min((_shaded(start, source, bright, where, ground) for ground in _GROUNDS), key=lambda b: rest(b[0]))
    for _ in range(_ROUNDS):
        seen = where & (gain > _SHADE_SEEN)
        if np.count_nonzero(seen) < _FEWEST:
            return tone
        flat = (target - best.ground) / np.maximum(gain, _SHADE_SEEN)[..., None] + best.ground
        again = _between(source, np.clip(flat, 0, 255).astype(np.uint8), seen)
        best, gain = _shaded(again, source, bright, where, best.ground)
    if rest(best) > _SHADE_GAIN * before:
        return tone
    x, y = (_samples(image, where) for image in (best.apply(source), target))
    return replace(best, error=_error(x - y))


def _between(source: Image, target: Image, where: Mask) -> Tone:
    """Return the tone without a gain from source to target where the mask is set."""
    x, y = (_samples(cv2.blur(image, (3, 3)), where) for image in (source, target))
    return _fit(x, y)


@lru_cache(maxsize=4)
def _radius(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (H, W), the distance from the centre, at which the middle of each edge is 1."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    return np.hypot(x, y)


@lru_cache(maxsize=4)
def _powers(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (H, W, T), functions of both coordinates in [-1, 1], the constant first: powers of the coordinates, and
    those of which a function of the distance from the centre is made that is linear between some values: a vignette.
    """
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    degrees = range(_SHADE_DEGREE + 1)
    powers = [x**i * y**j for i in degrees for j in degrees[: _SHADE_DEGREE + 1 - i]]
    return np.concatenate([np.stack(powers, axis=-1), hats(_radius(shape), _RADII)], axis=-1).astype(np.float32)


def _shaded(tone: Tone, source: Image, bright: Plane, where: Mask, ground: float) -> tuple[Tone, Plane]:
    """Return a tone without a gain with the one that explains the target best, and that (H, W).

    bright: the softened luminance of the target.   ground: of the gain, see Tone.
    """
    p = cv2.blur(luma(tone.apply(source)), (3, 3))
    rows, powers = _sampled(where), _powers(where.shape)
    x, y, terms = p.ravel()[rows], bright.ravel()[rows], powers.reshape(-1, powers.shape[-1])[rows]
    inputs, ridge = terms * (x - np.float32(ground))[:, None], np.eye(terms.shape[1]) * _RIDGE * len(x)
    factors = robust_factors(inputs, y - x, ridge, lambda errors: by_median(np.square(errors)))  # beyond a gain of 1
    gain = np.clip(1 + powers @ factors, *_SHADE_RANGE).astype(np.float32)
    return replace(tone, shade=gain, ground=ground), gain
