"""Alpha plane as a PNG, the content of a chunk of a stream."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from promptcodec.errors import ShapeError, StreamError
from promptcodec.io.opening import open_header

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def encode_alpha(alpha: np.ndarray) -> bytes:
    """Encode alpha, uint8 (H, W), as a grey PNG: of 1 bit if all values are 0 or 255, else of 8.

    Raises:
        ShapeError: the array is empty, or has another type or shape.
    """
    if alpha.dtype != np.uint8 or alpha.ndim != 2 or alpha.size == 0:
        raise ShapeError(f"alpha is {alpha.dtype} {alpha.shape}; need a non-empty uint8 (H, W)")
    image = Image.fromarray(np.ascontiguousarray(alpha))
    if all(np.isin(row, (0, 255)).all() for row in alpha):
        image = image.convert("1", dither=Image.Dither.NONE)
    output = io.BytesIO()
    image.save(output, "PNG", optimize=True)
    return output.getvalue()


def decode_alpha(data: bytes, *, width: int, height: int) -> np.ndarray:
    """Invert `encode_alpha`; the size is compared before a pixel is decoded.

    Returns:
        Alpha, uint8 (height, width).

    Raises:
        StreamError: the data is no grey PNG of 1 or 8 bits, has another size, or is damaged.
        MemoryError: there is not enough memory.
    """
    try:
        with open_header(io.BytesIO(data), ("PNG",)) as image:
            bits, mode, size = data[24], image.mode, image.size
            fits = (bits, mode) in ((1, "1"), (8, "L")) and size == (width, height)
            if fits:
                image.verify()  # every CRC but the last; the picture is unusable afterwards
                if not data.endswith(_PNG_END):
                    raise ValueError("no end")
        if fits:
            with open_header(io.BytesIO(data), ("PNG",)) as image:
                return np.array(image.convert("L"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many types on damaged files
        raise StreamError("the alpha of this stream is damaged; get a whole copy") from error
    raise StreamError(
        f"the alpha of this stream is {size[0]} x {size[1]} of mode {mode} with {bits} bits; "
        f"need {width} x {height} of grey with 1 or 8 bits: get a whole copy"
    )
