"""The review without a browser: what decisions mean, and which requests the server refuses."""

import base64
import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from album import make_album, scene
from click.testing import CliRunner, Result
from PIL import Image
from serving import Server, serving
from test_decode import mosaic

from dedup.cli.main import main
from dedup.errors import BadUsage
from dedup.files.walk import walk
from dedup.grouping.prior import ASSUMED
from dedup.images.read import Task, read_photo
from dedup.store.store import Store
from dedup.types.groups import Decisions
from dedup.types.pairs import Relation, Scores
from dedup.types.report import Run
from dedup.types.settings import Settings

pytest.importorskip("starlette")
from dedup.review.session import GroupFilter, Review

Dedup = Callable[..., Result]

HARBOUR, TOWER, GARDEN = 1, 2, 3  # the groups of the album


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An album and its database, which nobody changes."""
    folder = tmp_path_factory.mktemp("scanned")
    make_album(folder / "Photos")
    words = ["scan", str(folder / "Photos"), "-q", "--db", str(folder / "test.db")]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    return folder


@pytest.fixture
def review(scanned: Path, tmp_path: Path) -> Review:
    """A review of a database of its own."""
    with Store(str(scanned / "test.db")):
        for end in ("", "-wal"):
            path = scanned / f"test.db{end}"
            if path.exists():
                (tmp_path / f"own.db{end}").write_bytes(path.read_bytes())
    return Review(str(tmp_path / "own.db"))


@pytest.fixture(scope="module")
def server(scanned: Path) -> Iterator[Server]:
    with serving(scanned / "test.db") as s:
        yield s


def names(review: Review, **chosen: object) -> list[str]:
    return [card.shots[0].name for card in review.listed(GroupFilter(**chosen))]  # type: ignore[arg-type]


def roles(review: Review, number: int) -> dict[str, str]:
    return {shot.name: review.fate(shot).role for shot in review.card(number).shots}


def sha(review: Review, number: int, name: str) -> str:
    return next(s.photo.sha256 for s in review.card(number).shots if s.name == name)


def scored(folder: Path, pairs: dict[str, tuple[float, float]], settings: Settings) -> str:
    """Return a database of three pictures, with the probabilities (copy, similar) of pairs of them."""
    for name, size in {"a.png": (60, 40), "b.png": (50, 40), "c.png": (40, 30)}.items():
        scene(1, size).save(folder / name)
    db = str(folder / "scored.db")
    with Store(db, scanning=True) as store:
        found = store.listing(walk([str(folder)]), weights_name="w", reader="r")
        readings = [(same, read_photo(Task(same[0], 4))) for same in found.unknown() if same[0].path.endswith("png")]
        found.add(readings, np.zeros((3, 4), np.float16), np.zeros((3, 4), np.int8), started_ns=0)
        photos = found.photos()
        at = {p.files[0].path.rpartition("/")[2]: n for n, p in enumerate(photos.photos)}
        both = np.array([sorted(at[name] for name in pair.split()) for pair in pairs])
        copy, similar = np.array(list(pairs.values()), np.float32).T
        scores = Scores(both[:, 0], both[:, 1], np.ones(len(pairs), np.float32), copy, similar)
        store.pairs.add_scores(scores, photos.ids, weights_name="w", prefiltered=True)
        run = Run(0, 1, (str(folder),), settings, "w", 1.0, photos.photos.contents(), ASSUMED)
        store.runs.add(run, found, scores, photos.ids)
    return db


def test_groups_come_in_the_order_and_number_of_the_report(review: Review) -> None:
    assert names(review) == ["harbour.jpg", "tower.jpg", "garden.png"]
    assert [card.number for card in review.listed(GroupFilter())] == [1, 2, 3]
    assert names(review, text="TRIP [2019]/harb") == ["harbour.jpg"]
    assert names(review, relation="identical") == ["garden.png"]
    sizes = [card.bytes for card in review.listed(GroupFilter(order="bytes"))]
    assert sizes == sorted(sizes, reverse=True)
    assert names(review, status="decided") == []


def test_accepted_group_is_decided_and_an_open_one_is_next(review: Review) -> None:
    review.decide(TOWER, "accept")
    assert review.totals()["decided"] == 1
    assert review.neighbours(TOWER, GroupFilter(status="open")) == (HARBOUR, GARDEN)
    assert [card.number for card in review.listed(GroupFilter(status="open"))] == [HARBOUR, GARDEN]
    again = Review(review.db)
    assert again.totals()["decided"] == 1


def test_keeping_a_smaller_photo_keeps_the_larger_ones_as_variants_of_it(review: Review) -> None:
    before = roles(review, HARBOUR)
    assert [n for n, role in before.items() if role == "keep"] == ["harbour.jpg"]
    review.decide(HARBOUR, "keep", sha(review, HARBOUR, "harbour small.jpg"))
    fates = {s.name: review.fate(s) for s in review.card(HARBOUR).shots}
    assert fates["harbour small.jpg"].marked
    assert (fates["harbour.jpg"].role, fates["harbour.jpg"].marked) == ("keep", False)
    assert fates["harbour.jpg"].note.startswith("a variant: the keeper is ")
    assert review.plan(everything=False).steps == ()
    review.decide(HARBOUR, "keep", sha(review, HARBOUR, "harbour.jpg"))
    assert roles(review, HARBOUR) == before


def test_kept_all_stay_and_one_apart_belongs_to_nobody(review: Review) -> None:
    review.decide(TOWER, "keep-all")
    assert set(roles(review, TOWER).values()) == {"keep"}
    assert review.reclaimable(review.card(TOWER)) == 0
    review.undo()
    review.decide(TOWER, "not-duplicate", sha(review, TOWER, "tower mirrored.png"))
    assert roles(review, TOWER) == {
        "tower.jpg": "keep",
        "tower cropped.jpg": "remove",
        "tower mirrored.png": "separate",
    }
    assert not review.is_decided(review.card(TOWER))
    review.decide(TOWER, "accept")
    assert review.is_decided(review.card(TOWER))
    review.decide(TOWER, "clear")
    assert roles(review, TOWER)["tower mirrored.png"] == "remove"
    with Store(review.db) as store:
        assert store.decisions.load() == Decisions()


def test_photos_are_kept_one_by_one_besides_each_other(review: Review) -> None:
    tower, cropped, mirrored = (s.photo.sha256 for s in review.card(TOWER).shots)
    review.decide(TOWER, "toggle", mirrored)
    assert list(roles(review, TOWER).values()) == ["keep", "remove", "keep"]
    assert review.decisions == Decisions(kept=frozenset([tower, mirrored]))  # what was proposed to keep is kept
    assert review.is_decided(review.card(TOWER))
    review.decide(TOWER, "toggle", mirrored)
    assert list(roles(review, TOWER).values()) == ["keep", "remove", "remove"]
    with pytest.raises(BadUsage, match="keep at least one"):
        review.decide(TOWER, "toggle", tower)
    review.decide(TOWER, "toggle", cropped)
    assert review.decisions.kept == {tower, cropped}
    assert {step.parts[0].sha256 for step in review.plan(everything=False).steps} == {mirrored}
    for _ in range(3):
        review.undo()
    assert review.decisions == Decisions()


def test_similar_photo_is_kept_in_the_page_as_in_the_plan(tmp_path: Path) -> None:
    db = scored(tmp_path, {"a.png b.png": (0.1, 0.8), "a.png c.png": (0.99, 0)}, Settings(include_similar=True))
    review = Review(db)
    fates = {s.name: review.fate(s) for s in review.card(1).shots}
    assert fates["b.png"].note == "only similar, so it is not removed"
    assert str(tmp_path / "b.png") not in [step.parts[0].file.path for step in review.plan(everything=True).steps]
    with pytest.raises(BadUsage, match="it is kept anyway"):
        review.decide(1, "toggle", sha(review, 1, "b.png"))


def test_protected_photo_is_shown_as_kept_as_in_the_plan(dedup: Dedup, tmp_path: Path) -> None:
    for folder, size in (("Safe", (160, 120)), ("Safe/also", (140, 105)), ("Photos", (320, 240))):
        (tmp_path / "All" / folder).mkdir(parents=True, exist_ok=True)
        scene(1, size).save(tmp_path / "All" / folder / f"{size[0]}.png")
    dedup("scan", tmp_path / "All", "-q", "--protect", tmp_path / "All" / "Safe")
    review = Review(str(tmp_path / "test.db"))
    fates = {s.name: (review.fate(s).role, review.fate(s).note) for s in review.card(1).shots}
    assert fates["140.png"] == ("keep", "in a protected folder")
    assert review.plan(everything=True).steps == ()
    assert review.reclaimable(review.card(1)) == 0


def test_page_shows_each_photo_with_the_fate_that_the_plan_has_for_it(review: Review) -> None:
    decisions = [
        *((number, "accept", "") for number in (HARBOUR, TOWER, GARDEN)),
        *((number, action, s.photo.sha256) for action in ("keep", "toggle", "not-duplicate")
          for number in (HARBOUR, TOWER, GARDEN) for s in review.cards[number - 1].shots),
    ]  # fmt: skip
    for number, action, sha256 in decisions:
        with suppress(BadUsage):  # the last photo that is kept, a variant that is kept anyway
            review.decide(number, action, sha256)
        shots = [s for card in review.cards for s in review.card(card.number).shots]
        shown = {s.photo.sha256 for s in shots if review.fate(s).role == "remove"}
        steps = review.plan(everything=True).steps
        removed = {step.parts[0].sha256 for step in steps if step.relation is not Relation.EXACT}
        assert shown == removed, (number, action, sha256)


def test_folder_is_shown_from_the_scanned_one_on(review: Review) -> None:
    shots = [shot for card in review.cards for shot in card.shots]
    assert {review.short_folder(shot) for shot in shots} == {"Photos", "Photos/Trip [2019]"}


def test_photo_that_is_no_duplicate_stays_so_whatever_is_kept_later(review: Review) -> None:
    grey = sha(review, HARBOUR, "harbour grey.webp")
    review.decide(HARBOUR, "not-duplicate", grey)
    for name in ("harbour small.jpg", "harbour.jpg", "harbour grey.webp"):
        review.decide(HARBOUR, "keep", sha(review, HARBOUR, name))
        going = {part.file.path for step in review.plan(everything=True).steps for part in step.parts}
        assert not any(path.endswith("harbour grey.webp") for path in going)


def test_photo_that_only_the_other_one_matches_is_shown(tmp_path: Path) -> None:
    """a matches b, b matches c, a does not match c: keeping b instead of a takes c along."""
    db = scored(tmp_path, {"a.png b.png": (0.99, 0), "b.png c.png": (0.99, 0)}, Settings())
    review = Review(db)
    assert list(roles(review, 1)) == ["a.png", "b.png"]
    review.decide(1, "keep", sha(review, 1, "b.png"))
    assert list(roles(review, 1)) == ["a.png", "b.png", "c.png"]
    assert review.shot(sha(review, 1, "c.png")) is not None
    review.decide(1, "not-duplicate", sha(review, 1, "c.png"))
    assert set(roles(review, 1)) == {"a.png", "b.png"}


def test_undo_goes_back_step_by_step_and_restores_what_a_step_replaced(review: Review) -> None:
    small, first = sha(review, HARBOUR, "harbour small.jpg"), sha(review, HARBOUR, "harbour.jpg")
    review.decide(HARBOUR, "keep", first)
    review.decide(HARBOUR, "keep", small)
    assert review.undo()[0] == HARBOUR
    with Store(review.db) as store:
        assert store.decisions.load().kept == {first}
    review.undo()
    with Store(review.db) as store:
        assert store.decisions.load() == Decisions()
    with pytest.raises(BadUsage, match="no decision to undo"):
        review.undo()


def test_many_are_accepted_and_taken_back_as_one(review: Review) -> None:
    review.accept([card.number for card in review.listed(GroupFilter())])
    assert review.totals()["decided"] == 3
    review.undo()
    assert review.totals()["decided"] == 0


def test_groups_of_the_review_are_what_the_command_line_reports_after_the_same_decisions(review: Review) -> None:
    from dedup.pipeline.results import load_results

    review.decide(HARBOUR, "keep", sha(review, HARBOUR, "harbour grey.webp"))
    review.decide(TOWER, "not-duplicate", review.card(TOWER).shots[1].photo.sha256)
    with Store(review.db) as store:
        groups = load_results(store).groups
    expected = {("", i): g.keeper for g in groups for i in (g.keeper, *(d.photo for d in g.duplicates))}
    assert review._keeper_of == expected


def test_marks_of_another_program_are_taken_over(review: Review) -> None:
    tower = review.card(TOWER).shots
    with Store(review.db, changing=True) as store:
        store.decisions.add(Decisions(kept=frozenset(s.photo.sha256 for s in tower)))
    review.refresh()
    assert set(roles(review, TOWER).values()) == {"keep"}


def test_photo_that_is_in_no_such_group_is_refused(review: Review) -> None:
    for action, photo in (("keep", "0" * 64), ("not-duplicate", ""), ("explode", "")):
        with pytest.raises(BadUsage):
            review.decide(1, action, photo)
    with pytest.raises(BadUsage, match="no group 99"):
        review.decide(99, "accept")


def test_page_says_what_it_may_do(server: Server) -> None:
    status, headers, body = server.ask()
    assert (status, headers["cache-control"]) == (200, "no-store")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert "server" not in headers
    assert b"<script>" not in body
    assert b" style=" not in body


@pytest.mark.parametrize("path", ["/", "/group/1", "/wrong/", "/static/review.js", "//", "/plan"])
def test_without_the_token_there_is_nothing(server: Server, path: str) -> None:
    status, _, body = server.ask(path)
    assert (status, b"harbour" in body) == (404, False)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "0.0.0.0"])
def test_other_names_of_this_machine_are_refused(server: Server, host: str) -> None:
    assert server.ask(Host=host)[0] == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_decision_that_another_site_sends_is_refused(server: Server, scanned: Path, headers: dict[str, str]) -> None:
    assert server.post("decide", {"group": 1, "action": "accept"}, **headers)[0] == 403
    with Store(str(scanned / "test.db")) as store:
        assert store.decisions.load() == Decisions()


def test_get_changes_nothing_and_what_changes_something_is_no_get(server: Server) -> None:
    for path in ("decide", "undo-decision", "accept", "apply", "undo"):
        assert server.ask(path)[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "photo/../../../../etc/passwd/full",
        "photo/%2e%2e%2f%2e%2e%2fetc%2fpasswd/full",
        "photo//etc/passwd",
        "photo/" + "0" * 64 + "/full",
        "static/../app.py",
        "static/%2e%2e/app.py",
        "static/..%2fapp.py",
        "templates/review.html",
    ],
)
def test_only_photos_of_groups_are_served_and_by_digest(server: Server, path: str) -> None:
    status, _, body = server.ask(path)
    assert status in (404, 400)
    assert b"root:" not in body
    assert b"import" not in body


def test_figure_comes_only_for_pairs_of_a_group_and_by_digest(server: Server, scanned: Path) -> None:
    review = Review(str(scanned / "test.db"))
    harbour, small = (s.photo.sha256 for s in review.card(HARBOUR).shots[:2])
    tower = review.card(TOWER).shots[0].photo.sha256
    status, headers, body = server.ask(f"figure/{harbour}/{small}/11")
    assert (status, headers["content-type"], body[8:12]) == (200, "image/webp", b"WEBP")
    assert "max-age" in headers["cache-control"]
    page = server.ask(f"explanation/{harbour}/{small}")[2].decode()
    assert page.count("<img") == 12
    assert "weighted difference: " in page
    for pair in (f"{harbour}/{tower}", f"{harbour}/{harbour}", f"{'0' * 64}/{small}", "..%2f..%2fetc/passwd"):
        assert server.ask(f"figure/{pair}/0")[0] == 404
        assert b"<img" not in server.ask(f"explanation/{pair}")[2]
    assert server.ask(f"figure/{harbour}/{small}/12")[0] == 404
    assert server.ask(f"figure/{harbour}/{small}/-1")[0] == 400
    assert server.ask(f"/figure/{harbour}/{small}/0")[0] == 404  # without the token
    assert server.ask(f"figure/{harbour}/{small}/0", Sec_Fetch_Site="cross-site")[0] == 403


def test_photo_comes_in_three_sizes_and_right_type(server: Server, scanned: Path) -> None:
    review = Review(str(scanned / "test.db"))
    garden = review.card(GARDEN).shots[0].photo.sha256
    types = {size: server.ask(f"photo/{garden}/{size}")[1]["content-type"] for size in ("thumb", "screen", "full")}
    assert types == {"thumb": "image/webp", "screen": "image/jpeg", "full": "image/jpeg"}
    assert server.ask(f"photo/{garden}/huge")[0] == 404


@pytest.mark.raw
def test_camera_raw_is_shown_developed_and_explained(dedup: Dedup, tmp_path: Path) -> None:
    import rawpy

    folder = tmp_path / "Photos"
    folder.mkdir()
    (folder / "DSC_1.dng").write_bytes(mosaic(scene(1, (400, 300))))
    with rawpy.imread(str(folder / "DSC_1.dng")) as raw:
        Image.fromarray(raw.postprocess(use_camera_wb=True)).resize((300, 225)).save(folder / "mail.jpg")
    dedup("scan", folder, "-q")
    with serving(tmp_path / "test.db") as server:
        kept, other = (s.photo.sha256 for s in Review(str(tmp_path / "test.db")).card(1).shots)
        for size, kind in (("thumb", "WEBP"), ("screen", "JPEG"), ("full", "JPEG")):
            with Image.open(io.BytesIO(server.ask(f"photo/{kept}/{size}")[2])) as shown:
                assert (shown.format, shown.width > shown.height) == (kind, True)
        assert server.ask(f"figure/{kept}/{other}/0")[0] == 200


def test_bad_bodies_are_one_line(server: Server) -> None:
    for body in ([], "x", {"group": "1; DROP", "action": "accept"}, {"group": 10**30, "action": "accept"}, {}):
        status, answer = server.post("decide", body)
        assert (status, set(answer)) == (400, {"error"})
    assert server.post("apply", {"to": "delete", "shown": ""})[0] == 409
    assert server.post("apply", {"to": "relative/folder", "shown": ""})[0] == 409
    assert server.post("undo", {"run": "../../x"})[0] == 409
    assert server.post("decide", {"group": 1, "action": "x" * (1 << 20)})[0] == 413
    assert server.ask("group/99999")[0] == 409
    assert server.ask("?group=99999&least=nan&order=x&status=%ff&text=%00%ff")[0] == 200


def test_server_listens_on_this_machine_only(server: Server) -> None:
    port = int(server.host.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_network_needs_a_password_and_says_what_it_means(dedup: Dedup, scanned: Path) -> None:
    db = scanned / "test.db"
    said = dedup("review", "--no-browser", "--host", "127.0.0.3", "--db", db, code=2).stderr
    assert "need a password" in said
    with serving(db, "--host", "127.0.0.3", DEDUP_REVIEW_PASSWORD="correct horse") as server:
        assert server.path == "/"
        status, headers, body = server.ask("/")
        assert (status, headers["www-authenticate"].split()[0], body) == (401, "Basic", b"a password is required")

        def basic(password: str) -> str:
            return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()

        assert server.ask("/", Authorization=basic("wrong horse"))[0] == 401
        assert server.ask("/", Authorization="Basic %%%")[0] == 401
        status, headers, _ = server.ask("/", Authorization=basic("correct horse"))
        assert status == 303
        assert server.ask(headers["location"], Authorization=basic("correct horse"))[0] == 200
        assert server.ask(headers["location"])[0] == 401
        assert server.ask("/", Host="evil.example", Authorization=basic("correct horse"))[0] == 421


def test_without_a_scan_or_a_free_port_it_is_one_line(
    dedup: Dedup, server: Server, scanned: Path, tmp_path: Path
) -> None:
    assert "no such database" in dedup("review", "--no-browser", "--db", tmp_path / "no.db", code=1).stderr
    port = server.host.rpartition(":")[2]
    said = dedup("review", "--no-browser", "--port", port, "--db", scanned / "test.db", code=2).stderr
    assert "cannot listen there" in said


def test_bytes_that_were_not_scanned_are_not_shown(dedup: Dedup, tmp_path: Path) -> None:
    folder = tmp_path / "Photos"
    folder.mkdir()
    for name, level in (("a.png", 9), ("b.png", 1), ("c.png", 3)):
        scene(1, (64, 48)).save(folder / name, compress_level=level)
    dedup("scan", folder, "-q")
    with serving(tmp_path / "test.db") as server:
        shas = {s.name: s.photo.sha256 for s in Review(str(tmp_path / "test.db")).card(1).shots}
        scene(2, (64, 48)).save(folder / "a.png")
        os.replace(folder / "b.png", folder / "away.png")
        os.symlink("/etc/passwd", folder / "b.png")
        (folder / "c.png").unlink()
        said = {name: server.ask(f"photo/{shas[name]}/full") for name in shas}
        assert [said[n][2] for n in ("a.png", "c.png")] == [b"changed after the scan", b"gone since the scan"]
        assert said["b.png"][0] == 404
        page = server.ask("group/1")[2].decode()
        assert "changed after the scan" in page
        assert "gone since the scan" in page
        assert "no longer readable" in page


def test_review_promises_no_bytes_of_hard_links_and_protected_files(dedup: Dedup, tmp_path: Path) -> None:
    folder = tmp_path / "Photos"
    (folder / "safe").mkdir(parents=True)
    scene(1, (320, 240)).save(folder / "safe/a.png")
    scene(1, (160, 120)).save(folder / "small.png")
    os.link(folder / "safe/a.png", folder / "linked.png")
    (folder / "safe/b.png").write_bytes((folder / "safe/a.png").read_bytes())
    dedup("scan", folder, "--protect", folder / "safe", "-q")
    review = Review(str(tmp_path / "test.db"))
    card = review.card(1)
    removed = {f.path for shot in card.shots for f in review.removed_files(shot)}
    assert removed == {step.parts[0].file.path for step in review.plan(everything=True).steps}
    assert review.reclaimable(card) == card.bytes == (folder / "small.png").stat().st_size
