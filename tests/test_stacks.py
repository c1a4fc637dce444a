import pytest

from dedup.files.stacks import Folders, same_stack, share_a_stack
from dedup.types.photo import File


def names(photo: str, *beside: str) -> list[str]:
    files = [File(f"/p/{name}", 1, 1, 1, 1, n) for n, name in enumerate((photo, *beside))]
    return [f.path[3:] for f in Folders(lambda folder: files).companions(f"/p/{photo}")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/p/IMG_1.CR2", "/p/img_1.jpg", True),
        ("/p/IMG_1.CR2", "/q/IMG_1.JPG", False),
        ("/p/IMG_1.CR2", "/p/IMG_2.JPG", False),
        ("/p/IMG_1.HEIC", "/p/IMG_1.JPG", False),
        ("/p/IMG_1.HEIC", "/p/IMG_E1.HEIC", True),
        ("/p/IMG_1.NEF", "/p/IMG_1.DNG", False),
    ],
)
def test_raw_and_jpeg_of_one_shot_are_one_stack(one: str, other: str, same: bool) -> None:
    assert same_stack(one, other) is same_stack(other, one) is same


def test_what_belongs_to_a_photo_is_told_by_its_name() -> None:
    beside = ("IMG_1.CR2", "IMG_1.MOV", "IMG_1.xmp", "IMG_1.jpg.xmp", "IMG_1.CR2.xmp", "IMG_1.AAE", "IMG_O1.AAE")
    others = ("IMG_2.xmp", "IMG_1.txt", "IMG_11.MOV")
    assert names("IMG_1.jpg", *beside, *others) == sorted({*beside} - {"IMG_1.CR2.xmp"})


def test_pictures_of_many_files_are_one_shot_if_two_of_them_are() -> None:
    assert share_a_stack(["/a/x.jpg", "/b/IMG_1.JPG"], ["/a/IMG_1.CR2", "/b/IMG_1.CR2"])
    assert share_a_stack(["/a/IMG_E1.jpg"], ["/a/IMG_1.jpg"])
    assert not share_a_stack(["/a/x.jpg", "/b/IMG_1.JPG"], ["/a/IMG_1.CR2", "/c/x.cr2"])
    assert not share_a_stack([], ["/a/IMG_1.CR2"])
