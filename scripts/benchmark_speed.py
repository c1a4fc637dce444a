#!/usr/bin/env python3
"""Measure how fast dedup scans, beside the fastest that photos can be decoded at all and beside its peers.

    pip install -c constraints.txt '.[bench]'
    python scripts/benchmark_speed.py DIR [--photos PHOTOS] [--rounds 3] [--workers 2] [--only SET] [--files N]
    python scripts/benchmark_speed.py DIR --crowd PHOTOS
    python scripts/benchmark_speed.py DIR --whole 100000 --photos PHOTOS

Makes files in DIR as a camera would write them, unless they are there: JPEGs of 12 megapixels, JPEGs of 1024 x 768 of
which one in twenty has a copy, HEICs of 12 megapixels, PNGs of 1024 x 768. They are made of blended parts of the photos
in PHOTOS; without it they are drawn, and drawn things look more like each other than photos do, so that more pairs are
verified. Then each round runs everything once, so that what else the machine does falls on all alike; the table shows
medians. Files are in the page cache, start-up counts, CPU time and memory are those of all processes together. CPU time
tells more than the clock on a machine that has other work, and so the last columns compare it: decoding alone, and the
first peer, in how many times the CPU time of each row.

With --crowd, it scans copies of an eighth, a quarter, half and all of the photos in any folder, and says how many pairs
a photo are verified and what each stage costs.

With --whole, it makes so many pictures of 1024 x 768, each of a sixth of a photo with another faintly on it, and a
small copy of every twentieth, and scans an eighth of the folders, and all of them: what each stage costs, and the peak
of memory.
"""

import argparse
import importlib.util
import io
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from pillow_heif import register_heif_opener

SEED = 20261124
SIDE = 160  # pixels, what the encoder needs
SETS = {  # name: files, width, height, suffix
    "12 MP JPEG": (1000, 4000, 3000, ".jpg"),
    "1 MP JPEG": (5000, 1024, 768, ".jpg"),
    "12 MP HEIC": (24, 4000, 3000, ".heic"),
    "1 MP PNG": (200, 1024, 768, ".png"),
}
PICTURES = Image.registered_extensions()
PARTS = 6  # of a photo with --whole
_COPY_EVERY = 20  # photos


# Input


def photo(n: int, width: int, height: int, texture: NDArray[np.int16], photos: Sequence[Path]) -> Image.Image:
    """Return picture n, with the fine grain of a sensor: parts of two photos of its own, or things that are drawn."""
    rng = np.random.default_rng(SEED + n)
    image = blended(rng, (photos[2 * n % len(photos)], photos[(2 * n + 1) % len(photos)])) if photos else drawn(rng)
    return grainy(image.resize((width, height), Image.Resampling.BICUBIC), texture, rng)


def grainy(image: Image.Image, texture: NDArray[np.int16], rng: np.random.Generator) -> Image.Image:
    shift = tuple(int(rng.integers(0, n)) for n in texture.shape[:2])
    grain = np.roll(texture, shift, axis=(0, 1))[: image.height, : image.width, None]
    return Image.fromarray(np.clip(np.asarray(image).astype(np.int16) + grain, 0, 255).astype(np.uint8))


def blended(rng: np.random.Generator, two: tuple[Path, Path]) -> Image.Image:
    parts = []
    for path in two:
        with Image.open(path) as whole:
            w, h = whole.size
            x, y = rng.uniform(0, 0.2, 2)
            part = whole.convert("RGB").crop((round(x * w), round(y * h), round((x + 0.8) * w), round((y + 0.8) * h)))
            parts.append(part.resize((800, 600), Image.Resampling.BICUBIC))
    return Image.blend(parts[0], parts[1], float(rng.uniform(0, 0.4)))


def drawn(rng: np.random.Generator) -> Image.Image:
    image = Image.fromarray(rng.integers(30, 226, (3, 4, 3), np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(15, 90))):
        x, y, w, h = rng.uniform(-60, 800), rng.uniform(-60, 600), *rng.gamma(2, 40, 2)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        corners = [(x + float(a) * w, y + float(b) * h) for a, b in rng.uniform(-1, 1, (int(rng.integers(3, 9)), 2))]
        draw.polygon(corners, colour) if rng.random() < 0.6 else draw.ellipse((x, y, x + w, y + h), colour)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def texture(height: int, width: int) -> NDArray[np.int16]:
    """Return a sum of noise of many scales, the finest that of a sensor."""
    rng = np.random.default_rng(SEED)
    total = rng.normal(0, 4, (height, width)).astype(np.float32)
    for scale in (3, 8):
        small = rng.normal(0, 9, (height // scale + 2, width // scale + 2)).astype(np.float32)
        total += np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return total.round().astype(np.int16)


def blended_parts(n: int, photos: Sequence[Path], grain: NDArray[np.int16]) -> Image.Image:
    """Return picture n: a part of a photo, and faintly on it a part of another, which few parts are plain without.

    No two pictures have the same or overlapping first parts. Those of one photo follow each other.
    """
    rng = np.random.default_rng(SEED + n)
    other = int(rng.integers(PARTS * len(photos)))
    first, second = (cut(photos[k // PARTS], k % PARTS) for k in (n, other))
    return grainy(Image.blend(first, second, float(rng.uniform(0.2, 0.45))), grain, rng)


def cut(path: Path, part: int) -> Image.Image:
    """Return one of the PARTS of a photo, which do not overlap."""
    with Image.open(path) as whole:
        w, h = whole.size
        across, down = (3, 2) if w > h else (2, 3)
        x, y = part % across, part // across
        box = (x * w // across, y * h // down, (x + 1) * w // across, (y + 1) * h // down)
        return ImageOps.fit(whole.convert("RGB").crop(box), (1024, 768), Image.Resampling.BICUBIC)


def make_thousand(thousand: int, folder: Path, photos: Sequence[Path], *, count: int) -> None:
    """Fill a folder with a thousand pictures, and small copies of every twentieth, unless it is there."""
    kept, part = folder / f"{thousand:03d}", folder / f"{thousand:03d}.part"
    if kept.exists():
        return
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    grain = texture(2 * 768, 2 * 1024) // 2
    for n in range(1000 * thousand, min(1000 * (thousand + 1), count)):
        made = blended_parts(n, photos, grain)
        made.save(part / f"{n:06d}.jpg", quality=80)
        if n % _COPY_EVERY == 0:
            made.resize((640, 480), Image.Resampling.BICUBIC).save(part / f"{n:06d} small.jpg", quality=75)
    part.rename(kept)


def camera_exif(taken: str, image: Image.Image) -> bytes:
    """Return an EXIF block with make, model, time and a thumbnail, which Pillow does not write (TIFF 6.0, EXIF 2.3)."""
    buffer = io.BytesIO()
    image.resize((160, 120), Image.Resampling.BOX).save(buffer, "JPEG", quality=80)
    small, texts = buffer.getvalue(), {0x010F: "Benchmark", 0x0110: "Camera 1", 0x0132: taken}
    at, entries, words = 8 + 2 + 12 * len(texts) + 4, b"", b""
    for tag, text in texts.items():
        entries += struct.pack("<HHII", tag, 2, len(text) + 1, at + len(words))
        words += text.encode() + b"\0"
    second = at + len(words)
    first = struct.pack("<H", len(texts)) + entries + struct.pack("<I", second) + words
    start = struct.pack("<HHII", 0x0201, 4, 1, second + 2 + 2 * 12 + 4)
    thumbnail = struct.pack("<H", 2) + start + struct.pack("<HHIII", 0x0202, 4, 1, len(small), 0) + small
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + thumbnail


def make_set(folder: Path, name: str, photos: Sequence[Path], *, most: int) -> None:
    """Fill the folder with the photos of a set, `most` of them at most, and small copies of some."""
    register_heif_opener()
    count, width, height, suffix = SETS[name]
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    grain = texture(height + 64, width + 64)
    beside: dict[str, Any] = {"thumbnails": [320]} if suffix == ".heic" else {}  # as phones have it
    for n in range(min(count, most)):
        made = photo(n, width, height, grain, photos)
        taken = f"2026:01:{n // 1440 % 28 + 1:02d} {n // 60 % 24:02d}:{n % 60:02d}:00"
        made.save(part / f"{n:05d}{suffix}", quality=90, exif=camera_exif(taken, made), **beside)
        if n % _COPY_EVERY == 0 and name == "1 MP JPEG":
            made.resize((640, 480), Image.Resampling.BICUBIC).save(part / f"{n:05d} small.jpg", quality=75)
    part.rename(folder)


# What is measured: each is a function of (files, workers), run in a process of its own


def in_processes(fn: Callable[[str], object], files: Sequence[str], workers: int) -> None:
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(fn, files, chunksize=4):
            pass


def shrunk(path: str) -> bytes:
    """Read the file and decode it at the least size that the encoder can use: nobody can do less."""
    register_heif_opener()
    with open(path, "rb") as f, Image.open(f) as image:
        image.draft("RGB", (SIDE, SIDE))
        return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes()


def dhash(path: str) -> str:
    import imagehash

    register_heif_opener()
    with Image.open(path) as image:
        return str(imagehash.dhash(image))


def phash(path: str) -> str:
    import imagehash

    register_heif_opener()
    with Image.open(path) as image:
        return str(imagehash.phash(image))


def pdq(path: str) -> bytes:
    import pdqhash

    register_heif_opener()
    with Image.open(path) as image:
        image.draft("RGB", (512, 512))
        return bytes(pdqhash.compute(np.asarray(image.convert("RGB")))[0])


TOOLS: dict[str, tuple[str | None, Callable[[str], object]]] = {
    "decoding alone": (None, shrunk),
    "imagehash dHash": ("imagehash", dhash),
    "imagehash pHash": ("imagehash", phash),
    "PDQ, decoded at 512 px": ("pdqhash", pdq),
}


# How it is measured


@dataclass(frozen=True)
class Cost:
    """seconds: wall clock. cpu: seconds of all processes. peak: MB, of all processes at one moment."""

    seconds: float
    cpu: float
    peak: float


def cost(command: Sequence[str | Path]) -> Cost:
    """Run a command to its end. Exits if it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    peaks, done = [0.0], Event()
    watcher = Thread(target=watch, args=(process.pid, peaks, done))
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return Cost(seconds, used.ru_utime + used.ru_stime, max(peaks))


def watch(pid: int, peaks: list[float], done: Event) -> None:
    """Add the memory of a process and all below it, shared pages once, every now and then."""
    while not done.wait(0.25):
        total, todo = 0.0, [pid]
        while todo:
            at = Path(f"/proc/{todo.pop()}")
            try:
                todo += [int(p) for task in (at / "task").iterdir() for p in (task / "children").read_text().split()]
                lines = (at / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
            except (OSError, StopIteration):  # it ended meanwhile
                continue
        peaks.append(total)


def rounds_of(folder: Path, work: Path, *, rounds: int, workers: int, peers: bool) -> dict[str, list[Cost]]:
    """Return what each thing cost in each round."""
    scan = [sys.executable, "-m", "dedup", "scan", "--quiet", "--workers", str(workers)]
    tools = [name for name, (module, _) in TOOLS.items() if module is None or (peers and installed(module))]
    costs = defaultdict(list)
    for n in range(rounds):
        for tool in tools:
            costs[tool].append(cost([sys.executable, __file__, folder, "--tool", tool, "--workers", str(workers)]))
        album, db = work / f"album {n}", work / f"{n}.db"
        shutil.copytree(folder, album, copy_function=os.link)
        let_them_age()
        costs["dedup scan, first"].append(cost([*scan, album, "--db", db]))
        if folder.name.startswith("12 MP"):  # smaller ones are decoded as they are
            costs["dedup scan --quick, first"].append(cost([*scan, album, "--quick", "--db", work / f"{n} quick.db"]))
        costs["dedup scan, nothing new"].append(cost([*scan, album, "--db", db]))
        for path in sorted(album.iterdir()):
            path.rename(path.with_name("moved " + path.name))
        let_them_age()
        costs["dedup scan, every file renamed"].append(cost([*scan, album, "--db", db]))
        for path in sorted(album.iterdir())[50::100]:
            with Image.open(path) as image:
                image.rotate(17).save(album / f"new {path.stem}.jpg", quality=90)
        let_them_age()
        costs["dedup scan, 1 % more"].append(cost([*scan, album, "--db", db]))
        shutil.rmtree(album)
    return costs


def let_them_age() -> None:
    """Wait until the files are old enough for a scan to remember them by their times."""
    time.sleep(3.5)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@dataclass
class Stages:
    """CPU seconds of all processes by stage of a scan, how many pairs were verified, and the peak of memory in MB."""

    cpu: dict[str, float]
    verified: int = 0
    peak: float = 0.0


def stages(folders: Sequence[Path], db: Path, *, workers: int) -> Stages:
    """Scan folders, and return the CPU time between the progress reports; torch is loaded before."""
    from dedup.models.weights import weights_spec
    from dedup.pipeline.scan import find_duplicates
    from dedup.store.store import Store
    from dedup.types.settings import Settings
    from dedup.workers import Runtime

    weights = weights_spec()
    weights.load()
    spent = Stages(defaultdict(float))
    last = cpu_of_all()

    def progress(stage: str, done: int, of: int) -> None:
        nonlocal last
        now = cpu_of_all()
        spent.cpu[stage] += now - last
        spent.verified += of if (stage, done) == ("verifying", of) else 0
        last = now

    runtime, roots = Runtime(workers, progress, time.time), [str(folder) for folder in folders]
    peaks, done = [0.0], Event()
    watcher = Thread(target=watch, args=(os.getpid(), peaks, done))
    watcher.start()
    with Store(str(db), scanning=True) as store:
        find_duplicates(roots, exclude=(), store=store, weights=weights, settings=Settings(), runtime=runtime)
    progress("the rest", 1, 1)
    done.set()
    watcher.join()
    spent.peak = max(peaks)
    return spent


def cpu_of_all() -> float:
    """Return the CPU seconds of this process, of those it started that have ended, and of those that run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = 0
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it ended meanwhile, or a child of it
            for pid in (task / "children").read_text().split():
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                running += int(fields[11]) + int(fields[12])
    return time.process_time() + ended.ru_utime + ended.ru_stime + running / os.sysconf("SC_CLK_TCK")


def scan_crowd(photos: Sequence[Path], work: Path, *, workers: int) -> None:
    """Print what scans of an eighth, a quarter, half and all of some photos cost."""
    print(STAGES_HEAD)
    for part in (8, 4, 2, 1):
        folder = work / f"1 of {part}"
        folder.mkdir()
        for n, path in enumerate(photos[::part]):
            shutil.copyfile(path, folder / f"{n}{path.suffix}")
        print_stages(stages([folder], work / f"{part}.db", workers=workers), len(photos[::part]))


def scan_whole(count: int, photos: Sequence[Path], folder: Path, *, workers: int) -> None:
    """Make `count` pictures, unless they are there, and print what scans of an eighth and of all cost."""
    count = min(count, PARTS * len(photos))
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(make_thousand, folder=folder, photos=photos, count=count), range(-(-count // 1000))))
    made = sorted(folder.iterdir())
    print(STAGES_HEAD)
    for some in (made[::8], made):
        files = sum(len(list(one.iterdir())) for one in some)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            print_stages(stages(some, Path(work) / "stages.db", workers=workers), files)


STAGES_HEAD = (
    "| photos | pairs verified a photo | CPU ms a photo | of these by stage | peak MB |\n|---:|---:|---:|---|---:|"
)


def print_stages(spent: Stages, N: int) -> None:
    each = ", ".join(f"{stage} {1000 * s / N:.1f}" for stage, s in spent.cpu.items())
    total = 1000 * sum(spent.cpu.values()) / N
    print(f"| {N:,} | {spent.verified / N:.2f} | {total:.1f} | {each} | {spent.peak:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, action="append", default=[], help="any photos, to make the files of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=SETS, help="one set of photos")
    parser.add_argument("--files", type=int, default=sys.maxsize, metavar="N", help="at most so many of each set")
    parser.add_argument("--crowd", type=Path, metavar="PHOTOS", help="scan parts of these photos instead")
    parser.add_argument("--whole", type=int, metavar="N", help="scan so many small pictures instead")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tool:
        in_processes(TOOLS[args.tool][1], sorted(str(p) for p in args.folder.iterdir()), args.workers)
        return
    found = [p for folder in args.photos for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURES]
    if not found and (args.photos or args.whole):
        parser.error("--photos: name folders that hold pictures; the files are made of them")
    photos = [found[i] for i in np.random.default_rng(SEED).permutation(len(found))]
    if args.crowd:
        crowd = sorted(p for p in args.crowd.rglob("*") if p.is_file())
        with tempfile.TemporaryDirectory(dir=args.folder) as work:
            scan_crowd(crowd, Path(work), workers=args.workers)
        return
    if args.whole:
        scan_whole(args.whole, found, args.folder / "whole", workers=args.workers)
        return
    for name in [args.only] if args.only else SETS:
        folder = args.folder / name
        if not folder.exists():
            print(f"making {name}", file=sys.stderr)
            make_set(folder, name, photos, most=args.files)
        files = [p.stat().st_size for p in folder.iterdir()]
        print(f"\n{name}: {len(files)} files of {sum(files) / len(files) / 1e6:.2f} MB, {args.workers} workers\n")
        with tempfile.TemporaryDirectory(dir=args.folder) as work:
            costs = rounds_of(folder, Path(work), rounds=args.rounds, workers=args.workers, peers=not args.no_peers)
            spent = stages([folder], Path(work) / "stages.db", workers=args.workers)
        print_table(costs, len(files))
        total = sum(spent.cpu.values())
        parts = (f"{stage} {1000 * s / len(files):.1f} ms ({s / total:.0%})" for stage, s in spent.cpu.items())
        print(f"\nCPU a photo by stage: {', '.join(parts)}; {spent.verified} pairs verified", flush=True)


def print_table(costs: dict[str, list[Cost]], files: int) -> None:
    """Print the medians. The last columns: CPU time of decoding alone, and of the first peer, by that of the row."""
    first = list(costs)[:2]
    heads = " | ".join(f"{what} / this" for what in first)
    print(f"| | seconds | photos/s | CPU s | CPU ms a photo | peak MB | {heads} |\n|---{'|---:' * (5 + len(first))}|")
    against = [median(c.cpu for c in costs[what]) for what in first]
    for what, some in costs.items():
        seconds, cpu, peak = (
            median(values) for values in zip(*((c.seconds, c.cpu, c.peak) for c in some), strict=True)
        )
        each = f"{seconds:.1f} | {files / seconds:,.0f} | {cpu:.1f} | {1000 * cpu / files:.1f} | {peak:,.0f}"
        print(f"| {what} | {each} | {' | '.join(f'{other / cpu:.2f}' for other in against)} |")


if __name__ == "__main__":
    main()
