"""The tensors that ship: which they are, that they are the ones published, and how they are loaded.

weights/README.md says what they were trained on and under which licence they stand.
"""

from __future__ import annotations

import ctypes
import json
import sys
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from dedup.confirm import ResidualHead
from dedup.encode import Encoder
from dedup.errors import BadUsage, WeightsUnusable
from dedup.verify import Calibration, PairHead

FILE = "dedup.safetensors"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True)
class Weights:
    """Networks ready to run, and the name that every stored descriptor and verdict is kept under.

    The name ends in the first 8 hex digits of the file's SHA-256: other tensors, another name.
    """

    name: str
    encoder: Encoder
    head: PairHead
    calibration: Calibration  # of the head
    second: ResidualHead
    second_calibration: Calibration


@dataclass(frozen=True)
class _Card:
    name: str
    sha256: str
    calibration: Calibration
    second_calibration: Calibration


def _keep_freed_memory() -> None:
    """Have glibc keep what the networks free: they ask for it again at once, and pages from the system cost more.

    The encoder runs at a third of the time. See mallopt(3); other C libraries do well by themselves.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def device_of(word: str) -> str:
    """Return the torch device that auto, cpu or cuda means here. Raises BadUsage for another word, or without a GPU."""
    if word not in ("auto", "cpu", "cuda"):
        raise BadUsage(f"the device is auto, cpu or cuda, not {word!r}")
    if word == "cuda" and not torch.cuda.is_available():
        raise BadUsage("--device cuda: torch sees no GPU here; use --device auto")
    return "cuda" if word != "cpu" and torch.cuda.is_available() else "cpu"


def load_shipped(*, device: str = "cpu") -> Weights:
    """Return the weights in the package, for inference. Raises WeightsUnusable if they are not those of the card."""
    _keep_freed_memory()
    card = _card()
    data = _file(FILE)
    if sha256(data).hexdigest() != card.sha256:
        raise WeightsUnusable(f"{FILE} is damaged: its SHA-256 is not that of its card; install dedup again")
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise WeightsUnusable(f"{FILE} cannot be read ({error}); install dedup again") from error
    encoder, head, second = Encoder(), PairHead(), ResidualHead()
    for prefix, module in (("encoder.", encoder), ("head.", head), ("second.", second)):
        own = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(own)
    encoder = encoder.fold().to(memory_format=torch.channels_last).to(device)  # type: ignore[call-overload]
    second = second.eval().to(device)
    return Weights(card.name, encoder, head.eval().to(device), card.calibration, second, card.second_calibration)


def _card() -> _Card:
    card = json.loads(_file("dedup.json"))
    curves = (Calibration(**card[name]) for name in ("calibration", "second_calibration"))
    return _Card(card["name"], card["sha256"], *curves)


def _file(name: str) -> bytes:
    try:
        return resources.files("dedup").joinpath("weights", name).read_bytes()
    except FileNotFoundError as error:
        raise WeightsUnusable(f"{name} is missing from the package; install dedup again") from error
