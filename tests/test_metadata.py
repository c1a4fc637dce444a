import io

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from dedup.images.decode import decode
from dedup.types.photo import Picture


def jpeg(*, xmp: bytes | None = None, **tags: object) -> Picture:
    """Return what is read of a JPEG with these tags."""
    exif = Image.Exif()
    for name, value in tags.items():
        if name == "place":
            exif.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitude: (52.0, 30.0, 0.0), GPS.GPSLongitude: (13.0, 0.0, 0.0)})
        elif name == "Rating":
            exif[0x4746] = value
        else:
            exif[Base[name]] = value
    out = io.BytesIO()
    Image.new("RGB", (40, 30)).save(out, "JPEG", exif=exif, **({"xmp": xmp} if xmp else {}))
    return decode(out.getvalue(), side=16)


def test_plain_picture_says_nothing_of_itself() -> None:
    plain = jpeg()
    assert (plain.gps, plain.rating, plain.screenshot) == (False, None, False)


def test_place_is_seen() -> None:
    assert jpeg(place=True).gps


@pytest.mark.parametrize(
    ("xmp", "stars"),
    [(b'<rdf xmp:Rating="4"/>', 4), (b"<xmp:Rating>5</xmp:Rating>", 5), (b'<rdf xmp:Rating="-1"/>', None),
     (b'<rdf xmp:Rating="0"/>', None)],
)  # fmt: skip
def test_rating_is_read_from_xmp(xmp: bytes, stars: int | None) -> None:
    assert jpeg(xmp=xmp).rating == stars


def test_rating_is_read_from_exif() -> None:
    assert jpeg(Rating=3).rating == 3
    assert jpeg(Rating=99).rating is None


def test_screenshot_says_so() -> None:
    assert jpeg(Software="gnome-screenshot").screenshot
    assert jpeg(UserComment=b"ASCII\0\0\0Screenshot").screenshot
    assert not jpeg(Software="Lightroom", UserComment=b"ASCII\0\0\0A day out").screenshot
