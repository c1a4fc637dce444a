"""Make a small album to try dedup on: photographs that ship with the package, and edited copies of them."""

from __future__ import annotations

import os
import shutil
from importlib.resources import as_file, files

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.ExifTags import IFD, Base

from dedup.errors import BadUsage, DedupError
from dedup.types.message import Message

PHOTOS = ("coffee", "cat", "astronaut", "rocket", "galaxies", "photographer")  # demo_photos/README.md has their origin


def make_album(folder: str) -> str:
    """Create `folder` with the album and return its folder of photos.

    Four photos have three versions each, two have only one. Raises BadUsage if the folder exists already, DedupError if
    it cannot be written.
    """
    photos = os.path.join(folder, "Photos")
    try:
        os.makedirs(folder)
        _fill(photos)
    except FileExistsError:
        raise BadUsage(
            Message("{path}: already exists; choose another: {command}", path=folder, command="dedup demo FOLDER")
        ) from None
    except OSError as error:
        raise DedupError(
            f"{folder}: cannot be written ({error.strerror}); choose another: dedup demo FOLDER"
        ) from error
    return photos


def photo(name: str) -> Image.Image:
    """Return one of PHOTOS."""
    with as_file(files("dedup.cli") / "demo_photos" / f"{name}.jpg") as path, Image.open(path) as image:
        return image.copy()


def _fill(photos: str) -> None:
    for name in ("Camera", "Backup", "Edited", "Phone"):
        os.makedirs(os.path.join(photos, name))
    images = {name: photo(name) for name in PHOTOS}
    for n, image in enumerate(images.values()):
        _save_as_camera(image, photos, 2107 + 6 * n, day=12 + n)
    shutil.copyfile(os.path.join(photos, "Camera", "IMG_2107.jpg"), os.path.join(photos, "Backup", "coffee.jpg"))
    for path, edited in {
        "Edited/coffee with caption.jpg": captioned(images["coffee"], "Monday again"),
        "Phone/IMG-20240613-WA0004.jpg": images["cat"].resize((400, 266)),
        "Edited/cat cropped.jpg": images["cat"].crop((40, 20, 410, 290)),
        "Edited/astronaut mirrored.jpg": ImageOps.mirror(images["astronaut"]),
        "Edited/astronaut black and white.jpg": images["astronaut"].convert("L"),
        "Backup/rocket thumbnail.jpg": images["rocket"].resize((240, 160)),
        "Phone/Screenshot_20240615-2114.png": screenshot(images["rocket"], "Saturday, 21:10"),
    }.items():
        edited.save(os.path.join(photos, *path.split("/")), quality=40 if "-WA" in path else 88)


def _save_as_camera(image: Image.Image, photos: str, number: int, *, day: int) -> None:
    """Save a picture with the EXIF data that a camera writes."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Dedup", "Demo Camera"
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = f"2024:06:{day} 12:00:{number % 60:02}"
    image.save(os.path.join(photos, "Camera", f"IMG_{number}.jpg"), quality=92, exif=exif)


def captioned(image: Image.Image, text: str) -> Image.Image:
    """Return the picture with text at the bottom."""
    image = image.copy()
    font = ImageFont.load_default(image.height // 11)
    ImageDraw.Draw(image).text((image.width / 2, image.height * 0.9), text, (255, 255, 255), font, anchor="mm",
                               stroke_width=3, stroke_fill=(30, 20, 30))  # fmt: skip
    return image


def screenshot(image: Image.Image, title: str) -> Image.Image:
    """Return a phone's view of the picture: upright, with dark bars above and below that hold text and buttons."""
    width = 400
    height = round(image.height * width / image.width)
    screen = Image.new("RGB", (width, 2 * height), (16, 16, 18))
    screen.paste(image.resize((width, height)), (0, height // 2))
    pen = ImageDraw.Draw(screen)
    pen.text((18, 10), "21:14", (235, 235, 235), ImageFont.load_default(14))
    pen.text((width / 2, height // 4), title, (235, 235, 235), ImageFont.load_default(19), anchor="mm")
    for n in range(4):
        pen.ellipse((68 + 76 * n, height * 1.78, 100 + 76 * n, height * 1.78 + 32), (70, 70, 76))
    return screen
