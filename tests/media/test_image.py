"""Every kind of picture file gives its pixels, upright; what cannot be used is refused in one sentence."""

import hashlib
import io
import os
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageCms

import vivavoce.media.image
from vivavoce.errors import InputError, OutputError
from vivavoce.media.image import read_photo, write_png
from vivavoce.media.provenance import Provenance, read_provenance


def scene(height=80, width=120):
    """A smooth picture without symmetry, 8 bits a channel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, (x + 2 * y) * 255 / (width + 2 * height)], -1).astype(
        np.uint8
    )


def save(path, pixels, mode=None, **options):
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "tolerance"), [("a.png", 0), ("a.webp", 0), ("a.tif", 0), ("a.bmp", 0), ("a.jpg", 6)]
)
def test_formats_give_the_pixels_that_stand_in_the_file(tmp_path, name, tolerance):
    options = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 97, "subsampling": 0}}.get(name, {})
    path = save(tmp_path / name, scene(), **options)
    photo = read_photo(path)
    assert photo.image.dtype == np.float32
    assert np.abs(photo.image * 255 - scene()).max() <= tolerance + 1e-3
    assert photo.alpha is None
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_tag_is_undone(tmp_path, orientation):
    stored_from_upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", np.ascontiguousarray(stored_from_upright(scene())), exif=exif)
    np.testing.assert_array_equal((read_photo(path).image * 255).round(), scene())


def test_alpha_is_kept_apart_and_opaque_alpha_is_none(tmp_path):
    alpha = np.tile(np.linspace(0, 255, 120).astype(np.uint8), (80, 1))
    photo = read_photo(save(tmp_path / "a.png", np.dstack([scene(), alpha])))
    np.testing.assert_array_equal((photo.alpha * 255).round(), alpha)
    np.testing.assert_array_equal((photo.image * 255).round(), scene())
    opaque = read_photo(save(tmp_path / "b.png", np.dstack([scene(), np.full_like(alpha, 255)])))
    assert opaque.alpha is None


def test_palette_with_a_transparent_entry(tmp_path):
    picture = Image.fromarray(scene()).quantize(16)
    index = np.asarray(picture)
    picture.save(tmp_path / "p.png", transparency=3)
    photo = read_photo(tmp_path / "p.png")
    np.testing.assert_array_equal(photo.alpha == 0, index == 3)
    palette = np.array(picture.getpalette()[: 16 * 3]).reshape(16, 3)
    np.testing.assert_array_equal((photo.image * 255).round(), palette[index])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr"])
def test_other_colour_modes_agree_with_an_rgb_copy(tmp_path, mode):
    suffix = {"CMYK": "tif", "YCbCr": "jpg"}.get(mode, "png")
    path = save(tmp_path / f"m.{suffix}", scene(), mode)
    if mode == "CMYK":
        ink = np.asarray(Image.open(path), float)
        expected = 255 - np.minimum(255, ink[..., :3] + ink[..., 3:])
    else:
        expected = np.asarray(Image.open(path).convert("RGB"), float)
    photo = read_photo(path)
    assert photo.image.shape == (80, 120, 3)
    assert np.abs(photo.image * 255 - expected).max() <= 1.01


def test_sixteen_bit_grey_keeps_its_precision(tmp_path):
    grey = np.linspace(0, 65535, 80 * 120).reshape(80, 120).astype(np.uint16)
    for name in ("g.png", "g.tif"):
        photo = read_photo(save(tmp_path / name, grey))
        np.testing.assert_allclose(photo.image, np.repeat(grey[..., None] / 65535, 3, 2), atol=1e-6)


def test_sixteen_bit_colour(tmp_path):
    rgb = scene().astype(np.uint16) * 257
    write_png16(tmp_path / "c.png", rgb)
    np.testing.assert_allclose(read_photo(tmp_path / "c.png").image, rgb / 65535, atol=1 / 255)


def test_colour_profile_is_applied(tmp_path):
    gamma = np.linspace(0, 1, 256)
    wide = save(tmp_path / "wide.png", scene(), icc_profile=display_p3())
    # Display P3 and sRGB share curve and white; only the primaries differ (SMPTE EG 432-1, IEC 61966-2-1).
    to_xyz_p3 = np.array([[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0, 0.0451, 1.0439]])
    to_xyz_srgb = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    curve = np.where(gamma <= 0.04045, gamma / 12.92, ((gamma + 0.055) / 1.055) ** 2.4)
    linear = curve[scene()] @ (np.linalg.inv(to_xyz_srgb) @ to_xyz_p3).T
    linear = linear.clip(0, 1)
    expected = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    inside = (linear > 0.01).all(-1) & (linear < 0.99).all(-1)
    assert np.abs(read_photo(wide).image - expected)[inside].max() < 0.012
    assert np.abs(scene() / 255 - expected)[inside].max() > 0.04


def test_lab_pictures(tmp_path):
    muted = scene() // 2 + 64  # within the gamut that 8-bit Lab keeps
    srgb, lab = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)) for name in ("sRGB", "LAB"))
    ImageCms.profileToProfile(Image.fromarray(muted), srgb, lab, outputMode="LAB").save(tmp_path / "lab.tif")
    assert np.abs(read_photo(tmp_path / "lab.tif").image * 255 - muted).max() < 10  # Lab of 8 bits is coarse


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 40])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_is_ignored(tmp_path, exif):
    assert read_photo(save(tmp_path / "x.jpg", scene(), exif=exif)).image.shape == (80, 120, 3)


def test_broken_profile_is_ignored(tmp_path):
    path = save(tmp_path / "x.png", scene(), icc_profile=b"no profile at all")
    np.testing.assert_array_equal((read_photo(path).image * 255).round(), scene())


def test_long_strip_loads(tmp_path):
    assert read_photo(save(tmp_path / "strip.png", scene(200, 3000))).image.shape == (200, 3000, 3)


@pytest.mark.parametrize("name", ["huge.jpg", "huge.png"])
def test_a_huge_photo_is_reduced(tmp_path, monkeypatch, name):
    monkeypatch.setattr(vivavoce.media.image, "KEPT_PIXELS", 40_000)
    large = scene(400, 480)
    image = read_photo(save(tmp_path / name, large)).image
    height, width, _ = image.shape
    assert abs(height * width / 40_000 - 1) < 0.01
    assert abs(width / height - 1.2) < 0.01
    y, x = (np.arange(height) + 0.5) * 400 / height, (np.arange(width) + 0.5) * 480 / width
    expected = large[y.astype(int)][:, x.astype(int)]
    assert np.abs(image * 255 - expected)[4:-4, 4:-4].max() < 6


def unreadable(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(scene(600, 800)).save(whole, "JPEG")
    files = {
        "letter.jpg": b"Dear photo, I am a text file.\n" * 40,
        "cut.jpg": whole.getvalue()[: len(whole.getvalue()) // 2],
        "empty.png": b"",
        "header.png": png_header(50_000, 50_000) + png_chunk(b"IDAT", b""),
        "stub.png": png_header(50_000, 50_000),
        "large.png": png_header(13_000, 10_000) + png_chunk(b"IDAT", b""),
        "small.png": png_header(40, 300) + png_chunk(b"IDAT", b""),
        "broken.png": png_header(200, 300) + png_chunk(b"IDAT", b"rubbish"),
        "iphone.heic": b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(64),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    save(tmp_path / "clear.png", np.zeros((80, 80, 4), np.uint8))
    return {
        "clear.png": "fully transparent",
        "letter.jpg": "not a picture",
        "cut.jpg": "damaged or cut off",
        "empty.png": "empty",
        "header.png": "more than 120 million",
        "stub.png": "damaged or cut off",
        "large.png": "13000x10000 pixels: reduce it",
        "small.png": "40x300 pixels",
        "broken.png": "damaged or cut off",
        "iphone.heic": "HEIC",
        "absent.jpg": "There is no photo",
        ".": "folder",
    }


def test_refusals_are_one_sentence_with_the_name(tmp_path):
    for name, message in unreadable(tmp_path).items():
        with pytest.raises(InputError, match=message) as refused:
            read_photo(tmp_path / name)
        assert "\n" not in str(refused.value)
        assert str(tmp_path / name) in str(refused.value)


def test_photo_without_permission(unprivileged):
    path = save(unprivileged / "mine.png", scene())
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read_photo(path)


def test_write_png_round_trip_with_its_record(tmp_path):
    made = Provenance("splat", 7, {"photo": ("me.jpg", "ab" * 32)})
    write_png(tmp_path / "out.png", scene().astype(np.float32) / 255, provenance=made)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), scene())
    assert read_provenance(tmp_path / "out.png") == made
    xmp = ElementTree.fromstring(Image.open(tmp_path / "out.png").text["XML:com.adobe.xmp"])
    assert "trainedAlgorithmicMedia" in str(
        next(e.attrib for e in xmp.iter() if e.tag.endswith("Description"))
    )
    assert os.listdir(tmp_path) == ["out.png"]


def test_write_png_leaves_nothing_when_it_cannot(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    for path, message in {
        tmp_path / "none" / "a.png": "does not exist",
        tmp_path / "a.gif": "known suffix",
        tmp_path / "locked" / "a.png": "Permission denied",
    }.items():
        with pytest.raises(OutputError, match=message):
            write_png(path, scene())
    assert not list(tmp_path.rglob("*.*"))


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head)


def write_png16(path, rgb):
    height, width, _ = rgb.shape
    rows = np.concatenate(
        [np.zeros((height, 1), np.uint8), rgb.astype(">u2").reshape(height, -1).view(np.uint8)], 1
    )
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + png_chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + png_chunk(b"IEND", b"")
    )


def display_p3():
    """A matrix profile (ICC.1:2010, version 2.4) with the P3 primaries adapted to D50 and sRGB's curve."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    gamma = np.linspace(0, 1, 1024)
    curve = np.where(gamma <= 0.04045, gamma / 12.92, ((gamma + 0.055) / 1.055) ** 2.4)
    trc = b"curv" + bytes(4) + struct.pack(">I", 1024) + (curve * 65535).round().astype(">u2").tobytes()
    text = b"Wide\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ " + bytes(4) + fixed(0.5151, 0.2412, -0.0011),
        b"gXYZ": b"XYZ " + bytes(4) + fixed(0.2920, 0.6922, 0.0419),
        b"bXYZ": b"XYZ " + bytes(4) + fixed(0.1571, 0.0666, 0.7841),
        b"rTRC": trc,
        b"gTRC": trc,
        b"bTRC": trc,
    }
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = offset + len(body)
    head = (
        struct.pack(">I", size)
        + bytes(4)
        + b"\x02\x40\0\0"
        + b"mntrRGB XYZ "
        + bytes(12)
        + b"acsp"
        + bytes(28)
    )
    head += fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body
