#!/usr/bin/env python3
"""Feed damaged pictures to the decoders, in worker processes as in a scan, and count the outcomes.

    python scripts/fuzz.py [--cases 20000] [--seed 1] [--workers 1] [--corpus DIR] [--keep DIR]

Cases are pictures of the usual formats, drawn here or taken from --corpus, with bits flipped and bytes cut, doubled or
set to extreme values. A case is determined by its number and the seed, so any case can be reproduced. Exits with 1 if a
decoder crashed, exceeded the time or memory limit, or raised an error that is not one of ours.
"""

import argparse
import io
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image

from dedup.images.read import Task, read_photo
from dedup.types.arrays import SIDE
from dedup.types.photo import File, Reading
from dedup.workers import Failure, run

LIMIT_S = 20.0
MOST_MB = 1500  # of a worker, interpreter and decoders (about 120) included
KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 80, "exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"},
    "JPEG progressive": {"progressive": True},
    "PNG": {},
    "WEBP": {"quality": 70},
    "WEBP lossless": {"lossless": True},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF jpeg": {"compression": "jpeg"},
    "GIF": {},
    "GIF animated": {"frames": 4},
    "HEIF": {"quality": 60},
    "AVIF": {"quality": 50, "speed": 10},
    "BMP": {},
    "JPEG2000": {},
}


@dataclass(frozen=True, slots=True)
class Case:
    number: int
    seed: int
    corpus: str | None
    folder: str  # where its file is written for the reader


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: str
    words: str  # "read", or why not
    seconds: float
    megabytes: int  # the most that the worker had at once so far


@cache
def whole(corpus: str | None) -> list[tuple[str, bytes]]:
    """Return the pictures to damage: some of each kind, and small ones of the corpus."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    rng = np.random.default_rng(0)
    found = []
    for kind, options in KINDS.items():
        for size in ((97, 64), (16, 16)):
            low = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
            image, buffer = low.resize(size, Image.Resampling.BICUBIC), io.BytesIO()
            more = dict(options)
            if frames := more.pop("frames", 0):
                more |= {"save_all": True, "append_images": [image.rotate(90 * n) for n in range(1, frames)]}
            image.save(buffer, kind.split()[0], **more)
            found.append((kind, buffer.getvalue()))
    for path in sorted(Path(corpus).rglob("*")) if corpus else ():
        if path.is_file() and path.stat().st_size < 300_000:
            found.append((path.suffix.lower().lstrip("."), path.read_bytes()))
    return found


def broken(data: bytes, rng: Generator) -> bytes:
    """Return the bytes with a few errors, most of them near the start, where the headers are."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if len(out) < 20:
            break
        at = int(rng.integers(0, len(out) if rng.random() < 0.5 else min(len(out), 600)))
        how = rng.integers(7)
        if how == 0:
            out[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            out[at] = int(rng.integers(256))
        elif how == 2:  # a length, a size or an offset that nobody has
            width = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice([0, 1, 2**7, 2**15, 2**31 - 1, 2**32 - 1, 2**63])) % 2 ** (8 * width)
            out[at : at + width] = value.to_bytes(width, "big" if rng.random() < 0.5 else "little")
        elif how == 3:
            del out[at : at + int(rng.integers(1, 100))]
        elif how == 4:
            out[at:at] = out[int(rng.integers(len(out))) :][: int(rng.integers(1, 300))]
        elif how == 5:
            out[at : at + 40] = rng.bytes(40)
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def made(case: Case) -> tuple[str, bytes]:
    """Return the kind of picture that a case damages, and its bytes."""
    rng = np.random.default_rng((case.seed, case.number))
    pictures = whole(case.corpus)
    kind, data = pictures[int(rng.integers(len(pictures)))]
    return kind, broken(data, rng)


def tried(case: Case) -> Outcome:
    """Return the result of reading a case as in a scan. Runs in a worker."""
    kind, data = made(case)
    path = os.path.join(case.folder, f"{case.number}.bin")
    Path(path).write_bytes(data)
    began = time.monotonic()
    try:
        result = read_photo(Task(File(path, len(data), 0, 0, 0, 0), SIDE))
        words = "read" if isinstance(result, Reading) else result.skipped.reason
    except Exception as error:  # what no reader may do
        words = f"raised {error!r}"
    finally:
        os.unlink(path)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Outcome(kind, words, time.monotonic() - began, most)


def is_bad(outcome: Outcome | Failure) -> bool:
    return isinstance(outcome, Failure) or outcome.words.startswith("raised ") or outcome.megabytes > MOST_MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--corpus")
    parser.add_argument("--keep", type=Path, help="folder for the files of bad cases")
    args = parser.parse_args()
    counts, bad, slowest, most = Counter[tuple[str, str]](), 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:

        def cases() -> Iterator[Case]:
            for n in range(args.first, args.first + args.cases):
                yield Case(n, args.seed, args.corpus, folder)

        for done, (case, outcome) in enumerate(run(tried, cases(), workers=args.workers, limit_s=LIMIT_S), 1):
            if is_bad(outcome):
                kind, data = made(case)
                words = outcome.reason if isinstance(outcome, Failure) else outcome.words
                print(f"case {case.number} of seed {case.seed}, {kind}: {words}", flush=True)
                bad += 1
                if args.keep:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    (args.keep / f"{case.seed}-{case.number}.{kind.replace(' ', '-')}").write_bytes(data)
            if isinstance(outcome, Outcome):
                counts[outcome.kind, "read" if outcome.words == "read" else "refused"] += 1
                slowest, most = max(slowest, outcome.seconds), max(most, outcome.megabytes)
            if done % 1000 == 0:
                print(f"{done} cases, {bad} bad", file=sys.stderr, flush=True)
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:>18}: {counts[kind, 'read']:6} read, {counts[kind, 'refused']:6} refused")
    total = Counter({word: sum(n for (_, w), n in counts.items() if w == word) for word in ("read", "refused")})
    print(f"{args.cases} cases: {total['read']} read, {total['refused']} refused with a reason, {bad} bad; "
          f"the slowest took {slowest:.2f} s, a worker at most {most} MB")  # fmt: skip
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
