"""Endings of file names that are taken for pictures or streams."""

STREAM_SUFFIXES = (".pc",)
PICTURE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".j2k", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".qoi", ".tif", ".tiff", ".webp",
)  # fmt: skip
