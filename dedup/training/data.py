"""Folders of photos -> what training draws from: pictures in memory, how they are related, and what is held apart.

A first-level folder is a pool (photos of one kind). Folders of hard pictures have a scenes.csv: it names pictures that
show one thing in several shots, which are not copies of each other and the hardest to tell from copies. Folders of
copies have a copies.csv: it names versions of one photograph that others made.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import combinations
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
from dedup.training.edits import Version, edited, unedited
from dedup.types.arrays import SIDE, Columns

# A tenth of the photos to choose by (when to stop, which parameters), a tenth to calibrate on, the rest to learn from.
SPLITS = ("choose", "calibrate", *["train"] * 8)
# The split of photos that only stand beside others in collages: a photo of any other split would be a copy of a
# part of the collage, and be labelled as another photo. One in so many of those to learn from.
FILLERS, _FILLERS = "fillers", 8
PLAIN = "plain"  # the pool of pictures with next to nothing in them
_BIG_SCENE = 60  # pictures; a scene this large is a drive or a film, too much of the whole to hold apart
_LONGEST = 512  # pixels, of the longer side of a photo; no network sees more of it
_LARGE = 200_000  # bytes; a larger file is kept in memory as a JPEG of _LONGEST


@dataclass(frozen=True)
class Corpus:
    """N photos to train from, as columns of length N.

    scenes: equal names are shots of one thing, "" is a scene of its own.   copies: equal names are versions of one
    photograph that others made, "" for a photo without any.   added: see edits.edited().
    """

    encoded: list[bytes]  # files; decoded when they are drawn
    pools: list[str]
    scenes: list[str]
    copies: list[str]
    splits: NDArray[np.str_]
    added: float = 0.0

    def image(self, i: int) -> Image.Image:
        """Return photo i, RGB."""
        return Image.fromarray(decode_within(self.encoded[i], longest=_LONGEST))

    def of(self, split: str) -> NDArray[np.int64]:
        """Return the numbers of the photos of a split, ascending."""
        return np.flatnonzero(self.splits == split)

    def with_content(self, split: str) -> NDArray[np.int64]:
        """Return the numbers of the photos of a split that are not plain, ascending."""
        photos = self.of(split)
        return np.asarray(photos[np.array(self.pools)[photos] != PLAIN])

    @cached_property
    def photographs(self) -> NDArray[np.int64]:
        """(N,), equal for versions of one photograph."""
        return _numbered(self.copies)

    @cached_property
    def scene_numbers(self) -> NDArray[np.int64]:
        """(N,), equal for shots of one scene."""
        return _numbered(self.scenes)

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """(N,), equal for pictures from one source of hard pictures or of copies."""
        return _numbered(
            [(scene or copies).split(":")[0] for scene, copies in zip(self.scenes, self.copies, strict=True)]
        )

    def classes(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class (P,) of pairs of photos, -1 where it is not known: what one source shows may be alike."""
        known = np.where(self.sources[left] == self.sources[right], -1, UNRELATED)
        of_scene = np.where(self.scene_numbers[left] == self.scene_numbers[right], SIMILAR, known)
        return np.asarray(np.where(self.photographs[left] == self.photographs[right], COPY, of_scene))

    @cached_property
    def _fillers(self) -> NDArray[np.int64]:
        return self.of(FILLERS)

    def filler(self, rng: Generator) -> Image.Image:
        """Return a photo to stand beside another in a collage."""
        return self.image(int(rng.choice(self._fillers)))

    def edited(self, i: int, rng: Generator, *, strong: bool, weak: int | None = None) -> Version:
        """Return an edit of photo i.   weak: the number of weak edits, instead of a random one."""
        start = unedited(self.image(i))
        return edited(start, rng, strong=strong, others=self.filler, weak=weak, added=self.added)


def _numbered(names: list[str]) -> NDArray[np.int64]:
    """Return (N,), a number for each name; empty names have one each."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name or f"\0{n}", n) for n, name in enumerate(names)], np.int64)


@dataclass(frozen=True)
class Listed:
    """A row of a scenes.csv or copies.csv.   split: "" if the file does not say to which part it belongs."""

    path: Path
    pool: str
    scene: str
    copies: str
    split: str


def listing(folder: Path, name: str) -> list[Listed]:
    """Return the rows of the scenes.csv or copies.csv of a folder: file, scene or group, and perhaps part.

    Files lie in the folder or in photos/ below it. Raises ValueError if the file is missing or malformed.
    """
    path = folder / name
    try:
        with path.open(newline="", encoding="utf-8") as f:
            rows = [
                (row["file"], row["scene" if "scene" in row else "group"] or "", row.get("part") or "")
                for row in csv.DictReader(f)
            ]
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}; it must list which pictures belong together (file,group)"
        ) from error
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: must be UTF-8 with the columns file and scene or group") from error
    if not all(file for file, _, _ in rows):
        raise ValueError(f"{path}: has a row that names no file")
    if unknown := {part for _, _, part in rows} - {"", *SPLITS}:
        raise ValueError(f"{path}: part is train, choose or calibrate, not {min(unknown)!r}")
    below = folder / "photos" if (folder / "photos").is_dir() else folder
    are_scenes = name == "scenes.csv"
    return [
        Listed(below / file, "hard:" + Path(file).parts[0], group, "", part)
        if are_scenes
        else Listed(below / file, "copies:" + Path(file).parts[0], "", group, part)
        for file, group, part in rows
    ]


def load(root: Path, hard: Sequence[Path], copies: Sequence[Path], *, plain: int, seed: int) -> Corpus:
    """Return every picture under `root`, those of `hard` and of `copies`, and some plain ones that are drawn here.

    Files that hold no picture are named on stderr and left out. Raises ValueError if none is left under `root`, or if a
    listing is missing or malformed.
    """
    listed = [Listed(p, p.relative_to(root).parts[0], "", "", "") for p in sorted(root.rglob("*")) if p.is_file()]
    photos = len(listed)
    for folder in hard:
        listed += listing(folder, "scenes.csv")
    for folder in copies:
        listed += listing(folder, "copies.csv")
    pictures: dict[Path, bytes] = {}
    for n, row in enumerate(listed):
        try:
            pictures[row.path] = picture_in(row.path)
        except (UnreadablePhoto, OSError) as error:
            print(f"{row.path} is left out: {error}", file=sys.stderr)
            photos -= n < photos
    if not photos:
        raise ValueError(f"no photos in {root} (links to folders are not followed)")
    listed = [row for row in listed if row.path in pictures]
    corpus = Corpus(
        [pictures[row.path] for row in listed],
        [row.pool for row in listed],
        [row.scene for row in listed],
        [row.copies for row in listed],
        np.array(_splits(listed)),
    )
    for n in range(plain):
        buffer = io.BytesIO()
        plain_picture(corpus, np.random.default_rng((seed, n))).save(buffer, "PNG")
        corpus.encoded.append(buffer.getvalue())
        corpus.pools.append(PLAIN)
        corpus.scenes.append("")
        corpus.copies.append("")
    return replace(corpus, splits=np.concatenate([corpus.splits, [SPLITS[n % len(SPLITS)] for n in range(plain)]]))


def _splits(listed: list[Listed]) -> list[str]:
    """Return the split of each row: its part if it states one, otherwise by a hash of its scene or name."""
    sizes = Counter(row.scene for row in listed)
    digests = [sha256((row.scene or row.copies or f"{row.pool}/{row.path.name}").encode()).digest() for row in listed]
    splits = [
        row.split or ("train" if row.scene and sizes[row.scene] > _BIG_SCENE else SPLITS[digest[0] % len(SPLITS)])
        for row, digest in zip(listed, digests, strict=True)
    ]
    alone = [n for n, row in enumerate(listed) if splits[n] == "train" and not row.scene and not row.copies]
    for n in sorted(alone, key=digests.__getitem__)[: -(-len(alone) // _FILLERS)]:
        splits[n] = FILLERS
    return splits


def picture_in(path: Path) -> bytes:
    """Return a file, or its picture as a smaller JPEG if the file is large. Raises as decode does, and OSError."""
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

    The card of the weights states what the networks say of them, and a test compares.
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
    train = corpus.with_content("train")  # versions of a plain picture have nothing in common
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
            views[0, n] = squashed(self.corpus.edited(int(i), rng, strong=False).image)
            views[1, n] = squashed(self.corpus.edited(int(i), rng, strong=rng.random() < 0.6).image)
        return views


@dataclass(frozen=True)
class Described(Columns):
    """The descriptors that the frozen encoder makes of V views of each of M photos.

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
        return np.stack([squashed(self.corpus.image(i)), *(squashed(edit.image) for edit in edits)])


def lookalikes(corpus: Corpus, *, likeness: float = 0.95) -> set[tuple[int, int]]:
    """Return pairs (i < j) of photos without a label that may be one photograph: the pools hold a few unnoted copies.

    They are found by the correlation of 16 x 16 grey values, also mirrored, and count neither as copies nor as not.
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
            rows += start
            new = (rows < columns) & (corpus.classes(rows, columns) == UNRELATED)
            pairs.update(zip(rows[new].tolist(), columns[new].tolist(), strict=True))
    return pairs


@dataclass(frozen=True)
class Pairs:
    """Pairs of views: (P, 2) rows into the flattened (M * V) views, and (P,) classes as in models/pair_head.py."""

    views: NDArray[np.int64]
    classes: NDArray[np.int64]


class Groups:
    """Groups of photos that belong together, drawn so that neither a large source nor a large group drowns the rest."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: (M,), "source:group" of each photo, or another name, or ""; single photos are no group."""
        members = defaultdict(list)
        for m, name in enumerate(names):
            if name:
                members[name].append(m)
        by_source = defaultdict(list)
        for name, group in sorted(members.items()):
            if len(group) > 1:
                by_source[name.split(":")[0]].append(np.array(group))
        self._sources = list(by_source.values())
        self._shares = _square_root_shares([sum(len(group) for group in groups) for groups in self._sources])

    def __bool__(self) -> bool:
        return bool(self._sources)

    def pairs(self, *, most: int) -> list[tuple[int, int]]:
        """Return the pairs of members of each group, `most` of a large one: spread evenly over all that it has."""
        found = []
        for groups in self._sources:
            for group in groups:
                every = list(combinations(group.tolist(), 2))
                found += every[:: -(-len(every) // most)]
        return found

    def draw(self, rng: Generator) -> tuple[int, int]:
        """Return two different members of one group.

        Half of the time they are near in the order of their names: shots that follow each other are the hardest.
        """
        groups = self._sources[rng.choice(len(self._sources), p=self._shares)]
        group = groups[rng.choice(len(groups), p=_square_root_shares([len(g) for g in groups]))]
        n = int(rng.integers(len(group)))
        step = int(rng.integers(1, min(4, len(group)))) if rng.random() < 0.5 else int(rng.integers(1, len(group)))
        return int(group[n]), int(group[(n + step) % len(group)])


def _square_root_shares(sizes: list[int]) -> NDArray[np.float64]:
    roots = np.sqrt(np.array(sizes, np.float64))
    return np.asarray(roots / max(roots.sum(), 1e-9))


class PairSampler:
    """Draws what the head learns from: versions of one photo, shots of one scene, and near neighbours."""

    def __init__(self, corpus: Corpus, described: Described, unsure: set[tuple[int, int]], *, neighbours: int) -> None:
        self.corpus, self.described = corpus, described
        self.views, self.photos = described.vectors.shape[1], described.photos
        self.scenes = Groups([corpus.scenes[i] for i in described.photos])
        self.copies = Groups([corpus.copies[i] for i in described.photos])
        # a plain view gives no evidence, nor does one whose only features are what an edit laid over a plain picture
        contrasted = (described.contrast >= 6.0) & (described.contrast[:, :1] >= 6.0)
        pools = np.array([corpus.pools[i] for i in described.photos])
        self.contrasted = contrasted & (pools != PLAIN)[:, None]
        self.plain = np.flatnonzero((described.contrast < 6.0) & (pools == PLAIN)[:, None])
        self.negatives = self._mine(unsure, k=neighbours)

    def _mine(self, unsure: set[tuple[int, int]], *, k: int) -> NDArray[np.int64]:
        """Return (Q, 2) view rows of near neighbours that are known to be unrelated."""
        M, V, D = self.described.vectors.shape
        flat = unit(self.described.vectors.reshape(M * V, D))
        query, found = nearest(flat, flat, k=k)
        i, j = self.photos[query // V], self.photos[found // V]
        unrelated = self.corpus.classes(i, j) == UNRELATED
        keys = np.array(sorted(x * 1_000_000 + y for x, y in unsure), np.int64)
        unrelated &= ~np.isin(np.minimum(i, j) * 1_000_000 + np.maximum(i, j), keys)
        return np.stack([query[unrelated], found[unrelated]], axis=1)

    def draw(self, rng: Generator, *, count: int) -> Pairs:
        """Return `count` pairs: 45 % copies, 16 % shots of one scene, 6 % plain pictures, the rest near neighbours.

        Of the copies one in nine was made by others, if there are such. Two plain pictures count as unrelated, and so
        do two versions of one: they cannot be told apart.
        """
        n_similar = int(count * 0.16) if self.scenes else 0
        n_plain = int(count * 0.06) if len(self.plain) else 0
        n_others = int(count * 0.05) if self.copies else 0
        n_copies = int(count * 0.45) - n_others
        m = rng.integers(len(self.photos), size=3 * n_copies)
        u, v = rng.integers(self.views, size=(2, 3 * n_copies))
        good = (u != v) & (np.minimum(u, v) < STRONG_FROM) & self.contrasted[m, u] & self.contrasted[m, v]
        of_one = np.stack([m * self.views + u, m * self.views + v], axis=1)[good][:n_copies]
        by_others, shots = self._views_of(self.copies, rng, n_others), self._views_of(self.scenes, rng, n_similar)
        n_far = count - len(of_one) - n_others - n_similar - n_plain
        plain = rng.choice(self.plain, (n_plain, 2)) if n_plain else np.empty((0, 2), np.int64)
        far = self.negatives[rng.integers(len(self.negatives), size=n_far)]
        views = np.concatenate([of_one, by_others, shots, far, plain])
        counts = [len(of_one) + n_others, n_similar, n_far + n_plain]
        return Pairs(views, np.repeat([COPY, SIMILAR, UNRELATED], counts))

    def _views_of(self, groups: Groups, rng: Generator, count: int) -> NDArray[np.int64]:
        """Return (count, 2) view rows of pairs of photos of one group; one of both may be strongly edited."""
        rows = []
        for _ in range(count):
            first, second = groups.draw(rng)
            # half of the pairs as they are
            u, v = (0, 0) if rng.random() < 0.5 else (int(rng.integers(self.views)), int(rng.integers(STRONG_FROM)))
            rows.append((first * self.views + u, second * self.views + v))
        return np.array(rows, np.int64).reshape(-1, 2)
