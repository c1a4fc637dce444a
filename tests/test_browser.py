"""The report and the review in a real Chromium, as a person uses them, and as an attacker would."""

import http.server
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from album import scene
from click.testing import Result
from serving import serving

from dedup.store.store import Store
from dedup.types.groups import Decisions

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = (
    "<img src=x onerror=window.hacked=1>.jpg",
    "\"'><svg onload=window.hacked=1>.jpg",
    "{{ 7*7 }}\n<!--<script>window.hacked=1<x.jpg",
    "\u202egpj.txt javascript:alert(1).jpg",
)
Dedup = Callable[..., Result]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.getuid() == 0 else [])
        playwright.expect.set_options(timeout=60_000)  # nothing here is about speed: the machine may be busy
        yield browser
        browser.close()


@contextmanager
def tab(chromium: Any, **how: Any) -> Iterator[Any]:
    """A tab in which nothing may go wrong: no script error, no blocked resource, no question."""
    context = chromium.new_context(**how)
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    refused = re.compile("status of 40[49]")  # a missing picture, a decision that is refused
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" and not refused.search(m.text) else None)
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def hostile(dedup: Dedup, tmp_path: Path) -> Path:
    """Pictures with names that mean harm, one of them not UTF-8, in groups; scanned."""
    folder = tmp_path / "Photos" / "<b>bold"
    folder.mkdir(parents=True)
    for n, name in enumerate(HOSTILE):
        scene(n + 1, (320, 240)).save(folder / name, quality=90)
        scene(n + 1, (160, 120)).save(folder / f"small {name}", quality=80)
    os.rename(folder / f"small {HOSTILE[0]}", os.fsencode(folder) + b"/caf\xe9.jpg")
    dedup("scan", tmp_path / "Photos", "-q")
    return folder


def tree(folder: Path) -> dict[bytes, bytes]:
    root = os.fsencode(folder)
    found = (os.path.join(at, name) for at, _, names in os.walk(root) for name in names)
    return {os.path.relpath(path, root): Path(os.fsdecode(path)).read_bytes() for path in found}


def decisions(tmp_path: Path) -> Decisions:
    with Store(str(tmp_path / "test.db")) as store:
        return store.decisions.load()


def wide(page: Any) -> bool:
    """Return whether the page is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


# The report


def test_report_shows_filters_and_sorts(chromium: Any, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-q", "-o", tmp_path / "report.html")
    with tab(chromium) as page:
        page.goto((tmp_path / "report.html").as_uri())
        assert page.locator("article:visible").count() == 3
        assert page.locator(".picture img").count() == 8  # of nine files; the exact copy is a line
        assert page.evaluate("[...document.images].every((i) => i.decode && i.src.startsWith('data:image/webp'))")
        assert page.locator("li.keep b").all_text_contents() == ["harbour.jpg", "tower.jpg", "garden.png"]
        page.get_by_role("searchbox").fill("TOWER")
        assert page.locator("article:visible h2").all_text_contents() == ["Group 2"]
        page.get_by_role("searchbox").fill("")
        page.get_by_label("Relation").select_option("identical")
        assert page.locator("article:visible h2").all_text_contents() == ["Group 3"]
        page.get_by_label("Relation").select_option("")
        for order, figure in (("doubtful", "probability"), ("bytes", "bytes")):
            page.get_by_label("Order").select_option(order)
            figures = [float(a.get_attribute(f"data-{figure}")) for a in page.locator("article").all()]
            assert figures == sorted(figures, reverse=order == "bytes")
        first = page.locator("article").first.get_attribute("data-number")
        assert first != "1"
        page.locator("h1").click()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.dataset.number") == first


def test_report_is_readable_without_script_and_fits_a_phone(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q")
    (album / "harbour small.jpg").unlink()
    shutil.copy(album / "alone 10.jpg", album / "garden.png")
    dedup("export", "-o", tmp_path / "report.html")
    with tab(chromium, java_script_enabled=False, viewport={"width": 360, "height": 740}, color_scheme="dark") as page:
        page.goto((tmp_path / "report.html").as_uri())
        assert page.locator("article:visible").count() == 3
        assert not page.locator(".bar").is_visible()
        assert page.locator(".picture p").all_text_contents() == [
            "No preview: gone since the scan",
            "No preview: changed after the scan",
        ]
    with tab(chromium, viewport={"width": 360, "height": 740}) as page:
        page.goto((tmp_path / "report.html").as_uri())
        assert not wide(page)


def test_report_runs_nothing_that_a_name_says(chromium: Any, dedup: Dedup, hostile: Path, tmp_path: Path) -> None:
    dedup("export", "--format", "html", "-o", tmp_path / "r.html")
    with tab(chromium) as page:
        page.goto((tmp_path / "r.html").as_uri())
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[onerror]").count() == 0
        text = page.locator("main").text_content()
        assert HOSTILE[0] in text
        assert "caf\\udce9.jpg" in text
        links = page.locator("main a").evaluate_all("(all) => all.map((a) => a.href)")
        assert len(links) == 8
        assert all(link.startswith("file:///") for link in links)
        assert "\\u202e" in text
        assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    page = chromium.new_context().new_page()
    page.goto((tmp_path / "r.html").as_uri())
    injected = """() => {
        document.body.append(Object.assign(document.createElement("script"), { textContent: "window.hacked = 1" }));
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked = 1'>");
        return new Promise((done) => setTimeout(() => done(window.hacked ?? "nothing ran"), 200));
    }"""
    assert page.evaluate(injected) == "nothing ran"  # the policy holds where escaping would not
    page.context.close()


def test_report_enlarges_a_picture_and_steps_through_its_group(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q", "-o", tmp_path / "report.html")
    with tab(chromium) as page:
        page.goto((tmp_path / "report.html").as_uri())
        big, pictures = page.locator("#enlarged"), page.locator("article").first.locator(".picture img")
        pictures.nth(1).click()
        playwright.expect(big).to_contain_text("harbour small.jpg 2 of 3")
        playwright.expect(big.get_by_role("link")).to_have_attribute("href", (album / "harbour small.jpg").as_uri())
        assert big.locator("img").evaluate("(i) => i.clientWidth") > pictures.nth(1).evaluate("(i) => i.clientWidth")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        playwright.expect(big).to_contain_text("harbour.jpg 1 of 3")
        page.keyboard.press("Escape")
        assert not big.is_visible()
        page.get_by_role("searchbox").fill("no such name")
        playwright.expect(page.locator(".bar output")).to_have_text("No group matches")
        assert page.locator("article:visible").count() == 0


def test_report_says_why_without_script_and_where_it_does_not(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q", "-o", tmp_path / "whole.html")
    (album / "harbour small.jpg").unlink()
    dedup("export", "-o", tmp_path / "report.html")
    with tab(chromium, java_script_enabled=False) as page:
        page.goto((tmp_path / "report.html").as_uri())
        figures = page.locator("details.explain")
        assert figures.locator("summary").all_text_contents() == [
            f"Why {name} is a copy"
            for name in ("harbour small.jpg", "harbour grey.webp", "tower mirrored.png", "tower cropped.jpg")
        ]
        assert page.locator(".explanation img:visible").count() == 0
        for n in range(4):
            figures.nth(n).locator("summary").click()
        assert page.locator(".explanation img:visible").count() == 3 * 12
        assert "No figure: gone since the scan" in figures.nth(0).inner_text()
        assert all(
            words.strip() for words in page.locator(".explanation img").evaluate_all("(all) => all.map((i) => i.alt)")
        )
        assert "4 of the 5 pairs have a figure" in page.locator("footer").inner_text()
    with tab(chromium) as page:
        page.goto((tmp_path / "whole.html").as_uri())
        page.evaluate("document.querySelectorAll('details.explain').forEach((d) => { d.open = true; })")
        sizes = page.locator(".explanation img").evaluate_all(
            "(all) => Promise.all(all.map((i) => i.decode())).then(() => 0)"
        )
        assert sizes == 0
        assert page.locator(".explanation img").count() == 4 * 12


def test_report_prints_in_light_colours_and_without_empty_pages(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q", "-o", tmp_path / "report.html")
    with tab(chromium, color_scheme="dark") as page:
        page.goto((tmp_path / "report.html").as_uri())
        page.emulate_media(media="print")
        assert not page.locator(".bar").is_visible()
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 29, 31)"  # dark ink on paper
        assert not page.locator(".none").is_visible()
        page.locator("details.explain summary").first.click()
        breaks = "(all) => all.map((a) => getComputedStyle(a).breakInside)"
        assert page.locator("article").evaluate_all(breaks) == ["auto", "avoid", "avoid"]  # one fills more than a page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_both_pages_pass_an_audit_for_screen_reader_and_keyboard(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    dedup("scan", album, "-q", "-o", tmp_path / "report.html")
    viewport = {"width": width, "height": 900}

    def audited(page: Any) -> None:
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

    with (
        serving(tmp_path / "test.db") as server,
        tab(chromium, viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as page,
    ):
        page.goto((tmp_path / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        audited(page)
        page.goto(server.address)
        page.keyboard.press("w")
        playwright.expect(page.locator(".explanation img")).to_have_count(12)
        audited(page)
        page.keyboard.press("?")
        audited(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Apply…").click()
        page.get_by_label("all groups").check()
        playwright.expect(page.locator("#dialog")).to_contain_text("6 files to remove")
        audited(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Accept all shown").click()
        playwright.expect(page.locator("#dialog .sample li")).to_have_count(3)
        audited(page)


# The review


def test_review_says_why_on_demand(chromium: Any, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url) if "/explanation/" in r.url or "/figure/" in r.url else None)
        page.goto(server.address)
        playwright.expect(page.locator("#stage h2")).to_have_text("harbour.jpg")
        assert asked == []
        page.keyboard.press("w")
        playwright.expect(page.locator(".explanation img:visible")).to_have_count(12)
        for n in range(12):
            playwright.expect(page.locator(".explanation img").nth(n)).not_to_have_js_property("naturalWidth", 0)
        assert len(asked) == 13
        page.keyboard.press("ArrowRight")
        playwright.expect(page.locator("#stage h2")).to_have_text("tower.jpg")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("w")
        playwright.expect(page.locator('details[data-n="3"] .explanation img:visible')).to_have_count(12)
        playwright.expect(page.locator('details[data-n="2"] .explanation img')).to_have_count(0)
        page.keyboard.press("w")
        playwright.expect(page.locator(".explanation img:visible")).to_have_count(0)
        (album / "Trip [2019]" / "tower mirrored.png").unlink()
        page.locator('details[data-n="2"] summary').click()
        playwright.expect(page.locator('details[data-n="2"]')).to_contain_text("No figure: gone since the scan")


def test_review_says_what_becomes_of_files_with_the_same_bytes(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        tag, line = page.locator(".pane.keep .tag.remove"), page.locator(".reasons li").last
        playwright.expect(tag).to_have_text("remove 1 exact copy")
        playwright.expect(line).to_contain_text("is kept. Applying removes the others, even after Keep all")
        page.keyboard.press("a")
        page.keyboard.press("ArrowLeft")
        playwright.expect(page.locator("#stage h2")).to_have_text("harbour.jpg")
        playwright.expect(tag).to_have_text("remove 1 exact copy")
        page.get_by_role("button", name="Apply…").click()
        playwright.expect(page.locator("#dialog")).to_contain_text("1 file to remove")  # the page did not lie
        page.keyboard.press("Escape")
        playwright.expect(page.locator("dialog[open]")).to_have_count(0)  # until then it takes all keys
        page.keyboard.press("2")
        page.keyboard.press("ArrowLeft")
        playwright.expect(line).to_contain_text("All of them are kept")  # the photo now kept shows less


def test_person_decides_by_keyboard_and_it_lasts(chromium: Any, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        title, total = page.locator("#stage h2"), page.locator("#totals")
        playwright.expect(title).to_have_text("harbour.jpg")
        page.keyboard.press("Enter")
        playwright.expect(title).to_have_text("tower.jpg")
        playwright.expect(total).to_contain_text("1 of 3 decided")
        page.keyboard.press("ArrowDown")
        playwright.expect(page.locator(".pane:visible figcaption b")).to_have_text(["tower.jpg", "tower cropped.jpg"])
        page.keyboard.press("x")
        playwright.expect(page.locator(".film > .separate")).to_have_count(1)
        playwright.expect(total).to_contain_text("1 of 3 decided")
        page.keyboard.press("2")
        playwright.expect(title).to_have_text("garden.png")
        page.keyboard.press("a")
        playwright.expect(total).to_contain_text("3 of 3 decided")
        page.keyboard.press("u")
        playwright.expect(total).to_contain_text("2 of 3 decided")
        page.reload()
        playwright.expect(total).to_contain_text("2 of 3 decided")
        assert page.locator(".line.decided").count() == 2
        page.locator(".line.decided a").first.click()
        playwright.expect(page.locator("#stage h2")).to_have_text("harbour.jpg")
        page.keyboard.press("Backspace")
        playwright.expect(total).to_contain_text("1 of 3 decided")
    found = decisions(tmp_path)
    assert (len(found.kept), len(found.apart)) == (1, 2)


def test_several_photos_of_a_group_are_kept(chromium: Any, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address + "?group=2")
        film = page.locator(".film > div")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Shift+2")
        playwright.expect(film.locator(".tag")).to_have_text(["✓ keep", "✓ keep", "remove"])
        playwright.expect(page.locator(".pane:visible b")).to_have_text(["tower.jpg", "tower cropped.jpg"])  # as before
        page.locator(".film").get_by_role("button", name="Keep 1", exact=True).click()
        playwright.expect(film.locator(".tag")).to_have_text(["keep", "✓ keep", "keep"])  # 2 shows less than they do
        page.keyboard.press("ArrowUp")
        page.keyboard.press("k")
        playwright.expect(page.locator("#status")).to_contain_text("keep at least one photo")
        page.keyboard.press("u")
        playwright.expect(film.locator(".tag")).to_have_text(["✓ keep", "✓ keep", "remove"])
        page.get_by_role("button", name="Apply…").click()
        playwright.expect(page.locator("#dialog")).to_contain_text("1 file to remove")
        playwright.expect(page.locator("#dialog tr.remove")).to_contain_text("copy of tower.jpg, which is kept")
    found = decisions(tmp_path)
    assert (len(found.kept), len(found.apart)) == (2, 0)


def test_typist_is_answered_in_order(chromium: Any, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        playwright.expect(page.locator("#stage h2")).to_have_text("harbour.jpg")
        for title in ("tower.jpg", "garden.png", "garden.png"):
            page.keyboard.press("Enter")
            playwright.expect(page.locator("#stage h2")).to_have_text(title)
        playwright.expect(page.locator("#totals")).to_contain_text("3 of 3 decided")


def test_pictures_are_aligned_swapped_wiped_subtracted_and_zoomed(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address + "?group=2")
        for n in (0, 1):  # asked from outside: the page's policy forbids what wait_for_function does in it
            playwright.expect(page.locator(".view img").nth(n)).not_to_have_js_property("naturalWidth", 0)
        panes, frame = page.locator(".panes"), page.locator(".aligned")
        page.keyboard.press("s")
        for layer in (".first", ".second"):
            playwright.expect(frame.locator(layer)).not_to_have_js_property("naturalWidth", 0)
            assert frame.locator(layer).evaluate("(i) => [i.naturalWidth, i.naturalHeight]") == [960, 1280]
        playwright.expect(frame).to_contain_text("tower mirrored.png")
        assert frame.locator(".second").is_visible()
        page.keyboard.press("s")
        playwright.expect(frame).to_contain_text("tower.jpg")
        assert not frame.locator(".second").is_visible()
        page.keyboard.press("l")
        frame.get_by_label("Slider").fill("25")
        clip = "(e) => getComputedStyle(e).clipPath"
        assert frame.locator(".second").evaluate(clip) == "inset(0px 0px 0px 25%)"
        frame.get_by_label("Slider").press("Escape")  # the slider takes the keys until then
        page.keyboard.press("d")
        playwright.expect(frame).to_contain_text("aligned; no changed part found")
        assert [frame.locator(layer).is_visible() for layer in (".first", ".second", ".difference")] == [
            False,
            False,
            True,
        ]
        page.keyboard.press("ArrowDown")
        playwright.expect(frame.locator(".second")).to_have_attribute("alt", "tower cropped.jpg, aligned")
        page.keyboard.press("Escape")
        assert panes.get_attribute("data-mode") == "side"
        assert page.locator(".pane:visible").count() == 2
        page.keyboard.press("z")
        assert "scale(" in page.locator(".pane:visible img").first.evaluate("(e) => e.style.transform")
        playwright.expect(page.locator(".view img").first).to_have_attribute("src", re.compile("/full$"))
        page.keyboard.press("Escape")
        assert page.locator(".pane:visible img").first.evaluate("(e) => e.style.transform") == ""
        assert page.locator("td.best").count() > 0


def test_list_is_filtered_and_many_are_accepted_with_a_preview(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        page.get_by_role("searchbox").fill("Trip [2019]")
        playwright.expect(page.locator(".line")).to_have_count(2)
        page.get_by_label("Relation").select_option("identical")
        playwright.expect(page.locator(".line")).to_have_count(0)
        playwright.expect(page.locator("#stage")).to_have_text("No groupsNo group matches the filters.")
        page.keyboard.press("Enter")  # there is nothing to decide
        page.reload()
        playwright.expect(page.locator("#stage")).to_have_text("No groupsNo group matches the filters.")
        assert decisions(tmp_path) == Decisions()
        page.get_by_label("Relation").select_option("")
        playwright.expect(page.locator(".line")).to_have_count(2)
        page.get_by_role("button", name="Accept all shown").click()
        playwright.expect(page.locator("#dialog .sample li")).to_have_count(2)
        assert decisions(tmp_path) == Decisions()
        page.get_by_role("button", name="Accept 2 groups").click()
        playwright.expect(page.locator("#totals")).to_contain_text("2 of 3 decided")
        page.locator("#stage").click(position={"x": 5, "y": 5})
        page.keyboard.press("u")
        playwright.expect(page.locator("#totals")).to_contain_text("0 of 3 decided")


@contextmanager
def late(page: Any, path: str) -> Iterator[Callable[[], None]]:
    """Hold back the answers for a path; what it yields lets the oldest through and waits until the page has it."""
    held: list[Any] = []
    page.route(re.compile(path), lambda route: held.append(route))

    def release() -> None:
        route = held.pop(0)
        with page.expect_response(route.request.url):
            route.continue_()
        page.wait_for_timeout(200)  # for what must not happen now

    yield release
    page.unroute(re.compile(path))
    for route in held:
        route.continue_()


def test_late_answer_does_not_replace_what_was_asked_for_after_it(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        group, relation = page.locator("#stage .group"), page.get_by_label("Relation")
        with late(page, r"/group/\d+") as release:  # of a filter that was changed once more
            with page.expect_request(re.compile(r"/group/1\?.*text=Trip")):
                page.get_by_role("searchbox").fill("Trip [2019]")
            relation.select_option("identical")
            playwright.expect(page.locator("#stage")).to_have_text("No groupsNo group matches the filters.")
            release()
            assert group.count() == page.locator(".line").count() == 0
        relation.select_option("")
        page.get_by_role("searchbox").fill("")
        page.keyboard.press("Escape")  # leaves the field
        playwright.expect(page.locator(".line")).to_have_count(3)
        with late(page, "/decide") as release:  # of a decision, after which another group was opened
            with page.expect_request(re.compile("/decide")):
                page.keyboard.press("k")
            page.locator(".line").nth(2).click()
            playwright.expect(group).to_have_attribute("data-number", "3")
            release()
            assert group.get_attribute("data-number") == "3"
        assert decisions(tmp_path) != Decisions()
        with late(page, r"/group/1\?") as release:  # of a group, after which the filter was changed
            with page.expect_request(re.compile(r"/group/1\?")):
                page.locator(".line").first.click()
            relation.select_option("identical")
            playwright.expect(page.locator(".line")).to_have_count(1)
            release()
            assert group.get_attribute("data-number") == "3"
        page.locator("#open-plan").click()
        with late(page, "everything=yes") as release:  # of a plan that is no longer wanted
            with page.expect_request(re.compile("everything=yes")):
                page.get_by_label("all groups").click()
            with page.expect_response(re.compile("everything=no")):
                page.get_by_label("decided groups").click()
            release()
            assert page.get_by_label("decided groups").is_checked()


def test_folder_of_nothing_but_duplicates_is_accepted_with_one_click(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    shutil.copytree(album, tmp_path / "Photos/Backup", copy_function=shutil.copyfile)
    dedup("scan", tmp_path / "Photos", "-q", "-o", tmp_path / "report.html")
    with serving(tmp_path / "test.db") as server, tab(chromium, viewport={"width": 390, "height": 844}) as page:
        page.goto((tmp_path / "report.html").as_uri())
        playwright.expect(page.locator("section.folders li b")).to_have_text(str(tmp_path / "Photos/Backup"))
        assert axe.Axe().run(page).violations_count == 0
        assert not wide(page)
        page.goto(server.address)
        assert axe.Axe().run(page).violations_count == 0
        assert not wide(page)
        folders = page.locator("#folders")
        folders.get_by_role("button", name="Accept 7 groups").click()
        playwright.expect(folders.locator(".state")).to_be_visible()
        playwright.expect(page.locator("#totals")).to_contain_text("7 of 7 decided")
        assert len(decisions(tmp_path).kept) == 7
        page.keyboard.press("u")
        playwright.expect(folders.get_by_role("button", name="Accept 7 groups")).to_be_visible()
        assert decisions(tmp_path).kept == frozenset()
        folders.locator(".link").click()
        playwright.expect(page.locator("[name=text]")).to_have_value(f"{tmp_path}/Photos/Backup/")
        playwright.expect(page.locator("#list .line")).to_have_count(7)


def test_what_was_decided_is_applied_and_taken_back(chromium: Any, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    before = tree(album)
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        playwright.expect(page.locator("#stage h2")).to_have_text("harbour.jpg")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#totals")).to_contain_text("1 of 3 decided")
        page.get_by_role("button", name="Apply…").click()
        playwright.expect(page.locator("#dialog")).to_contain_text("3 files to remove")
        page.get_by_label("all groups").check()
        playwright.expect(page.locator("#dialog")).to_contain_text("6 files to remove")
        page.get_by_label("decided groups").check()
        playwright.expect(page.locator("#dialog")).to_contain_text("3 files to remove")
        page.get_by_label("How to remove").select_option("hardlink")
        playwright.expect(page.locator("#dialog")).to_contain_text("1 file to remove")
        page.get_by_label("How to remove").select_option("folder")
        playwright.expect(page.locator("#dialog")).to_contain_text("3 files to remove")
        page.get_by_label("Folder", exact=True).fill(str(album / "inside"))
        page.get_by_role("button", name="Apply to 3 files").click()
        playwright.expect(page.locator("#job")).to_contain_text("inside a scanned folder")
        assert tree(album) == before
        page.get_by_label("Folder", exact=True).fill(str(tmp_path / "Away"))
        page.get_by_role("button", name="Apply to 3 files").click()
        playwright.expect(page.locator("#job")).to_contain_text("3 of 3 done")
        assert len(tree(album)) == len(before) - 3
        assert len(tree(tmp_path / "Away")) == 3
        page.locator("#job").get_by_role("button", name="Undo it").click()
        playwright.expect(page.locator("#job")).to_contain_text("3 of 3 undone")
        assert tree(album) == before


def test_plan_that_was_not_seen_is_not_carried_out(chromium: Any, dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-q")
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        page.get_by_role("button", name="Apply…").click()
        page.get_by_label("all groups").check()
        playwright.expect(page.locator("#dialog")).to_contain_text("6 files to remove")
        dedup("mark", "keep", album / "garden.tif")
        before = tree(album)
        page.get_by_role("button", name="Apply to 6 files").click()
        playwright.expect(page.locator("#job")).to_contain_text("the plan has changed since it was shown")
        assert tree(album) == before


def test_review_runs_nothing_that_a_name_says(chromium: Any, hostile: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "test.db") as server, tab(chromium) as page:
        page.goto(server.address)
        for n in range(1, 5):
            page.goto(f"{server.address}?group={n}&text=<img src=x onerror=window.hacked=1>")
            page.goto(f"{server.address}?group={n}")
            page.keyboard.press("z")
        page.get_by_role("button", name="Apply…").click()
        page.get_by_label("all groups").check()
        playwright.expect(page.locator("#dialog")).to_contain_text("4 files to remove")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Accept all shown").click()
        playwright.expect(page.locator("#dialog .sample li")).to_have_count(4)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[onerror]").count() == 0


def test_message_of_a_scan_that_runs_and_of_a_server_that_is_gone(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-q")
    context = chromium.new_context()
    page = context.new_page()
    with serving(tmp_path / "test.db") as server:
        page.goto(server.address)
        with Store(str(tmp_path / "test.db"), scanning=True):
            page.keyboard.press("Enter")
            playwright.expect(page.locator("#status")).to_contain_text("another run is using this database")
            playwright.expect(page.locator("#stage h2")).to_have_text("harbour.jpg")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_have_class("visible error")
    context.close()
    assert decisions(tmp_path) == Decisions()


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_review_fits_its_window(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    dedup("scan", album, "-q")
    viewport = {"width": size[0], "height": size[1]}
    with serving(tmp_path / "test.db") as server, tab(chromium, viewport=viewport, color_scheme=scheme) as page:
        page.goto(server.address)
        assert not wide(page)
        if size[0] > size[1]:  # a desk, of which only the parts scroll
            assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        assert page.locator("button:visible:not([aria-label])").evaluate_all(
            "(all) => all.every((b) => b.innerText.trim())"
        )
        assert page.locator("img:not([alt])").count() == 0


# The attacker: a page of another site in the same browser


class Evil(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body>")

    def log_message(self, format: str, *values: Any) -> None:
        pass


@pytest.fixture
def evil() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_page_of_another_site_can_do_and_see_nothing_even_if_it_knows_the_address(
    chromium: Any, dedup: Dedup, album: Path, tmp_path: Path, evil: str
) -> None:
    dedup("scan", album, "-q")
    attack = """async (address) => {
        const words = JSON.stringify({ group: 1, action: "accept", everything: "yes", to: "trash" });
        const read = [];
        for (const path of ["decide", "accept", "apply", "undo"])
            await fetch(address + path, { method: "POST", mode: "no-cors", body: words }).catch(() => 0);
        await fetch(address).then((a) => a.text()).then((t) => read.push(t), () => 0);
        const picture = new Image();
        picture.src = address + "static/icon.svg";
        await picture.decode().then(() => read.push("picture"), () => 0);
        const frame = document.createElement("iframe");
        frame.src = address;
        document.body.append(frame);
        await new Promise((loaded) => { frame.onload = loaded; });
        try { read.push(frame.contentDocument.body.innerText); } catch { /* as it should be */ }
        return read.filter((text) => text);
    }"""
    with serving(tmp_path / "test.db") as server:
        page = chromium.new_context().new_page()
        page.goto(evil)
        assert page.evaluate(attack, server.address) == []
        page.set_content(f'<form method=post enctype=text/plain action="{server.address}decide"><input name=a></form>')
        page.evaluate("document.forms[0].submit()")
        page.wait_for_url(f"{server.address}decide")
        assert "only the review page may send requests" in page.content()
        page.context.close()
    assert decisions(tmp_path) == Decisions()
