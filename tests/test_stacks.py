"""Which files belong together, by their names."""

import unicodedata

import pytest

from dedup.files.stacks import Folders, same_stack, share_a_stack
from dedup.types.photo import File


def folders(*names: str) -> Folders:
    files = [File(f"/p/{name}", 1, 1, 1, 1, n) for n, name in enumerate(names)]
    return Folders(lambda folder: files)


def companions(photo: str, *beside: str) -> list[str]:
    return [f.path[3:] for f in folders(photo, *beside).companions(f"/p/{photo}")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/p/IMG_1.CR2", "/p/img_1.jpg", True),
        ("/p/IMG_1.CR2", "/q/IMG_1.JPG", False),
        ("/p/IMG_1.CR2", "/p/IMG_2.JPG", False),
        ("/p/IMG_1.HEIC", "/p/IMG_1.JPG", False),
        ("/p/IMG_1.HEIC", "/p/IMG_E1.HEIC", True),
        ("/p/IMG_1.NEF", "/p/IMG_1.DNG", False),
        ("/p/PXL_1.RAW-02.ORIGINAL.dng", "/p/PXL_1.RAW-01.MP.COVER.jpg", True),
        ("/p/IMG_1.jpg", "/p/IMG_1-edited.jpg", True),
        ("/p/IMG_1(2).jpg", "/p/IMG_1-bearbeitet(2).jpg", True),
        ("/p/IMG_1(2).jpg", "/p/IMG_1-bearbeitet(1).jpg", False),
        ("/p/IMG_1.MP.jpg", "/p/IMG_1.jpg", False),
        ("/p/IMG_1(1).jpg", "/p/IMG_1.jpg", False),
        ("/p/IMG_1.HEIC", "/p/IMG_1_edited.jpeg", True),
        ("/p/IMG_1.jpg", "/p/IMG_1~2.jpg", True),
        ("/p/PXL_1.MP.jpg", "/p/PXL_1.MP~2.jpg", True),
        ("/p/IMG_1.CR3", "/p/IMG_1-Enhanced-NR.dng", True),
        ("/p/IMG_1.tif", "/p/IMG_1-Edit-2.tif", True),
        ("/p/IMG_1.jpg", "/p/IMG_1_HDR.jpg", True),
        ("/p/IMG_1_HDR.jpg", "/p/IMG_2_HDR.jpg", False),
        ("/p/PXL_1.PORTRAIT-01.COVER.jpg", "/p/PXL_1.PORTRAIT-02.ORIGINAL.jpg", True),
    ],
)
def test_raw_and_jpeg_of_one_shot_are_one_stack_and_so_are_an_edit_and_its_original(
    one: str, other: str, same: bool
) -> None:
    assert same_stack(one, other) is same_stack(other, one) is same


def test_companions_of_a_photo_are_told_by_their_names() -> None:
    beside = ("IMG_1.CR2", "IMG_1.MOV", "IMG_1.xmp", "IMG_1.jpg.xmp", "IMG_1.CR2.xmp", "IMG_1.AAE", "IMG_O1.AAE")
    others = ("IMG_2.xmp", "IMG_1.txt", "IMG_11.MOV", "metadata.json")
    assert companions("IMG_1.jpg", *beside, *others) == sorted({*beside} - {"IMG_1.CR2.xmp"})


@pytest.mark.parametrize(
    ("photo", "companion"),
    [
        ("IMG_1.HEIC", "IMG_1_HEVC.MOV"),
        ("IMG_1.HEIC", "IMG_1_HEIC.MOV"),
        ("IMG_1.JPG", "IMG_1_JPG.MOV"),
        ("IMG_1_HEIC.jpg", "IMG_1_HEIC.MOV"),
        ("PXL_1.MP.jpg", "PXL_1.MP"),
        ("PXL_1.MP.jpg", "PXL_1.mp4"),
        ("PXL_1.MP.jpg", "PXL_1.MP.jpg.supplemental-metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-me.json"),
        ("IMG_1.jpg", "IMG_1.jpg.s.json"),
        ("IMG_1.jpg", "IMG_1.jpg..json"),
        ("IMG_1(1).jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("IMG_1-edited.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1-bearbeitet(1).jpg", "IMG_1.jpg(1).json"),
        (f"{'x' * 47}.jpg", f"{'x' * 46}.json"),
        (f"{'x' * 44}.jpg", f"{'x' * 44}.j.json"),
        (f"{'x' * 40}.jpg", f"{'x' * 40}.jpg.s.json"),
        ("été.jpg", unicodedata.normalize("NFD", "été.jpg.xmp")),
        ("IMG_1.jpg", "img_1.JPG.XMP"),
        ("IMG_1.CR2", "IMG_1.CR2.pp3"),
        ("IMG_1~2.jpg", "IMG_1~2.jpg.supplemental-metadata.json"),
        ("DSC_1.JPG", "DSC_1.WAV"),
        ("IMG_1.CR3", "IMG_1.acr"),
    ],
)
def test_names_of_phones_and_exporters_are_known(photo: str, companion: str) -> None:
    assert companions(photo, companion) == [companion]


@pytest.mark.parametrize(
    ("photo", "other"),
    [
        ("IMG_1.JPG", "IMG_1_HEIC.MOV"),
        ("IMG_1.JPG", "IMG_1_HEVC.MOV"),
        ("IMG_1.jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.sidecar.json"),
        ("IMG_1.jpg", "IMG_10.jpg.json"),
        ("IMG_1.png", "IMG_1.jpg.json"),
        (f"{'x' * 47}.jpg", f"{'x' * 45}.json"),
    ],
)
def test_names_that_are_of_another_photo_do_not_belong(photo: str, other: str) -> None:
    assert companions(photo, other) == []


def test_hosts_are_all_pictures_that_a_companion_belongs_to() -> None:
    there = folders("IMG_1.CR2", "IMG_1.jpg", "IMG_1.xmp", "IMG_2.jpg", "IMG_1.jpg.json", "IMG_1-edited.jpg")
    assert sorted(there.hosts("/p/IMG_1.xmp")) == ["/p/IMG_1-edited.jpg", "/p/IMG_1.CR2", "/p/IMG_1.jpg"]
    assert sorted(there.hosts("/p/IMG_1.jpg.json")) == ["/p/IMG_1-edited.jpg", "/p/IMG_1.jpg"]


def test_each_folder_is_listed_once_and_files_with_numbers_are_not_compared_with_each_other() -> None:
    listed = []
    files = [File(f"/p/Holiday ({n}).jpg", 1, 1, 1, 1, n) for n in range(1000)]

    def files_in(folder: str) -> list[File]:
        listed.append(folder)
        return files

    there = Folders(files_in)
    assert [there.companions(f.path) for f in files] == [[]] * 1000
    assert max(map(len, there._stacks["/p"].values())) == 1
    assert listed == ["/p"]


def test_photos_of_many_files_share_a_stack_if_two_of_them_do() -> None:
    assert share_a_stack(["/a/x.jpg", "/b/IMG_1.JPG"], ["/a/IMG_1.CR2", "/b/IMG_1.CR2"])
    assert share_a_stack(["/a/IMG_E1.jpg"], ["/a/IMG_1.jpg"])
    assert not share_a_stack(["/a/x.jpg", "/b/IMG_1.JPG"], ["/a/IMG_1.CR2", "/c/x.cr2"])
    assert not share_a_stack([], ["/a/IMG_1.CR2"])
