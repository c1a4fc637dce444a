"""Which duplicates count, by folder: across the roots of a scan, within one, and beside a reference folder."""

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from album import scene
from click.testing import Result

from dedup import api
from dedup.actions.apply import Apply, apply
from dedup.actions.journal import Journal
from dedup.files.user_dirs import ActionDirs
from dedup.pipeline.results import load_results
from dedup.store.store import Store
from dedup.types.pairs import Relation
from dedup.types.photo import File
from dedup.types.plan import Outcome, Removal, RemovalStep

Dedup = Callable[..., Result]


@pytest.fixture
def disks(tmp_path: Path) -> Path:
    """Two folders with the same four files: a photo twice, the same smaller, and another photo once."""
    phone, nas = tmp_path / "disks/Phone", tmp_path / "disks/NAS"
    phone.mkdir(parents=True)
    scene(1, (640, 480)).save(phone / "sea.jpg", quality=92)
    shutil.copy(phone / "sea.jpg", phone / "sea (1).jpg")
    scene(1, (320, 240)).save(phone / "small.jpg", quality=80)
    scene(2, (640, 480)).save(phone / "tower.jpg", quality=92)
    for n, path in enumerate(sorted(phone.iterdir(), reverse=True)):  # "sea.jpg" before its copy
        os.utime(path, (1_500_000_000 + n, 1_500_000_000 + n))
    shutil.copytree(phone, nas)
    return phone.parent


def groups(dedup: Dedup, disks: Path) -> list[list[str]]:
    """Return the files of each group, relative to both folders, the one that is kept first."""
    found: dict[str, list[str]] = {}
    for line in dedup("export").stdout.splitlines()[1:]:
        number, _, path, *_ = line.split(",")
        found.setdefault(number, []).append(str(Path(path).relative_to(disks)))
    return [[first, *sorted(rest)] for first, *rest in found.values()]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def applied_and_undone(dedup: Dedup, disks: Path) -> list[str]:
    """Return the files that apply removes, after it was undone and everything is as before."""
    before = tree(disks)
    dedup("apply", "--to", disks.parent / "Away", "--yes")
    gone = sorted(before.keys() - tree(disks).keys())
    dedup("undo")
    assert tree(disks) == before
    return gone


def test_across_counts_only_what_lies_in_another_folder_than_its_keeper(dedup: Dedup, disks: Path) -> None:
    dedup("scan", disks / "Phone", disks / "NAS", "--across", "-q", "--prefer", "NAS")
    assert groups(dedup, disks) == [
        ["NAS/sea.jpg", "Phone/sea (1).jpg", "Phone/sea.jpg", "Phone/small.jpg"],
        ["NAS/tower.jpg", "Phone/tower.jpg"],
    ]
    gone = applied_and_undone(dedup, disks)
    assert gone == ["Phone/sea (1).jpg", "Phone/sea.jpg", "Phone/small.jpg", "Phone/tower.jpg"]


def test_within_leaves_one_of_each_in_each_folder(dedup: Dedup, disks: Path) -> None:
    said = dedup("scan", disks / "Phone", disks / "NAS", "--within").stdout
    assert "2 groups with 4 duplicates" in said
    assert groups(dedup, disks) == [
        ["NAS/sea.jpg", "NAS/sea (1).jpg", "NAS/small.jpg"],
        ["Phone/sea.jpg", "Phone/sea (1).jpg", "Phone/small.jpg"],
    ]
    gone = applied_and_undone(dedup, disks)
    assert gone == [f"{disk}/{name}" for disk in ("NAS", "Phone") for name in ("sea (1).jpg", "small.jpg")]


def test_reference_is_kept_and_its_files_are_no_duplicates_of_each_other(dedup: Dedup, disks: Path) -> None:
    dedup("scan", disks / "Phone", "--reference", disks / "NAS", "-q")
    assert groups(dedup, disks) == [
        ["NAS/sea.jpg", "Phone/sea (1).jpg", "Phone/sea.jpg"],
        ["NAS/small.jpg", "Phone/small.jpg"],
        ["NAS/tower.jpg", "Phone/tower.jpg"],
    ]
    assert applied_and_undone(dedup, disks) == [f"Phone/{p.name}" for p in sorted((disks / "Phone").iterdir())]
    assert str(disks / "NAS") not in dedup("status").stdout.splitlines()[2]  # it joins no collection


def test_reference_alone_has_no_duplicates(dedup: Dedup, disks: Path) -> None:
    shutil.rmtree(disks / "Phone")
    (disks / "Phone").mkdir()
    dedup("scan", disks / "Phone", "--reference", disks / "NAS", "--fail-if-found", "-q")
    assert groups(dedup, disks) == []


def test_reference_inside_a_folder_is_a_folder_of_its_own(dedup: Dedup, disks: Path) -> None:
    shutil.move(disks / "NAS", disks / "Phone/Best")
    dedup("scan", disks / "Phone", "--reference", disks / "Phone/Best", "--across", "-q")
    kept = {files[0]: files[1:] for files in groups(dedup, disks)}
    assert all(name.startswith("Phone/Best/") for name in kept)
    assert sorted(name for rest in kept.values() for name in rest) == [
        f"Phone/{n}.jpg" for n in ("sea (1)", "sea", "small", "tower")
    ]


def test_no_plan_removes_a_reference_file_or_one_that_does_not_count(dedup: Dedup, disks: Path) -> None:
    """Whatever rows are written into a plan: it is checked against the settings of the scan."""
    plan, header = disks.parent / "plan.csv", "action,path,keeper,relation,probability,bytes,reason"
    before = tree(disks)

    def refused(path: str, keeper: str) -> str:
        rows = [f"keep,{disks / keeper},{disks / keeper},,,,", f"remove,{disks / path},{disks / keeper},exact,1,,"]
        plan.write_text("\n".join([header, *rows]))
        return dedup("apply", plan, "--to", disks.parent / "Away", "--yes", code=3).stderr

    dedup("scan", disks / "Phone", "--reference", disks / "NAS", "-q")
    assert "NAS/sea (1).jpg: refused: in a reference folder" in refused("NAS/sea (1).jpg", "NAS/sea.jpg")
    dedup("scan", disks / "Phone", disks / "NAS", "--across", "-q")
    says = "refused: its keeper is not in another root; the scan was --across"
    assert says in refused("Phone/sea (1).jpg", "Phone/sea.jpg")
    dedup("scan", disks / "Phone", disks / "NAS", "--within", "-q")
    says = "refused: its keeper is not in the same root; the scan was --within"
    assert says in refused("Phone/sea.jpg", "NAS/sea.jpg")
    assert tree(disks) == before


def test_link_into_a_reference_folder_leads_to_no_removal(dedup: Dedup, disks: Path) -> None:
    """The scan sees the reference folder by another name; plan and apply look at where a file really is."""
    dedup("scan", disks / "Phone", "--reference", disks / "NAS", "-q")
    away = disks / "elsewhere"
    (disks / "Phone").rename(away)
    (disks / "Phone").symlink_to(disks / "NAS")
    assert "0 files to remove" in dedup("apply", "--to", disks.parent / "Away", "--yes").stdout
    assert "in a reference folder" in dedup("apply").stdout


def test_step_that_no_plan_may_hold_is_not_carried_out(dedup: Dedup, disks: Path, tmp_path: Path) -> None:
    dedup("scan", disks / "Phone", "--reference", disks / "NAS", "-q")
    with Store(str(tmp_path / "test.db")) as store:
        report = load_results(store)
    kept, gone = (File.from_stat(str(p), p.lstat()) for p in (disks / "Phone/sea.jpg", disks / "NAS/sea.jpg"))
    digest = sha256((disks / "NAS/sea.jpg").read_bytes()).hexdigest()
    step = RemovalStep((Removal(gone, digest, kept, digest),), str(disks / "NAS"), Relation.EXACT, 1.0, "")
    away = ActionDirs(str(tmp_path / "trash"), str(tmp_path / "locks"))
    with Journal(str(tmp_path / "journal.jsonl")) as journal:
        (outcome,) = apply([step], Apply.of(report, str(tmp_path / "Away"), away), journal=journal)
    assert outcome == Outcome(gone.path, False, "skipped: in a protected folder")


def test_review_of_a_scan_within_folders_decides_for_each_folder(dedup: Dedup, disks: Path, tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    from dedup.review.session import GroupFilter, Review

    dedup("scan", disks / "Phone", disks / "NAS", "--within", "-q")
    review = Review(str(tmp_path / "test.db"))

    def plan() -> list[str]:
        steps = review.plan(everything=False).steps
        return sorted(str(Path(part.file.path).relative_to(disks)) for step in steps for part in step.parts)

    nas, phone = review.listed(GroupFilter())
    assert [shot.file.path for shot in nas.shots] == [str(disks / "NAS" / n) for n in ("sea.jpg", "small.jpg")]
    assert [review.fate(shot).role for card in (nas, phone) for shot in card.shots] == ["keep", "remove"] * 2
    bytes_ = sum((disks / "NAS" / name).stat().st_size for name in ("sea (1).jpg", "small.jpg"))
    assert review.reclaimable(review.card(1)) == review.reclaimable(review.card(2)) == bytes_
    assert review.decide(1, "keep", nas.shots[1].photo.sha256) == [1, 2]  # a decision belongs to the bytes
    assert review.fate(review.card(2).shots[1]).role == "keep"
    review.undo()
    review.decide(1, "accept")
    assert plan() == [f"{disk}/{name}" for disk in ("NAS", "Phone") for name in ("sea (1).jpg", "small.jpg")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{0}/Phone", "--across"], "across: only one folder is scanned; name another one"),
        (["{0}/Phone", "{0}/NAS", "--across", "--within"], "--across or --within, not both"),
        (["{0}/Phone", "--reference", "{0}/nowhere"], "reference {0}/nowhere: no such folder"),
    ],
)
def test_words_that_make_no_sense_are_one_line(dedup: Dedup, disks: Path, words: list[str], says: str) -> None:
    assert says.format(disks) in dedup("scan", *(w.format(disks) for w in words), code=2).stderr


def test_relocated_folders_stay_what_they_were(dedup: Dedup, disks: Path) -> None:
    dedup("scan", disks / "Phone", disks / "NAS", "--across", "--reference", disks / "NAS", "-q")
    (disks / "NAS").rename(disks / "Moved")
    dedup("relocate", disks / "NAS", disks / "Moved")
    assert {files[0].split("/")[0] for files in groups(dedup, disks)} == {"Moved"}
    with Store(str(disks.parent / "test.db")) as store:
        settings = load_results(store).run.settings
    assert settings.roots == (str(disks / "Phone"), str(disks / "Moved"))
    assert settings.reference == (str(disks / "Moved"),)


def test_api_counts_as_the_command_line_does(dedup: Dedup, disks: Path) -> None:
    roots, db = [disks / "Phone", disks / "NAS"], disks.parent / "api.db"
    counts = [len(api.scan(roots, db=db, **{word: True}).groups) for word in ("across", "within")]  # type: ignore[arg-type]
    referenced = api.scan(roots[0], db=db, only=True, reference=[disks / "NAS"])
    assert (*counts, len(referenced)) == (2, 2, 3)
    assert all(group.keep.path.parent == disks / "NAS" for group in referenced)
