"""The networks that ship: their card, the check of their digest, and how they are loaded.

weights/README.md says what they were trained on, and under which licences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING, Any

from dedup.errors import BadUsage, WeightsUnusable
from dedup.types.arrays import SIDE
from dedup.types.pairs import Gate
from dedup.workers import keep_freed_memory

if TYPE_CHECKING:  # torch takes a second to load, and the name is known without it
    from dedup.models.encoder import Encoder
    from dedup.models.int8 import Int8Encoder
    from dedup.models.pair_head import Calibration, PairHead
    from dedup.models.residual_head import ResidualHead


FILE, CARD = "dedup.safetensors", "dedup.json"
QUICK = "-quick"  # suffix of the name under which descriptors of thumbnails are stored
_LOADING = Lock()  # several threads may load the weights at once


@dataclass(frozen=True)
class Weights:
    """Networks ready to run, and the name under which their descriptors and verdicts are stored.

    The name ends in version(), so that it changes with any tensor, calibration or gate.
    """

    name: str
    encoder: Encoder
    fast_encoder: Encoder | Int8Encoder  # that describes photos; see models/int8.py
    head: PairHead
    calibration: Calibration  # of the head
    residual_head: ResidualHead
    residual_calibration: Calibration
    prefilter: Gate  # which candidates are worth the pair head
    gate: Gate  # which pairs are worth verification
    geometric_gate: Gate  # which of these are worth a full alignment
    device: str = "cpu"  # where the networks are, as torch names it


@dataclass(frozen=True)
class WeightsSpec:
    """The weights in the package before they are loaded: what the card says, and where they are to run."""

    name: str
    gate: Gate
    device: str  # auto, cpu or cuda
    quick: bool  # embedded thumbnails are encoded where there are any

    def load(self) -> Weights:
        """Return the weights, loaded once in each process. Raises WeightsUnusable if they are not those of the card."""
        with _LOADING:
            return replace(_loaded(device=device_of(self.device)), name=self.name)


def weights_spec(*, device: str = "cpu", quick: bool = False) -> WeightsSpec:
    """Return what the card says of the weights in the package. Raises BadUsage without the device, WeightsUnusable.

    quick: encode embedded thumbnails where there are any; their descriptors are stored under another name.
    """
    if device != "auto":
        device = device_of(device)
    card = _card()
    return WeightsSpec(card.name + (QUICK if quick else ""), card.line, device, quick)


def device_of(word: str) -> str:
    """Return the torch device for auto, cpu or cuda. Raises BadUsage for another word, or for cuda without a GPU."""
    if word not in ("auto", "cpu", "cuda"):
        raise BadUsage(f"the device is auto, cpu or cuda, not {word!r}")
    if word == "cpu":
        return word
    import torch

    if word == "cuda" and not torch.cuda.is_available():
        raise BadUsage("device cuda is not available: torch sees no GPU; use auto or cpu")
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_weights(*, device: str = "cpu") -> Weights:
    """Return the weights in the package, for inference. Raises WeightsUnusable if they are not those of the card."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from dedup.models import int8
    from dedup.models.encoder import Encoder
    from dedup.models.pair_head import Calibration, PairHead
    from dedup.models.residual_head import ResidualHead

    keep_freed_memory(largest=1 << 26, at_most=(1 << 31) - 1)  # brings the encoder to a third of its time
    card, data = _card(), _file(FILE)
    if sha256(data).hexdigest() != card.sha256:
        raise WeightsUnusable(f"{FILE} is damaged: its SHA-256 is not that of its card; install dedup again")
    encoder, head, residual_head = Encoder(), PairHead(), ResidualHead()
    try:
        tensors = load(data)
        for prefix, module in (("encoder.", encoder), ("head.", head), ("second.", residual_head)):
            own = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        curves = Calibration(**card.calibration), Calibration(**card.second_calibration)
    except (SafetensorError, RuntimeError, TypeError) as error:
        raise WeightsUnusable(f"{FILE} and {CARD} are not of this version of dedup; install dedup again") from error
    encoder = encoder.fold().to(memory_format=torch.channels_last).to(device)  # type: ignore[call-overload]
    fast_encoder = int8.Int8Encoder(encoder) if device == "cpu" and int8.available() else encoder
    networks = (encoder, fast_encoder, head.eval().to(device), curves[0], residual_head.eval().to(device), curves[1])
    return Weights(card.name, *networks, card.glance, card.line, card.geometric_gate, device)


_loaded = lru_cache(maxsize=1)(load_weights)


def version(card: Mapping[str, Any]) -> str:
    """Return 8 hex digits that identify all that verdicts depend on: tensors, calibrations, gates."""
    parts = {
        name: card[name] for name in ("sha256", "calibration", "second_calibration", "glance", "line", "geometric_gate")
    }
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def completed(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card with its name, which ends in version(), and the SHA-256 of all its entries.

    Raises KeyError or TypeError if it lacks an entry that verdicts depend on.
    """
    entries = {**card, "name": f"lite0-{SIDE}-{version(card)}"}
    entries.pop("checksum", None)
    return {**entries, "checksum": sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()}


@dataclass(frozen=True)
class _Card:
    """What the card says that running the networks needs."""

    name: str
    sha256: str
    calibration: dict[str, float]
    second_calibration: dict[str, float]
    glance: Gate
    line: Gate
    geometric_gate: Gate


def _card() -> _Card:
    """Return the card of the weights in the package. Raises WeightsUnusable if it is not as it was written."""
    try:
        card = json.loads(_file(CARD))
        if completed(card) != card:
            raise WeightsUnusable(f"{CARD} is damaged: its figures do not have its checksum; install dedup again")
        gates = [Gate(**card[name]) for name in ("glance", "line", "geometric_gate")]
        return _Card(card["name"], card["sha256"], card["calibration"], card["second_calibration"], *gates)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsUnusable(f"{CARD} is damaged: it is no card of weights; install dedup again") from error


def _file(name: str) -> bytes:
    try:
        return resources.files("dedup").joinpath("weights", name).read_bytes()
    except FileNotFoundError as error:
        raise WeightsUnusable(f"{name} is missing from the package; install dedup again") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsUnusable(f"{name}, which holds the weights, cannot be read: {reason}") from error
