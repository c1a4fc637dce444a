"""Photos -> pairs ranked by other tools, each at its best: all pairs are compared, so any threshold can be tried."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dedup.workers import run

from .score import Ranking, all_pairs

Signature = NDArray[Any]  # hashes: (V, bits) bool, V turned versions; networks: (D,) float32


@dataclass(frozen=True)
class Peer:
    """A tool and how it is used. usual: the threshold it comes with, as a score."""

    name: str
    package: str
    sign: Callable[[Image.Image], Signature | None]  # of an upright photo
    rank: Callable[[NDArray[Any]], NDArray[np.float32]]
    usual: float
    said: str  # the usual threshold, in words


def upright(path: str) -> Image.Image:
    """Return the photo as dedup sees it: turned by EXIF. Not every peer does so by itself."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def imagehash_phash(image: Image.Image) -> Signature:
    import imagehash

    return imagehash.phash(image).hash.reshape(1, -1)


def imagehash_dhash(image: Image.Image) -> Signature:
    import imagehash

    return imagehash.dhash(image).hash.reshape(1, -1)


def pdq(image: Image.Image) -> Signature | None:
    """Return the hashes of all eight turns and mirrorings, (8, 256); None below the quality that PDQ asks for."""
    import pdqhash

    image.thumbnail((512, 512))  # what PDQ's own tools shrink to
    hashes, quality = pdqhash.compute_dihedral(np.asarray(image))
    return np.array(hashes, bool) if quality >= 50 else None


def imagededup_phash(image: Image.Image) -> Signature:
    from imagededup.methods import PHash

    digits = PHash(verbose=False).encode_image(image_array=np.asarray(image))
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8)).astype(bool)[None]


@lru_cache(maxsize=1)
def _network() -> Any:
    from imagededup.methods import CNN

    return CNN(verbose=False)  # downloads its weights the first time


def imagededup_cnn(image: Image.Image) -> Signature:
    return np.asarray(_network().encode_image(image_array=np.asarray(image))[0], np.float32)


def by_hamming(hashes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (N, N), less the number of bits that differ in the best of the turns, of hashes (N, V, bits)."""
    signs = hashes.astype(np.float32) * 2 - 1
    agree = np.max([turned @ signs[:, 0].T for turned in signs.transpose(1, 0, 2)], axis=0)
    return (np.maximum(agree, agree.T) - hashes.shape[2]) / 2


def by_cosine(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


PEERS = (
    Peer("imagehash pHash", "imagehash", imagehash_phash, by_hamming, -10, "10 of 64 bits"),
    Peer("imagehash dHash", "imagehash", imagehash_dhash, by_hamming, -10, "10 of 64 bits"),
    Peer("PDQ, eight turns", "pdqhash", pdq, by_hamming, -31, "31 of 256 bits, quality 50"),
    Peer("imagededup pHash", "imagededup", imagededup_phash, by_hamming, -10, "10 of 64 bits"),
    Peer("imagededup CNN", "imagededup", imagededup_cnn, by_cosine, 0.9, "cosine 0.9"),
)


class LeftOut(Exception):
    """The peer cannot run here; the message says why."""


def usable(peer: Peer) -> str:
    """Return the version of the peer's package, once it has judged a picture. Raises LeftOut."""
    if importlib.util.find_spec(peer.package) is None:
        raise LeftOut(f"{peer.package} is not installed")
    try:
        peer.sign(Image.new("RGB", (64, 64)))
    except (ImportError, RuntimeError, OSError) as error:  # not installed whole, or weights that cannot be had
        raise LeftOut(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    return version(peer.package)


def _signed(sign: Callable[[Image.Image], Signature | None], path: str) -> Signature | None:
    """Return a photo's signature; None if it cannot be read or gives none."""
    try:
        image = upright(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return sign(image)


def ranking_of(peer: Peer, paths: list[str], *, workers: int) -> Ranking:
    """Return all pairs of files that the peer can judge. Raises LeftOut if it can judge none."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker each, not a pool of threads in each
    results = dict(run(partial(_signed, peer.sign), paths, workers=workers))
    signatures = {i: found for i, p in enumerate(paths) if isinstance(found := results[p], np.ndarray)}
    if not signatures:
        raise LeftOut("it can judge none of the photos")
    at = np.array(list(signatures), np.int64)
    scores = peer.rank(np.stack(list(signatures.values())))
    left, right = all_pairs(len(at))
    return Ranking(at[left], at[right], scores[left, right])
