"""The tensors that ship: which they are, that they are the ones published, and how they are loaded.

weights/README.md says what they were trained on and under which licence they stand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from dedup.encode import Encoder
from dedup.errors import WeightsUnusable
from dedup.verify import Calibration, PairHead

FILE = "dedup.safetensors"


@dataclass(frozen=True)
class Weights:
    """Networks ready to run, and the name that every stored descriptor and verdict is kept under.

    The name ends in the first 8 hex digits of the file's SHA-256: other tensors, another name.
    """

    name: str
    encoder: Encoder
    head: PairHead
    calibration: Calibration


@dataclass(frozen=True)
class _Card:
    name: str
    sha256: str
    calibration: Calibration


def load_shipped(*, device: str = "cpu") -> Weights:
    """Return the weights in the package, for inference. Raises WeightsUnusable if they are not those of the card."""
    card = _card()
    data = _file(FILE)
    if sha256(data).hexdigest() != card.sha256:
        raise WeightsUnusable(f"{FILE} is damaged: its SHA-256 is not that of its card; install dedup again")
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise WeightsUnusable(f"{FILE} cannot be read ({error}); install dedup again") from error
    encoder, head = Encoder(), PairHead()
    for prefix, module in (("encoder.", encoder), ("head.", head)):
        own = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(own)
    encoder = encoder.fold().to(memory_format=torch.channels_last).to(device)  # type: ignore[call-overload]
    return Weights(card.name, encoder, head.eval().to(device), card.calibration)


def _card() -> _Card:
    card = json.loads(_file("dedup.json"))
    return _Card(card["name"], card["sha256"], Calibration(**card["calibration"]))


def _file(name: str) -> bytes:
    try:
        return resources.files("dedup").joinpath("weights", name).read_bytes()
    except FileNotFoundError as error:
        raise WeightsUnusable(f"{name} is missing from the package; install dedup again") from error
