#!/usr/bin/env python3
"""Reproduce the experiment that the project grew from: can a small network tell a photo's copy from another photo?

    pip install -c constraints.txt '.[bench]'
    python scripts/reproduce_seed.py DIR [--output DIR]

DIR is any folder of photos. Photos are drawn from it at random, 128 x 128 pixels each; a fifth is held out for
validation. Half of the pairs are different photos, half a photo and its copy. The right-hand photo of either kind is
rotated by up to 10 degrees and scaled by up to 10 %, so that a blurred edge cannot reveal the copy. Pairs are drawn
anew in each pass. Writes the table to seed.md and the figure of network (b) to seed.png; docs/seed.md discusses them.

The networks follow https://ai.stackexchange.com/questions/34041/can-cnns-detect-image-similarity (2022).
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dedup.errors import UnreadablePhoto
from dedup.images.decode import decode
from dedup.models.encoder import encode, unit
from dedup.models.pair_head import score_pairs
from dedup.models.weights import load_weights
from dedup.types.arrays import SIDE as OUR_SIDE
from dedup.types.pairs import Candidates

SEED = 34041
SIDE = 128  # pixels
BATCH = 32
Pictures = NDArray[np.uint8]  # (N, SIDE, SIDE, 3)


# Photos and pairs


def read_photos(folder: Path, *, count: int, rng: Generator) -> Pictures:
    """Return up to `count` photos of a folder, drawn at random, (N, SIDE, SIDE, 3). Skips other files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    photos: list[NDArray[np.uint8]] = []
    for i in rng.permutation(len(files)):
        if len(photos) == count:
            break
        try:
            photos.append(decode(files[i].read_bytes(), side=SIDE).pixels)
        except (UnreadablePhoto, OSError) as error:
            print(f"{str(files[i])!a}: left out ({error})", file=sys.stderr)
    return np.stack(photos) if photos else np.empty((0, SIDE, SIDE, 3), np.uint8)


def modified(picture: Pictures, rng: Generator) -> Pictures:
    """Return the picture rotated by up to 10 degrees and scaled by up to 10 % in each direction; edges are extended."""
    angle, (sx, sy) = np.radians(rng.uniform(-10, 10)), rng.uniform(0.9, 1.1, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([sx, sy])
    centre = np.full(2, (SIDE - 1) / 2)
    shift = centre - turn @ centre
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    return cv2.warpAffine(picture, np.column_stack([turn, shift]), (SIDE, SIDE), **how)


@dataclass(frozen=True)
class Pairs:
    """left, right: (P, SIDE, SIDE, 3) uint8.   same: (P,) float32, 1 for a photo and its copy, 0 for two photos."""

    left: Pictures
    right: Pictures
    same: NDArray[np.float32]

    def tensors(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return left and right (B, 3, SIDE, SIDE) in 0..1, and same (B,)."""
        left, right = (torch.from_numpy(x[rows]).permute(0, 3, 1, 2).float() / 255 for x in (self.left, self.right))
        return left, right, torch.from_numpy(self.same[rows])


def draw_pairs(photos: Pictures, rng: Generator) -> Pairs:
    """Return a pair for each photo, in random order: half with its copy, half with another photo."""
    order = rng.permutation(len(photos))
    same = np.arange(len(photos)) % 2 == 0
    other = (order + rng.integers(1, len(photos), len(photos))) % len(photos)  # never itself
    partner = np.where(same, order, other)
    mixed = rng.permutation(len(photos))
    right = np.stack([modified(photos[i], rng) for i in partner[mixed]])
    return Pairs(photos[order[mixed]], right, same[mixed].astype(np.float32))


# The networks: left and right (B, 3, SIDE, SIDE) -> logits (B,), above 0 for a copy


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    return torch.cat([left, right], dim=3)  # (B, 3, SIDE, 2 SIDE)


class Question(nn.Module):
    """(a) The question's network: both pictures side by side in an ordinary CNN, flattened into dense layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 128)):
            layers += [nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)]
        # 128 x 256 -> 63 x 127 -> 30 x 62 -> 14 x 30
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 14 * 30, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.layers(side_by_side(left, right)).squeeze(1)


class Answer(nn.Module):
    """(b, c, d) The answer's network: subtract the features of the right half from those of the left, weighted by cell.

    194 parameters: 3 x 3 x 3 x 3 + 3 = 84 for each convolution, 5 x 5 + 1 = 26 for the dense unit; 170: 1 x 1 + 1 = 2.
    So the three features of a place are one number when they reach it: here the mean of their absolute differences,
    since a signed difference under one linear unit could not tell two photos from the same two the other way round.
    """

    def __init__(self, activation: Callable[[Tensor], Tensor], *, grid: int) -> None:
        super().__init__()
        self.activation, self.grid = activation, grid
        self.first, self.second = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
        self.decide = nn.Linear(grid * grid, 1)
        # what differs speaks against a copy: from the other side a single weight finds no way but to erase the features
        nn.init.constant_(self.decide.weight, -1 / grid)

    def features(self, picture: Tensor) -> Tensor:
        """Return (B, 3, H, W): 30 x 30 of one picture, 30 x 62 of two side by side."""
        for layer in (self.first, self.second):
            picture = F.max_pool2d(self.activation(layer(picture)), 2)
        return picture

    def halves(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of both, (B, 3, 30, 31) each, cut from those of the double picture."""
        both = self.features(side_by_side(left, right))
        return both[..., :31], both[..., 31:]

    def difference(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return the difference at each position, (B, 30, W), and its mean by cell, (B, grid, grid)."""
        a, b = self.halves(left, right)
        places = (a - b).abs().mean(1)
        return places, F.avg_pool2d(places, 30 // self.grid)  # a 31st column is left over

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.decide(self.difference(left, right)[1].flatten(1)).squeeze(1)


class Siamese(Answer):
    """(e) The same with two inputs: each picture goes through the convolutions separately."""

    def halves(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return self.features(left), self.features(right)


# Training and the table


def accuracy(network: nn.Module, pairs: Pairs) -> float:
    """Return the share of pairs that the network classifies correctly."""
    network.eval()
    with torch.inference_mode():
        batches = [pairs.tensors(slice(start, start + BATCH)) for start in range(0, len(pairs.same), BATCH)]
        right = [((network(left, right) > 0) == (same > 0.5)) for left, right, same in batches]
    return torch.cat(right).float().mean().item()


def train(
    network: nn.Module, photos: Pictures, rng: Generator, *, passes: int, rate: float, fresh: bool = True
) -> nn.Module:
    """Train on one pair for each photo, a new one in each pass if `fresh`, with Adam and a one-cycle learning rate."""
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    steps = passes * -(-len(photos) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    pairs = draw_pairs(photos, rng)
    for n in range(passes):
        pairs, losses = draw_pairs(photos, rng) if fresh else pairs, []
        for start in range(0, len(photos), BATCH):
            left, right, same = pairs.tensors(slice(start, start + BATCH))
            loss = F.binary_cross_entropy_with_logits(network(left, right), same)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"  pass {n + 1} of {passes}: loss {np.mean(losses):.3f}", file=sys.stderr, flush=True)
    return network


@dataclass(frozen=True)
class Row:
    """A network of the table. published: its accuracy as reported.   passes: over the photos.   fresh: see train()."""

    name: str
    make: Callable[[], nn.Module]
    parameters: int
    published: str
    passes: int
    rate: float = 0.01
    fresh: bool = True


ROWS = (
    Row("(a) side by side, CNN, dense layers", Question, 3_482_849, "50 to 65 %", 6, 0.001, fresh=False),
    Row("(a) the same, new pairs at each pass", Question, 3_482_849, "-", 6, 0.001),
    Row("(b) subtract and weigh, 5 x 5, tanh", lambda: Answer(torch.tanh, grid=5), 194, "about 99 %", 12),
    Row("(c) the same with ELU", lambda: Answer(F.elu, grid=5), 194, "99.3 %", 12),
    Row("(d) as (b), pooled to 1 x 1", lambda: Answer(torch.tanh, grid=1), 170, "about 97 %", 12),
    Row("(e) as (b), two inputs, shared weights", lambda: Siamese(torch.tanh, grid=5), 194, "-", 12),
)


def count_parameters(*networks: nn.Module) -> int:
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def our_head(pairs: Pairs) -> tuple[int, float]:
    """Return the number of parameters of the shipped networks, and the share of pairs that they classify correctly.

    Nothing is trained: a pair is called a copy where the shipped probability is above one half.
    """
    weights = load_weights()
    size = (OUR_SIDE, OUR_SIDE)
    pictures = [cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in (*pairs.left, *pairs.right)]
    vectors, maps = encode(weights.encoder, pictures)
    P, unit_vectors = len(pairs.same), unit(vectors)
    similarity = (unit_vectors[:P] * unit_vectors[P:]).sum(1)
    candidates = Candidates(np.arange(P), np.arange(P, 2 * P), similarity)
    scores = score_pairs(candidates, lambda photos: maps[photos], weights.head, weights.calibration)
    return count_parameters(weights.encoder, weights.head), float(((scores.copy > 0.5) == (pairs.same > 0.5)).mean())


HEADER = (
    "| network | parameters | validation accuracy | published | passes | seconds | CPU seconds |",
    "|---|---:|---:|---:|---:|---:|---:|",
)


def table_row(name: str, parameters: int, right: float, published: str, passes: str, since: tuple[float, float]) -> str:
    wall, cpu = time.perf_counter() - since[0], time.process_time() - since[1]
    return f"| {name} | {parameters:,} | {right:.1%} | {published} | {passes} | {wall:.0f} | {cpu:.0f} |"


# The figure


def explain(network: Answer, pairs: Pairs, path: Path, *, rows: int) -> None:
    """Draw the features of the first pairs of either kind: six columns, one row for each pair."""
    from matplotlib.figure import Figure

    chosen = np.concatenate([np.flatnonzero(pairs.same == same)[: rows // 2] for same in (1, 0)])
    left, right, _ = (x[chosen] for x in pairs.tensors(slice(None)))
    with torch.inference_mode():
        a, b = network.halves(left, right)
        places, cells = network.difference(left, right)
        weighted = cells * network.decide.weight.reshape(1, network.grid, network.grid)
        sure = torch.sigmoid(network(left, right))
    low, high = (float(f(torch.stack([a, b]))) for f in (torch.min, torch.max))
    reach = float(weighted.abs().max())
    titles = ("left photo", "right photo", "left features", "right features", "their difference", "weighted")
    figure = Figure(figsize=(11, 1.9 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), 6, squeeze=False)
    for n, i in enumerate(chosen):
        images = (
            pairs.left[i],
            pairs.right[i],
            *(((x[n] - low) / (high - low)).permute(1, 2, 0).numpy() for x in (a, b)),
        )
        for axis, image in zip(axes[n], images, strict=False):
            axis.imshow(image)
        axes[n][4].imshow(places[n].numpy(), cmap="magma", vmin=0, vmax=float(places.max()))
        axes[n][5].imshow(weighted[n].numpy(), cmap="coolwarm", vmin=-reach, vmax=reach)
        truth = "copy" if pairs.same[i] else "two photos"
        axes[n][0].set_ylabel(f"{truth}\nsaid {sure[n]:.3f}")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(path, dpi=80)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", type=Path, metavar="DIR")
    ap.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="for seed.md and seed.png")
    ap.add_argument("--photos", type=int, default=2000, metavar="N")
    ap.add_argument("--passes", type=int, metavar="N", help="over the photos, for every network; for a quick look")
    a = ap.parse_args()
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        ap.error("matplotlib is not installed: pip install 'dedup-photos[bench]'")
    photos = read_photos(a.folder, count=a.photos, rng=np.random.default_rng(SEED))
    held = len(photos) // 5
    if held < 4:
        ap.error(f"{a.folder}: {len(photos)} photos are too few; 20 are the least")
    a.output.mkdir(parents=True, exist_ok=True)
    exam = draw_pairs(photos[:held], np.random.default_rng(SEED + 1))
    print(
        f"{len(photos)} photos: pairs of {len(photos) - held} to train, of {held} others to validate", file=sys.stderr
    )

    lines: list[str] = []

    def add(*more: str) -> None:
        lines.extend(more)
        print(*more, sep="\n", flush=True)
        (a.output / "seed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")

    add(*HEADER)
    for row in ROWS:
        print(row.name, file=sys.stderr, flush=True)
        torch.manual_seed(SEED)
        since, network = (time.perf_counter(), time.process_time()), row.make()
        assert count_parameters(network) == row.parameters, (row.name, count_parameters(network))
        passes = a.passes or row.passes
        train(network, photos[held:], np.random.default_rng(SEED + 2), passes=passes, rate=row.rate, fresh=row.fresh)
        right = accuracy(network, exam)
        add(table_row(row.name, row.parameters, right, row.published, str(passes), since))
        if row.name.startswith("(b)"):
            assert isinstance(network, Answer)
            explain(network, exam, a.output / "seed.png", rows=8)
    since = time.perf_counter(), time.process_time()
    add(table_row("(f) the head and encoder that ship", *our_head(exam), "-", "-", since))


if __name__ == "__main__":
    main()
