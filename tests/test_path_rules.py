"""The paths of Windows, macOS and Linux, compared and judged on any of them."""

import pytest

from dedup.files.globs import glob_matcher
from dedup.files.path_rules import comparable, forbidden_name, is_inside, is_too_long, names_a_folder

SYSTEMS = ("linux", "darwin", "win32")
NFC, NFD = "Caf\N{LATIN SMALL LETTER E WITH ACUTE}", "Cafe\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"C:\Photos\A.jpg", r"c:\photos\a.JPG", ("darwin", "win32")),
        (r"C:\Photos\A.jpg", "C:/Photos/A.jpg", ("win32",)),
        (r"\\?\C:\Photos\A.jpg", r"C:\Photos\A.jpg", ("win32",)),
        (r"\\?\UNC\nas\photos\A.jpg", r"\\NAS\Photos\A.jpg", ("win32",)),
        (r"C:\Photos\..\A.jpg", r"C:\A.jpg", ("win32",)),
        ("/Users/Ana/Photos", "/users/ana/photos", ("darwin", "win32")),
        (f"/Users/{NFC}", f"/Users/{NFD}", ("darwin",)),
        ("/Volumes/GROSS", "/Volumes/gro\N{LATIN SMALL LETTER SHARP S}", ("darwin",)),
        ("/home/ana", "/home/ana", SYSTEMS),
        ("/home/ana", "/home/ben", ()),
        (r"C:\a", r"D:\a", ()),
    ],
)
def test_paths_are_one_where_the_system_takes_them_for_one(one: str, other: str, same: tuple[str, ...]) -> None:
    for system in SYSTEMS:
        assert (comparable(one, system) == comparable(other, system)) is (one == other or system in same), system


@pytest.mark.parametrize(
    ("system", "path", "folder", "inside"),
    [
        ("linux", "/a/b", "/a", True),
        ("linux", "/a", "/a", True),
        ("linux", "/a", "/", True),
        ("linux", "/ab", "/a", False),
        ("linux", "/A/b", "/a", False),
        ("darwin", "/Users/Ana/Photos/Keep", "/users/ana/photos/keep", True),
        ("darwin", f"/Users/{NFD}/a", f"/Users/{NFC}", True),
        ("win32", r"C:\Photos\a", "c:\\", True),
        ("win32", r"C:\Photos\a", "c:/photos/", True),
        ("win32", r"C:\Photosets", r"C:\Photos", False),
        ("win32", r"\\nas\photos\a", "\\\\NAS\\photos\\", True),
        ("win32", r"\\nas\photos2\a", r"\\nas\photos", False),
        ("win32", r"D:\Photos\a", r"C:\Photos", False),
    ],
)
def test_folder_holds_what_the_system_says(system: str, path: str, folder: str, inside: bool) -> None:
    assert is_inside(path, folder, system) is inside


@pytest.mark.parametrize(
    ("word", "folders"),
    [
        ("trash", ()),
        ("trsh", ()),
        ("./Away", SYSTEMS),
        (r".\Away", ("win32",)),
        ("D:", ("win32",)),
        ("~/Away", SYSTEMS),
    ],
)
def test_word_is_a_folder_if_it_can_be_nothing_else(word: str, folders: tuple[str, ...]) -> None:
    assert tuple(system for system in SYSTEMS if names_a_folder(word, system)) == folders


@pytest.mark.parametrize(
    ("glob", "path", "systems"),
    [
        ("C:\\Photos\\*", r"C:\Photos\Trip\a.jpg", SYSTEMS),
        ("C:\\Photos\\*", "C:/Photos/Trip/a.jpg", SYSTEMS[2:]),
        ("*/Trip/*", r"C:\Photos\Trip\a.jpg", SYSTEMS[2:]),
        ("C:/Photos/", r"C:\Photos", SYSTEMS[2:]),
        ("*/Trip/*", "/Photos/Trip/a.jpg", SYSTEMS),
        (r"a\b*", r"a\bc", SYSTEMS),
    ],
)
def test_globs_take_both_slashes_on_windows(glob: str, path: str, systems: tuple[str, ...]) -> None:
    matchers = {system: glob_matcher([glob], system) for system in SYSTEMS}
    assert tuple(system for system, matches in matchers.items() if matches and matches(path)) == systems


@pytest.mark.parametrize(
    ("path", "forbidden"),
    [
        (r"D:\Away", ""),
        (r"D:\Away\aux", "aux"),
        (r"D:\NUL.jpg\b", "NUL.jpg"),
        (r"D:\com1 .txt", "com1 .txt"),
        ("D:\\COM\N{SUPERSCRIPT TWO}", "COM\N{SUPERSCRIPT TWO}"),
        (r"D:\console\auxiliary\com10\lpt", ""),
        (r"D:\Away.", "Away."),
        (r"D:\Away \b", "Away "),
        (r"D:\..\.\b", ""),
        (r"D:\what?\b", "what?"),
        (r"D:\a:stream", "a:stream"),
        (r"\\nas\photos\prn", "prn"),
        ("\\\\?\\C:\\Photos\\a", ""),
    ],
)
def test_names_that_windows_gives_no_file(path: str, forbidden: str) -> None:
    assert forbidden_name(path, "win32") == forbidden
    assert forbidden_name(path, "linux") == forbidden_name(path, "darwin") == ""


def test_long_paths_are_too_long_for_windows_alone() -> None:
    path = "C:\\" + "a" * 256
    assert not is_too_long(path, "win32")
    assert is_too_long(f"{path}a", "win32")
    assert not is_too_long(f"\\\\?\\{path}a", "win32")
    assert not is_too_long(f"{path}a", "linux")
