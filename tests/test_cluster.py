"""The same scan on a cluster: the same answer, whatever dies on the way. Needs the extra `cluster-test`."""

import csv
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from album import scene
from click.testing import Result

from dedup.models.encoder import unit
from dedup.models.weights import WeightsSpec
from dedup.pipeline.scan import find_duplicates as find_here
from dedup.report.tables import group_rows
from dedup.store.store import Store
from dedup.types.photo import File
from dedup.types.report import Report
from dedup.types.settings import Settings
from dedup.workers import Runtime

pytest.importorskip("ray")
pytest.importorskip("pyarrow")
moto_server = pytest.importorskip("moto.server")

from dedup.cluster import ray_runner, scan, tables  # noqa: E402
from dedup.files import object_store  # noqa: E402
from dedup.workers import Failure  # noqa: E402

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("default"),  # Ray and moto have warnings of their own
]

DEFAULT = Settings()
SMALL = scan.Sizes(slice=2, bundle=2, cell=4, overlap=6, block=5, batch=3)
MACHINE = Runtime(1, lambda stage, done, of: None, time.time)


def here(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """A cluster of one process, whose tasks come in an order of their own."""
    items = list(items)
    random.Random(len(items)).shuffle(items)
    return ((item, fn(item)) for item in items)


def scanned(
    roots: list[object],
    at: object,
    shipped_weights: WeightsSpec,
    db: Path,
    run: Any,
    sizes: scan.Sizes = SMALL,
    settings: Settings = DEFAULT,
) -> tuple[Report, dict[str, int]]:
    with Store(str(db), scanning=True) as store:
        return scan.find_duplicates(
            [str(r) for r in roots], exclude=(), store=store, at=str(at), weights=shipped_weights, settings=settings,
            runtime=MACHINE, run=run, sizes=sizes,
        )  # fmt: skip


def groups(result: Report) -> list[dict[str, Any]]:
    return list(group_rows(result))


def members(result: Report, root: str) -> set[tuple[int, str, str]]:
    """Return the size of each file's group, its name and its bytes; who is kept depends on the times of files."""
    rows = groups(result)
    size = Counter(row["group"] for row in rows)
    return {(size[row["group"]], row["path"].removeprefix(root), row["sha256"]) for row in rows}


@pytest.fixture
def alone(album: Path, shipped_weights: WeightsSpec, tmp_path: Path) -> Report:
    """What one machine finds."""
    with Store(str(tmp_path / "alone.db"), scanning=True) as store:
        return find_here(
            [str(album)], exclude=(), store=store, weights=shipped_weights, settings=Settings(), runtime=MACHINE
        )  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # for functions of this file
        with ray_runner.cluster(None, workers=2):
            yield


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(port=0)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    urlopen(Request(f"http://127.0.0.1:{port}/photos", method="PUT")).close()
    object_store._root.cache_clear()
    yield "s3://photos"
    object_store._root.cache_clear()
    server.stop()


def test_address_where_nothing_listens_is_one_line_at_once(
    dedup: Callable[..., Result], album: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("--engine", "ray", "--address", address, "--work-dir", tmp_path / "s")
        (line,) = dedup("scan", album, *words, code=1).output.splitlines()
    assert line.startswith(f"Error: {address}: no Ray cluster answers there (")


def test_token_that_is_missing_is_one_line(album: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        words = [sys.executable, "-m", "dedup", "scan", str(album), "--engine", "ray", "--address", address]
        words += ["--work-dir", str(tmp_path / "store"), "--db", str(tmp_path / "a.db")]
        about = {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
        done = subprocess.run(words, env=os.environ | about, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {address}: the token of this Ray cluster is missing or wrong: set RAY_AUTH_MODE")


def test_a_scan_says_nothing_of_ray(album: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dedup", "scan", str(album), "--engine", "ray", "--workers", "2"]
    words += ["--work-dir", str(tmp_path / "store"), "--db", str(tmp_path / "a.db")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"dedup scan {album}: 13 photos in ")


DYING = """
import os, signal, sys
from pathlib import Path
from dedup.cluster import ray_runner

def dies_once(mark):
    print("from a task"), print("from a task", file=sys.stderr)
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)

with ray_runner.cluster(None, workers=1):
    for _, result in ray_runner.run(dies_once, [sys.argv[1]]):
        print(result)
"""


def test_a_task_that_is_tried_again_says_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-c", DYING, str(tmp_path / "mark")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None\n", "")


GONE = """
import os, signal, subprocess, sys, time
from dedup.cluster import ray_runner
from dedup.errors import DedupError

def slow(number):
    time.sleep(number)

def main():
    with ray_runner.cluster(None, workers=1):
        for _ in ray_runner.run(slow, [0, 5, 5, 5, 5]):
            found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", sys.argv[1]], capture_output=True, text=True)
            os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
            time.sleep(0.5)

try:
    main()
except DedupError as error:
    print(error, file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize(
    ("what", "why"), [("gcs_server", "the Ray cluster is gone"), ("raylet/raylet", "Ray has died")]
)
def test_a_cluster_that_is_gone_is_one_line(what: str, why: str) -> None:
    words = [sys.executable, "-c", GONE, what]
    with subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stderr is not None
            line = driver.stderr.readline()
        finally:
            os.killpg(driver.pid, signal.SIGKILL)
    assert line.startswith(why)
    assert line.endswith("what is done is kept: scan again to go on there\n")


def uploaded(album: Path, bucket: str) -> None:
    for path in album.rglob("*.*"):
        object_store.put(f"{bucket}/{path.relative_to(album)}", path.read_bytes())


@pytest.mark.smoke
def test_groups_and_pairs_are_those_of_one_machine(
    alone: Report, album: Path, shipped_weights: WeightsSpec, tmp_path: Path
) -> None:
    together, counts = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", here, scan.Sizes())
    assert groups(together) == groups(alone)
    assert counts == {"files": 13, "photos": 13}
    (pairs,) = (tables.read(str(path)) for path in tmp_path.glob("store/runs/*/pairs/0.parquet"))
    copies = 1  # of the same bytes: a pair for the cluster, one photo for one machine
    assert len(pairs) == len(alone.verdicts) + copies


def test_thorough_scan_finds_what_it_verified(album: Path, shipped_weights: WeightsSpec, tmp_path: Path) -> None:
    settings = Settings(thorough=True)
    together, _ = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", here, settings=settings)
    with Store(str(tmp_path / "alone.db"), scanning=True) as store:
        alone = find_here(
            [str(album)], exclude=(), store=store, weights=shipped_weights, settings=settings, runtime=MACHINE
        )  # fmt: skip
    assert groups(together) == groups(alone)
    assert len(together.verified) > 0


def test_groups_do_not_depend_on_how_the_work_is_cut_up(
    alone: Report, album: Path, shipped_weights: WeightsSpec, tmp_path: Path
) -> None:
    assert groups(scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", here)[0]) == groups(alone)
    assert len(list(tmp_path.glob("store/photos/*"))) > 3
    assert len(list(tmp_path.glob("store/runs/*/pairs/*"))) > 1


@pytest.mark.smoke
def test_pairs_of_many_cells_are_those_of_one_machine_and_judged_once(
    alone: Report, album: Path, shipped_weights: WeightsSpec, tmp_path: Path
) -> None:
    scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", here)
    (folder,) = tmp_path.glob("store/runs/*")
    cells = [tables.columns_in(tables.read(str(path))) for path in folder.glob("pairs/*.parquet")]
    assert sum(len(cell["left"]) > 0 for cell in cells) > 1
    judged = {name: np.concatenate([cell[name] for cell in cells]) for name in cells[0]}
    names = {}  # a photo's number -> its place among those of one machine
    for path in folder.glob("cell-vectors/**/*.parquet"):
        table = tables.read(str(path))
        names |= dict(zip(tables.numbers(table, "id").tolist(), digests_of(table), strict=True))
    place = {bytes.fromhex(photo.sha256): n for n, photo in enumerate(alone.photos.photos)}
    ends = [[place[names[number]] for number in judged[side][~judged["same"]].tolist()] for side in ("left", "right")]
    seen = sorted(zip(*ends, judged["similarity"][~judged["same"]].tolist(), strict=True))
    columns = (alone.verdicts.left, alone.verdicts.right, alone.verdicts.similarity)
    assert seen == sorted(zip(*(column.tolist() for column in columns), strict=True))
    assert judged["same"].sum() == 1  # two files of the same bytes


def test_maps_go_only_where_a_pair_wants_them(album: Path, shipped_weights: WeightsSpec, tmp_path: Path) -> None:
    scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", here)
    (folder,) = tmp_path.glob("store/runs/*")
    sent, wanted = set[tuple[int, int]](), set[tuple[int, int]]()
    for path in folder.glob("cell-maps/**/*.parquet"):
        table = tables.columns_in(tables.read(str(path), ["id", "part"]))
        rows = list(zip(table["id"].tolist(), table["part"].tolist(), strict=True))
        assert not sent & set(rows)
        sent |= set(rows)
    for path in folder.glob("candidates/**/*.parquet"):
        pairs = tables.columns_in(tables.read(str(path)))
        for side in ("left", "right"):
            columns = (pairs[name][~pairs["same"]].tolist() for name in (side, "part"))
            wanted |= set(zip(*columns, strict=True))
    assert sent == wanted


def test_what_is_done_is_not_done_again(album: Path, shipped_weights: WeightsSpec, tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for item, result in here(fn, items):
            asked.append(fn.func.__name__)  # type: ignore[attr-defined]
            yield item, result

    first, _ = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", counted)
    done = len(list(tmp_path.glob("store/photos/*")))
    assert asked.count("describe") == done
    asked.clear()
    again, _ = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "b.db", counted)
    assert set(asked) <= {"possible_matches"}
    assert groups(again) == groups(first)


def test_a_file_that_comes_changes_its_slice_and_no_other(shipped_weights: WeightsSpec) -> None:
    found = [File(f"/photos/{n:04d}.jpg", n, n, n, 1, n) for n in range(1000)]
    before = {s.key: s for s in scan.slices_of(found, shipped_weights, scan.Sizes(slice=20))}
    more = [*found, File("/photos/0500b.jpg", 1, 1, 1, 1, 9999)]
    after = {s.key: s for s in scan.slices_of(more, shipped_weights, scan.Sizes(slice=20))}
    assert len(before) > 20
    assert len(after.keys() - before.keys()) <= 2
    assert sum(len(s.files) for s in after.values()) == 1001


def test_command_writes_the_same_report(
    dedup: Callable[..., Result], album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "broken.jpg").write_bytes((album / "Trip [2019]" / "harbour.jpg").read_bytes()[:500])
    dedup("scan", album, "-o", tmp_path / "a.csv", code=3)
    monkeypatch.setenv("DEDUP_DB", str(tmp_path / "cluster.db"))
    words = ("--engine", "ray", "--work-dir", tmp_path / "store", "--workers", 2)
    said = dedup("scan", album, *words, "-o", tmp_path / "b.csv", code=3).output
    assert "13 photos" in said
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert "broken.jpg" in dedup("export", "skipped").output
    assert "small.jpg" in dedup("apply").output


def test_store_is_demanded(dedup: Callable[..., Result], album: Path) -> None:
    assert "--work-dir" in dedup("scan", album, "--engine", "ray", code=2).output


def test_address_without_a_cluster_is_one_line(dedup: Callable[..., Result], album: Path, tmp_path: Path) -> None:
    words = ("--engine", "ray", "--address", "auto", "--work-dir", tmp_path / "s")
    assert "no Ray cluster answers" in dedup("scan", album, *words, code=1).output


def test_objects_are_scanned_and_kept_in_a_bucket(
    alone: Report, album: Path, bucket: str, shipped_weights: WeightsSpec, tmp_path: Path
) -> None:
    uploaded(album, f"{bucket}/my photos #1")
    result, counts = scanned([f"{bucket}/my photos #1"], f"{bucket}/dedup", shipped_weights, tmp_path / "a.db", here)
    assert counts == {"files": 13, "photos": 13}
    assert members(result, f"{bucket}/my photos #1") == members(alone, str(album))


def test_object_that_vanishes_is_skipped_and_tried_again(
    album: Path, bucket: str, shipped_weights: WeightsSpec, tmp_path: Path
) -> None:
    uploaded(album, f"{bucket}/in")
    gone = f"{bucket}/in/garden.png"
    data = object_store.get(gone)

    def vanishing(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        system, name = object_store.located(gone)
        if object_store.names(f"{bucket}/in") >= {"garden.png"}:
            system.delete_file(name)
        return here(fn, items)

    result, counts = scanned([f"{bucket}/in"], tmp_path / "store", shipped_weights, tmp_path / "a.db", vanishing)
    assert [s.path for s in result.skipped] == [gone]
    assert counts == {"files": 13, "photos": 12}
    object_store.put(gone, data)
    result, counts = scanned([f"{bucket}/in"], tmp_path / "store", shipped_weights, tmp_path / "b.db", here)
    assert (result.skipped, counts) == ([], {"files": 13, "photos": 13})


def slow(fn: Callable[[Any], Any], nodes: str, item: Any) -> Any:
    import ray

    (Path(nodes) / ray.get_runtime_context().get_node_id()).touch()
    time.sleep(0.2)
    return fn(item)


# before the tests that share a cluster: a process can be in one cluster at a time
def test_a_node_that_is_killed_costs_nothing(
    alone: Report, album: Path, shipped_weights: WeightsSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    nodes, killed = tmp_path / "nodes", list[str]()
    nodes.mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()

        def run(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
            for item, result in ray_runner.run(partial(slow, fn, str(nodes)), items):
                if len(list(nodes.iterdir())) == 2 and not killed:
                    killed.append(other.node_id)
                    cluster.remove_node(other, allow_graceful=False)  # with what it was at
                yield item, result

        with ray_runner.cluster(cluster.address, workers=2):
            result, counts = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", run)
    finally:
        cluster.shutdown()
    assert killed[0] in {node.name for node in nodes.iterdir()}
    assert (groups(result), counts) == (groups(alone), {"files": 13, "photos": 13})


def killed_once(fn: Callable[[Any], Any], marks: str, item: Any) -> Any:
    """Do one task, but the first time that each stage comes to it the process dies, half way."""
    mark = Path(marks) / fn.func.__name__  # type: ignore[attr-defined]
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return fn(item)


def test_a_process_killed_in_every_stage_costs_nothing(
    cluster: None, alone: Report, album: Path, shipped_weights: WeightsSpec, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def run(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        return ray_runner.run(partial(killed_once, fn, str(marks)), items)

    result, counts = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", run)
    matching = "sample assign search shuffle_maps score possible_matches"  # so few photos are all in one cell
    stages = f"describe {matching} shuffle_photos verify copies_at_assumed matches shuffle_pairs group_batch"
    assert {m.name for m in marks.iterdir()} == set(stages.split())
    assert (groups(result), counts) == (groups(alone), {"files": 13, "photos": 13})


def digests_of(table: tables.Table) -> list[bytes]:
    return [bytes(digest) for digest in table["sha256"].to_pylist()]


def test_recall_of_the_cells_is_measured(shipped_weights: WeightsSpec, tmp_path: Path) -> None:
    photos = tmp_path / "Photos"
    photos.mkdir()
    for n in range(24):
        scene(n, (96, 64)).save(photos / f"{n}.png")
    shutil.copy(photos / "3.png", photos / "0 the same.png")
    for sizes in (replace(SMALL, cell=100), replace(SMALL, cell=3)):
        at = tmp_path / f"store{sizes.cell}"
        result, _ = scanned([photos], at, shipped_weights, tmp_path / "a.db", here, sizes)
        (folder,) = at.glob("runs/*")
        vectors, found = {}, set()
        for table in (tables.read(str(path)) for path in at.glob("photos/*.parquet")):
            vectors |= dict(zip(digests_of(table), unit(tables.vectors_in(table)), strict=True))
        assert len(vectors) == 24
        digests, matrix = list(vectors), np.stack(list(vectors.values()))
        cosine = matrix @ matrix.T
        names = {}  # a photo's number -> its content
        for path in folder.glob("cell-vectors/**/*.parquet"):
            table = tables.read(str(path))
            names |= dict(zip(tables.numbers(table, "id").tolist(), digests_of(table), strict=True))
        for path in folder.glob("candidates/**/*.parquet"):  # before a glance at them
            table = tables.read(str(path), ["left", "right"])
            ends = (tables.numbers(table, side).tolist() for side in ("left", "right"))
            found |= {frozenset((names[a], names[b])) for a, b in zip(*ends, strict=True)}
        true = [
            frozenset((digests[a], digests[b]))
            for a in range(24)
            for b in np.argsort(-cosine[a])[: Settings().neighbours + 1]
            if a != b and cosine[a, b] >= Settings().min_similarity
        ]
        assert result.run.recall == pytest.approx(np.mean([pair in found for pair in true]), abs=1e-3)
        assert (result.run.recall == 1) == (sizes.cell == 100)


def killed_by_the_garden(fn: Callable[[Any], Any], item: Any) -> Any:
    if isinstance(item, scan.Slice) and any("garden" in f.path for f in item.files):
        os.kill(os.getpid(), signal.SIGKILL)
    return fn(item)


def test_a_shard_that_always_fails_is_named_and_the_rest_is_done(
    cluster: None, album: Path, shipped_weights: WeightsSpec, tmp_path: Path
) -> None:
    def run(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        return ray_runner.run(partial(killed_by_the_garden, fn), items)

    result, counts = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "a.db", run)
    assert {"garden.png", "garden.tif"} <= {Path(s.path).name for s in result.skipped}
    assert all("shard" in s.reason and "WorkerCrashed" in s.reason and s.picture for s in result.skipped)
    assert counts["files"] == 13 == counts["photos"] + len(result.skipped)
    again, counts = scanned([album], tmp_path / "store", shipped_weights, tmp_path / "b.db", here)
    assert (again.skipped, counts["photos"]) == ([], 13)


def test_what_fn_raises_each_time_is_a_failure_of_that_item(cluster: None) -> None:
    def odd(number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd\nand more")
        return number

    assert dict(ray_runner.run(odd, range(4))) == {
        0: 0,
        1: Failure("ValueError: 1 is odd"),
        2: 2,
        3: Failure("ValueError: 3 is odd"),
    }


def test_a_driver_that_is_killed_goes_on_where_it_was(album: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dedup", "scan", str(album), "--engine", "ray", "--workers", "1"]
    words += ["--work-dir", str(tmp_path / "store"), "--db", str(tmp_path / "a.db"), "-o", str(tmp_path / "a.csv")]
    first = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("store/photos/*.parquet")):
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    done = {p: p.stat().st_mtime_ns for p in tmp_path.glob("store/photos/*.parquet")}
    subprocess.run(words, check=True, capture_output=True)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("store/photos/*.parquet")} == done
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as f:
        assert [row["role"] for row in csv.DictReader(f)].count("keep") == 3
