"""Colour spaces that a file names without a profile: an equivalent one travels along."""

import io
import struct

import numpy as np
import pytest
from picture_files import SRGB, file_bytes, png_chunks
from PIL import Image, ImageCms

from promptcodec.io.load import load_picture

GREEN_P3 = (0.265, 0.690)
P3 = (0.3127, 0.3290, 0.680, 0.320, *GREEN_P3, 0.150, 0.060)
SRGB_XY = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
LEVELS = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))


def gama(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100000 * gamma))


def chrm(xy: tuple[float, ...]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(100000 * each) for each in xy))


def cicp(primaries: int, transfer: int, full: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, full])


def colour() -> Image.Image:
    return Image.merge("RGB", (LEVELS, LEVELS.rotate(90), LEVELS.rotate(180)))


def in_srgb(icc: bytes, image: Image.Image) -> np.ndarray:
    """What a viewer that minds profiles shows."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    shown = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), outputMode="RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=ImageCms.Flags.NOOPTIMIZE,
    )  # fmt: skip
    return np.asarray(shown).astype(int)


def srgb_levels(light: np.ndarray) -> np.ndarray:
    low = light * 12.92
    return 255 * np.where(light <= 0.0031308, low, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 0.3])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_gamma_alone(gamma, mode):
    image = LEVELS.convert(mode)
    loaded = load_picture(png_chunks(image, gama(gamma)))
    assert loaded.grey == (mode == "L") and loaded.notes == ()
    wanted = srgb_levels((np.asarray(LEVELS) / 255) ** (1 / gamma))
    assert np.abs(in_srgb(loaded.icc, image)[:, :, 1] - wanted).max() < 1.5


@pytest.mark.parametrize(
    ("chunks", "white", "green"),
    [
        ((chrm(P3),), 255, GREEN_P3),
        ((chrm(P3), gama(0.5)), 255, GREEN_P3),
        ((cicp(12, 13),), 255, GREEN_P3),
        ((cicp(9, 1),), 255, (0.170, 0.797)),
        ((cicp(9, 13), gama(1.0), (b"sRGB", b"\0")), 255, (0.170, 0.797)),  # cICP goes first
    ],
)
def test_primaries(chunks, white, green):
    loaded = load_picture(png_chunks(colour(), *chunks))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(loaded.icc)).profile
    assert np.allclose(profile.green_primary[1][:2], green, atol=0.03)  # adapted to D50
    pure = Image.new("RGB", (1, 1), (255, 255, 255))
    assert np.abs(in_srgb(loaded.icc, pure) - white).max() <= 1


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        ((b"sRGB", b"\0"),),
        ((b"sRGB", b"\0"), gama(1.0)),
        (gama(0.45455),),
        (gama(0.45455), chrm(SRGB_XY)),
        (cicp(1, 13),),
        (cicp(2, 2),),
    ],
)
def test_srgb_needs_no_profile(chunks):
    loaded = load_picture(png_chunks(colour(), *chunks))
    assert (loaded.icc, loaded.notes) == (None, ())


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        (cicp(9, 16), "PQ"),
        (cicp(9, 18), "HLG"),
        (cicp(77, 13), "primaries 77"),
        (cicp(1, 13, full=0), "narrow range"),
        (chrm((0.3, 0.3, 0.2, 0.0, 0.1, 0.0, 0.3, 0.0)), "makes no sense"),
        (chrm((0.3, 0.3, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6)), "makes no sense"),
    ],
)
def test_what_has_no_profile_is_noted(chunk, says):
    loaded = load_picture(png_chunks(colour(), chunk))
    assert loaded.icc is None and says in " ".join(loaded.notes)


# ITU-T H.273, table 2: green, red, white.
CODED_PRIMARIES = {
    4: ((0.21, 0.71), (0.67, 0.33), (0.310, 0.316)),
    5: ((0.29, 0.60), (0.64, 0.33), (0.3127, 0.3290)),
    6: ((0.310, 0.595), (0.630, 0.340), (0.3127, 0.3290)),
    7: ((0.310, 0.595), (0.630, 0.340), (0.3127, 0.3290)),
    8: ((0.243, 0.692), (0.681, 0.319), (0.310, 0.316)),
    9: ((0.170, 0.797), (0.708, 0.292), (0.3127, 0.3290)),
    11: ((0.265, 0.690), (0.680, 0.320), (0.314, 0.351)),
    12: ((0.265, 0.690), (0.680, 0.320), (0.3127, 0.3290)),
    22: ((0.295, 0.605), (0.630, 0.340), (0.3127, 0.3290)),
}


@pytest.mark.parametrize("code", CODED_PRIMARIES)
def test_every_code_of_primaries(code):
    """The colorants before the adaptation to D50 have the chromaticities of the standard."""
    loaded = load_picture(png_chunks(colour(), cicp(code, 8)))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(loaded.icc)).profile
    back = np.linalg.inv(profile.chromatic_adaptation[0])
    green, red, white = CODED_PRIMARIES[code]
    colorants = [profile.green_colorant[0], profile.red_colorant[0]]
    whole = sum(
        np.array(each[0])
        for each in (profile.red_colorant, profile.green_colorant, profile.blue_colorant)
    )
    for xyz, xy in zip((*colorants, whole), (green, red, white), strict=True):
        x, y, z = back @ np.array(xyz)
        assert np.allclose((x / (x + y + z), y / (x + y + z)), xy, atol=0.002)


# Light of the level 0.5 by ITU-T H.273, table 3.
CODED_LIGHT = {
    1: ((0.5 + 0.099) / 1.099) ** (1 / 0.45),
    2: 0.21404,  # unspecified: sRGB
    4: 0.5**2.2,
    5: 0.5**2.8,
    6: ((0.5 + 0.099) / 1.099) ** (1 / 0.45),
    7: ((0.5 + 0.1115) / 1.1115) ** (1 / 0.45),
    8: 0.5,
    13: 0.21404,
    14: ((0.5 + 0.099) / 1.099) ** (1 / 0.45),
    15: ((0.5 + 0.099) / 1.099) ** (1 / 0.45),
}


@pytest.mark.parametrize("code", CODED_LIGHT)
def test_every_code_of_a_curve(code):
    loaded = load_picture(png_chunks(colour(), cicp(9, code)))  # primaries other than sRGB's
    grey = Image.new("RGB", (1, 1), (128, 128, 128))
    wanted = srgb_levels(np.array(CODED_LIGHT[code])) * 128 / 127.5
    assert np.abs(in_srgb(loaded.icc, grey) - wanted).max() < 2


def test_a_profile_of_the_file_goes_first():
    data = file_bytes(colour(), "PNG", icc_profile=SRGB)
    at = data.index(b"iCCP") - 4
    extra = png_chunks(colour(), gama(1.0))
    chunk = extra[33 : 33 + 16]
    assert load_picture(data[:at] + chunk + data[at:]).icc == SRGB


def test_a_profile_that_does_not_fit_is_noted():
    loaded = load_picture(file_bytes(LEVELS, "PNG", icc_profile=SRGB))
    assert loaded.icc is None
    assert loaded.notes == ("its ICC profile, of RGB, does not fit grey and is left out",)


def test_code_points_of_avif():
    data = file_bytes(colour(), "AVIF")
    at = data.index(b"colrnclx") + 8
    told = data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :]
    assert load_picture(data).icc is None
    profile = ImageCms.ImageCmsProfile(io.BytesIO(load_picture(told).icc)).profile
    assert np.allclose(profile.green_primary[1][:2], GREEN_P3, atol=0.02)


def test_chromaticities_of_tiff():
    tags = Image.Exif()
    tags[318], tags[319] = P3[:2], P3[2:]
    data = file_bytes(colour(), "TIFF", exif=tags)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(load_picture(data).icc)).profile
    assert np.allclose(profile.green_primary[1][:2], GREEN_P3, atol=0.02)


def test_end_points_of_bmp():
    data = file_bytes(colour(), "BMP")
    size = struct.unpack_from("<I", data, 14)[0]
    points = []
    for n in (2, 4, 6):  # X, Y, Z of each channel, as lightness does not matter here
        x, y = P3[n : n + 2]
        points += [round((1 << 30) * each) for each in (x, y, 1 - x - y)]
    extra = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0) + struct.pack(
        "<I9I3I", 0, *points, *[1 << 16] * 3
    )
    header = bytearray(data[:14] + struct.pack("<I", 108) + data[18 : 14 + size] + extra)
    struct.pack_into("<I", header, 10, len(header))
    loaded = load_picture(bytes(header) + data[14 + size :])
    profile = ImageCms.ImageCmsProfile(io.BytesIO(loaded.icc)).profile
    assert profile.green_primary is not None and np.array_equal(loaded.rgb, np.asarray(colour()))


def test_strip_leaves_it_out():
    assert load_picture(png_chunks(colour(), gama(1.0)), strip=True).icc is None
