"""Colours of decoded pictures brought to L, LA, RGB or RGBA, and the profile that fits them."""

from __future__ import annotations

import io

from PIL import Image

TARGET_MODES = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("LA", "La"), "LA"),
    **dict.fromkeys(("P", "RGB", "RGBX", "YCbCr", "HSV", "CMYK", "LAB"), "RGB"),
    **dict.fromkeys(("PA", "RGBA", "RGBa"), "RGBA"),
}


def to_target(image: Image.Image) -> Image.Image:
    """A picture of one of the keys of `TARGET_MODES` in the mode that it stands for."""
    if image.mode == "CMYK":
        return _cmyk_to_rgb(image)
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return _converted(image, lab, srgb)
    target = TARGET_MODES[image.mode]
    if not target.endswith("A") and image.mode in ("1", "L", "P", "RGB"):
        if image.has_transparency_data:  # a transparent palette entry or colour
            grey = image.convert("L") if image.mode == "1" else image
            return grey.convert(f"{target}A")
    return image if image.mode == target else image.convert(target)


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """To sRGB through the picture's profile; without a usable one by 255 - ink - black.

    Pillow has already undone the inversion with which Adobe writes CMYK into JPEG.
    """
    icc = image.info.get("icc_profile")
    if isinstance(icc, bytes) and icc[16:20] == b"CMYK":
        from PIL import ImageCms

        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            return _converted(image, profile, ImageCms.createProfile("sRGB"))
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile is ignored
    return image.convert("RGB")


def _converted(image: Image.Image, source, target) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        image,
        source,
        target,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # only in-place conversion returns None
    return converted


def kept_profile(image: Image.Image, *, grey: bool) -> bytes | None:
    """The profile if it describes the pixels as they now are; any other would mislead a viewer."""
    icc = image.info.get("icc_profile")
    if image.mode in ("CMYK", "LAB") or not isinstance(icc, bytes) or len(icc) < 128:
        return None
    return icc if icc[16:20] == (b"GRAY" if grey else b"RGB ") else None
