"""Folders of photos -> what training draws from: pictures in memory, scenes, and what is held apart.

A first-level folder is a pool (photos of one kind). With `--hard`, scenes.csv names pictures that show one thing in
several shots: not copies of each other, and the hardest to tell from copies.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dedup.errors import UnreadablePhoto
from dedup.images.decode import decode_within
from dedup.index import nearest
from dedup.models.encoder import unit
from dedup.models.pair_head import COPY, SIMILAR, UNRELATED
from dedup.training.edits import edited
from dedup.types.arrays import SIDE

SPLITS = ("choose", "calibrate", *["train"] * 8)  # a tenth to stop by, a tenth to calibrate on, the rest to learn from
# The split of photos that are only seen beside others, in collages: a photo of any other split would be a copy of a
# part of the collage, and be labelled as another photo. One in so many of those to learn from.
FILLERS, _FILLERS = "fillers", 8
PLAIN = "plain"  # the pool of pictures with next to nothing in them
_BIG_SCENE = 60  # pictures; a scene this large is a drive or a film, too much of the whole to hold apart
_LONGEST = 512  # pixels, of the longer side of a photo; no network sees more of it
_LARGE = 200_000  # bytes; a larger file is kept in memory as a JPEG of _LONGEST


@dataclass(frozen=True)
class Corpus:
    """Photos to train from. Item i of each list describes photo i; equal scenes are shots of one thing."""

    encoded: list[bytes]  # files; decoded when they are drawn
    pools: list[str]
    scenes: list[str]  # "" for a scene of its own
    splits: NDArray[np.str_]

    def image(self, i: int) -> Image.Image:
        return Image.fromarray(decode_within(self.encoded[i], longest=_LONGEST))

    def of(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.splits == split)

    @cached_property
    def _fillers(self) -> NDArray[np.int64]:
        return self.of(FILLERS)

    def filler(self, rng: Generator) -> Image.Image:
        """Return a photo to stand beside another in a collage."""
        return self.image(int(rng.choice(self._fillers)))

    def edited(self, i: int, rng: Generator, *, strong: bool) -> Image.Image:
        """Return an edit of photo i."""
        return edited(self.image(i), rng, strong=strong, others=self.filler)


def scenes_in(folder: Path) -> list[tuple[str, str]]:
    """Return the files that the scenes.csv of a folder names, and the scene of each, which may be empty."""
    kept = folder / "scenes.csv"
    try:
        with kept.open(newline="", encoding="utf-8") as f:
            named = [(row["file"], row["scene"] or "") for row in csv.DictReader(f)]
    except OSError as error:
        raise ValueError(f"{kept}: {error.strerror}; it must say which pictures show one thing (file,scene)") from error
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{kept}: must be UTF-8 with the columns file and scene") from error
    if not all(file for file, _ in named):
        raise ValueError(f"{kept}: has a row that names no file")
    return named


def load(root: Path, hard: Path | None, *, plain: int, seed: int) -> Corpus:
    """Return every picture under `root` and those of `hard`, in the order of their names, and some plain ones.

    Files that hold no picture are named on stderr and left out. Raises ValueError if none is left under `root`, or if
    `hard` does not say which pictures show one thing.
    """
    names: list[tuple[Path, str, str]] = []  # file, pool, scene
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        names.append((path, path.relative_to(root).parts[0], ""))
    if hard is not None:
        for file, scene in scenes_in(hard):
            names.append((hard / file, "hard:" + Path(file).parts[0], scene))
    pictures: dict[Path, bytes] = {}
    for path, _, _ in names:
        try:
            pictures[path] = picture_in(path)
        except (UnreadablePhoto, OSError) as error:
            print(f"{path} is left out: {error}", file=sys.stderr)
    names = [name for name in names if name[0] in pictures]
    if all(scene for _, _, scene in names):
        raise ValueError(f"no photos in {root} (links to folders are not followed)")
    sizes = Counter(scene for _, _, scene in names)
    digests = [sha256((scene or f"{pool}/{path.name}").encode()).digest() for path, pool, scene in names]
    splits = [
        "train" if scene and sizes[scene] > _BIG_SCENE else SPLITS[digest[0] % len(SPLITS)]
        for digest, (_, _, scene) in zip(digests, names, strict=True)
    ]
    alone = [n for n, (_, _, scene) in enumerate(names) if splits[n] == "train" and not scene]
    for n in sorted(alone, key=digests.__getitem__)[: -(-len(alone) // _FILLERS)]:
        splits[n] = FILLERS
    corpus = Corpus(
        [pictures[path] for path, _, _ in names],
        [pool for _, pool, _ in names],
        [scene for _, _, scene in names],
        np.array(splits),
    )
    for n in range(plain):
        buffer = io.BytesIO()
        plain_picture(corpus, np.random.default_rng((seed, n))).save(buffer, "PNG")
        corpus.encoded.append(buffer.getvalue())
        corpus.pools.append(PLAIN)
        corpus.scenes.append("")
    return replace(corpus, splits=np.concatenate([corpus.splits, [SPLITS[n % len(SPLITS)] for n in range(plain)]]))


def picture_in(path: Path) -> bytes:
    """Return a file, or the picture in it made smaller, as long as there is one. Raises as decode does, and OSError."""
    data = path.read_bytes()
    picture = Image.fromarray(decode_within(data, longest=_LONGEST))
    if len(data) <= _LARGE:
        return data
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def plain_picture(corpus: Corpus, rng: Generator) -> Image.Image:
    """Return a picture with next to nothing in it: one colour, a gradient, or a photo nearly black or white."""
    width, height = (int(v) for v in rng.integers(100, 260, 2))
    kind = rng.choice(["colour", "gradient", "dark", "white"], p=[0.4, 0.2, 0.2, 0.2])
    if kind == "gradient":
        start = rng.integers(0, 256, 3)
        first, last = rng.integers(0, 256, (2, 3)) if rng.random() < 0.5 else (start - 25, start + 25)
        ramp = Image.linear_gradient("L").rotate(float(rng.uniform(0, 360)), expand=True).crop((60, 60, 200, 200))
        image = ImageOps.colorize(ramp.resize((width, height)), _rgb(first), _rgb(last))
    elif kind == "colour":
        colour = rng.integers(0, 256, 3)
        image = Image.new("RGB", (width, height), _rgb(colour[[0, 0, 0]] if rng.random() < 0.4 else colour))
    else:
        photo = corpus.image(int(rng.choice(corpus.of("train"))))
        strength, ground = float(rng.uniform(0.01, 0.06)), 0 if kind == "dark" else 255
        image = Image.blend(Image.new("RGB", photo.size, (ground,) * 3), photo, strength)
    if rng.random() < 0.4:  # as a sensor or a scanner sees it
        grain = rng.normal(0, rng.uniform(0.3, 2.5), (image.height, image.width, 3))
        image = Image.fromarray(np.clip(np.asarray(image, np.float64) + grain, 0, 255).astype(np.uint8))
    return image


def _rgb(values: NDArray[np.int64]) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in np.clip(values, 0, 255))
    return r, g, b


def golden_pictures() -> NDArray[np.uint8]:
    """Return (2, SIDE, SIDE, 3), two versions of a picture made of waves, the same on every machine.

    What the networks say of them stands on the card of the weights, so that a test can tell whether they still do.
    """
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = [np.sin(a * x + b * y + 9 * x * y) for a, b in ((11, 4), (-7, 19), (23, -13))]
    picture = np.stack([127 + 120 * w * np.cos(6 * x - 5 * y) for w in waves], axis=2)
    return np.stack([picture, picture[:, ::-1] * 0.8 + 20]).round().astype(np.uint8)


def squashed(image: Image.Image) -> NDArray[np.uint8]:
    """Return (SIDE, SIDE, 3) uint8, as decode.py makes it."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def draw_photos(corpus: Corpus, rng: Generator, *, count: int) -> NDArray[np.int64]:
    """Return `count` different training photos; half of the draws come from one pool, some hold shots of a scene."""
    train = corpus.of("train")
    train = train[np.array(corpus.pools)[train] != PLAIN]  # versions of a plain picture have nothing to be known by
    pools = np.array(corpus.pools)[train]
    some = train
    if rng.random() < 0.5:  # photos of one kind are the harder negatives
        of_pool = train[pools == rng.choice(np.unique(pools))]
        some = of_pool if len(of_pool) >= count else train
    chosen = rng.choice(some, count, replace=False)
    by_scene = defaultdict(list)
    for i in train:
        if corpus.scenes[i]:
            by_scene[corpus.scenes[i]].append(int(i))
    rich = sorted(scene for scene, members in by_scene.items() if len(members) > 1)
    shots: list[int] = []
    for scene in rng.permutation(rich)[:3]:
        shots += rng.permutation(by_scene[scene])[:4].tolist()
    return np.array([*shots, *(i for i in chosen.tolist() if i not in shots)][:count])


class Views:
    """Item n is step n's batch: (2, B, SIDE, SIDE, 3) uint8, two versions of each of B photos. Same seed, same item."""

    def __init__(self, corpus: Corpus, *, batch: int, steps: int, seed: int) -> None:
        self.corpus, self.batch, self.steps, self.seed = corpus, batch, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng((self.seed, step))
        views = np.empty((2, self.batch, SIDE, SIDE, 3), np.uint8)
        for n, i in enumerate(draw_photos(self.corpus, rng, count=self.batch)):
            views[0, n] = squashed(self.corpus.edited(int(i), rng, strong=False))
            views[1, n] = squashed(self.corpus.edited(int(i), rng, strong=rng.random() < 0.6))
        return views


@dataclass(frozen=True)
class Described:
    """What the frozen encoder says of V views of each of M photos.

    photos: (M,), numbers in the corpus.   vectors: (M, V, D) float16.   maps: (M, V, S, C) int8.
    contrast: (M, V) float32, standard deviation of the grey values, 0 to 128.
    View 0 is the photo itself; views from STRONG_FROM on had a strong edit.
    """

    photos: NDArray[np.int64]
    vectors: NDArray[np.float16]
    maps: NDArray[np.int8]
    contrast: NDArray[np.float32]


STRONG_FROM = 3


class ViewsOfOne:
    """Item n is (V, SIDE, SIDE, 3) uint8, the views of photo n of `photos`. Same seed, same item."""

    def __init__(self, corpus: Corpus, photos: NDArray[np.int64], *, views: int, seed: int) -> None:
        self.corpus, self.photos, self.views, self.seed = corpus, photos, views, seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        i = int(self.photos[n])
        rng = np.random.default_rng((self.seed, i))
        edits = [self.corpus.edited(i, rng, strong=v >= STRONG_FROM) for v in range(1, self.views)]
        return np.stack([squashed(self.corpus.image(i)), *(squashed(edit) for edit in edits)])


def lookalikes(corpus: Corpus, *, likeness: float = 0.95) -> set[tuple[int, int]]:
    """Return pairs (i < j) of photos that may be one photograph, for the pools hold a few copies nobody labelled.

    Told by the correlation of 16 x 16 grey values, also mirrored. They count neither as copies nor as not.
    """
    small = np.stack([np.asarray(corpus.image(i).convert("L").resize((16, 16))) for i in range(len(corpus.encoded))])
    flat = small.reshape(len(small), -1).astype(np.float32)
    mirrored = small[:, :, ::-1].reshape(len(small), -1).astype(np.float32)
    flat, mirrored = (x - x.mean(1, keepdims=True) for x in (flat, mirrored))
    flat, mirrored = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 16.0) for x in (flat, mirrored))
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(flat), 1024):
        for other in (flat, mirrored):
            rows, columns = np.nonzero(flat[start : start + 1024] @ other.T > likeness)
            pairs.update((int(i), int(j)) for i, j in zip(rows + start, columns, strict=True) if i < j)
    return pairs


@dataclass(frozen=True)
class Pairs:
    """Pairs of views: (P, 2) rows into the flattened (M * V) views, and (P,) classes as in verify.py."""

    views: NDArray[np.int64]
    classes: NDArray[np.int64]


class PairSampler:
    """Draws what the head learns from: versions of one photo, shots of one scene, and near neighbours."""

    def __init__(self, corpus: Corpus, described: Described, unsure: set[tuple[int, int]], *, neighbours: int) -> None:
        self.described = described
        self.views, self.photos = described.vectors.shape[1], described.photos
        scenes = [corpus.scenes[i] for i in described.photos]
        of_scene = defaultdict(list)
        for m, scene in enumerate(scenes):
            if scene:
                of_scene[scene].append(m)
        self.scenes = [np.array(ms) for _, ms in sorted(of_scene.items()) if len(ms) > 1]
        # a plain view gives no evidence, nor does one whose only features are what an edit laid over a plain picture
        contrasted = (described.contrast >= 6.0) & (described.contrast[:, :1] >= 6.0)
        pools = np.array([corpus.pools[i] for i in described.photos])
        self.contrasted = contrasted & (pools != PLAIN)[:, None]
        self.plain = np.flatnonzero((described.contrast < 6.0) & (pools == PLAIN)[:, None])
        self.negatives = self._mine(scenes, unsure, k=neighbours)

    def _mine(self, scenes: list[str], unsure: set[tuple[int, int]], *, k: int) -> NDArray[np.int64]:
        """Return (Q, 2) view rows of near neighbours of different photos, of no common scene."""
        M, V, D = self.described.vectors.shape
        flat = unit(self.described.vectors.reshape(M * V, D))
        query, found = nearest(flat, flat, k=k)
        a, b = query // V, found // V
        scene = np.unique(np.array(scenes), return_inverse=True)[1]
        labelled = np.array([bool(s) for s in scenes])
        different = (a != b) & ~((scene[a] == scene[b]) & labelled[a] & labelled[b])
        known = {(min(x, y), max(x, y)) for x, y in unsure}
        i, j = self.photos[a], self.photos[b]
        low, high = np.minimum(i, j), np.maximum(i, j)
        keys = np.array(sorted(x * 1_000_000 + y for x, y in known), np.int64)
        different &= ~np.isin(low * 1_000_000 + high, keys)
        return np.stack([query[different], found[different]], axis=1)

    def draw(self, rng: Generator, *, count: int) -> Pairs:
        """Return `count` pairs: 45 % copies, 12 % shots of one scene, 6 % plain pictures, the rest near neighbours.

        Two plain pictures count as unrelated, and so do two versions of one: nobody could tell.
        """
        n_copies, n_similar = int(count * 0.45), int(count * 0.12) if self.scenes else 0
        n_plain = int(count * 0.06) if len(self.plain) else 0
        m = rng.integers(len(self.photos), size=3 * n_copies)
        u, v = rng.integers(self.views, size=(2, 3 * n_copies))
        good = (u != v) & (np.minimum(u, v) < STRONG_FROM) & self.contrasted[m, u] & self.contrasted[m, v]
        of_one = np.stack([m * self.views + u, m * self.views + v], axis=1)[good][:n_copies]
        shots = []
        for _ in range(n_similar):
            # the square root: a drive of 120 frames should not drown the scenes of two
            sizes = np.array([len(s) for s in self.scenes]) ** 0.5
            scene = self.scenes[rng.choice(len(self.scenes), p=sizes / sizes.sum())]
            u, v = int(rng.integers(self.views)), int(rng.integers(STRONG_FROM))
            first, second = rng.choice(scene, 2, replace=False)
            shots.append((first * self.views + u, second * self.views + v))
        n_far = count - len(of_one) - len(shots) - n_plain
        plain = rng.choice(self.plain, (n_plain, 2)) if n_plain else np.empty((0, 2), np.int64)
        far = self.negatives[rng.integers(len(self.negatives), size=n_far)]
        views = np.concatenate([of_one, np.array(shots, np.int64).reshape(-1, 2), far, plain])
        classes = np.repeat([COPY, SIMILAR, UNRELATED], [len(of_one), len(shots), n_far + n_plain])
        return Pairs(views, classes)
