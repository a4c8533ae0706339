"""XMP packets: orientation that they contain, and claims about parts of a file that are gone."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from promptcodec.io.exif import as_orientation, is_sideways

_TIFF, _EXIF = b"http://ns.adobe.com/tiff/1.0/", b"http://ns.adobe.com/exif/1.0/"
# Names of rows and columns, which a turn exchanges.
_PAIRS = (
    (_TIFF, b"ImageWidth", b"ImageLength"),
    (_TIFF, b"XResolution", b"YResolution"),
    (_EXIF, b"PixelXDimension", b"PixelYDimension"),
)
_ANY = rb"[\w.-]+"
# What other parts of the file are announced by: namespace, names of properties, name for people.
_CLAIMS = (
    (b"http://ns.adobe.com/hdr-gain-map/1.0/", _ANY, "gain map"),
    (b"http://ns.apple.com/HDRGainMap/1.0/", _ANY, "gain map"),
    (b"http://ns.apple.com/pixeldatainfo/1.0/", _ANY, "gain map"),
    (b"http://ns.google.com/photos/1.0/camera/", rb"Motion[\w.-]*|MicroVideo[\w.-]*", "video"),
    (b"http://ns.google.com/photos/1.0/container/", _ANY, "container of further pictures"),
    (b"http://ns.google.com/photos/1.0/container/item/", _ANY, "container of further pictures"),
    (b"http://ns.google.com/photos/1.0/image/", _ANY, "further picture"),
    (b"http://ns.google.com/photos/1.0/audio/", _ANY, "sound"),
    (b"http://ns.google.com/photos/1.0/depthmap/", _ANY, "depth map"),
    (b"http://ns.google.com/photos/dd/1.0/device/", _ANY, "depth map"),
    (b"http://ns.adobe.com/xmp/note/", b"HasExtendedXMP", "extended XMP"),
)


def xmp_orientation(xmp: bytes) -> int:
    """Orientation of a packet, 1 to 8; 1 for none."""
    found = _orientation_pattern(xmp).search(xmp)
    return as_orientation(int(found[2][:3])) if found else 1


def upright_xmp(xmp: bytes, orientation: int) -> bytes:
    """Describe the picture after its turn: orientation 1, width and height exchanged.

    Args:
        xmp: packet.
        orientation: what the picture was turned by, 1 to 8.
    """
    xmp = _orientation_pattern(xmp).sub(rb"\g<1>1", xmp)
    if not is_sideways(orientation):
        return xmp
    for namespace, one, other in _PAIRS:
        swapped = {one: other, other: one}
        pattern = rb"\b((?:%s):)(%s|%s)\b" % (_prefixes(xmp, namespace), one, other)
        xmp = re.sub(pattern, lambda found, swapped=swapped: found[1] + swapped[found[2]], xmp)
    return xmp


def without_claims(xmp: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A packet without properties that announce parts of the file which are not coded.

    Returns:
        The packet, empty where it could not be cut, and what it announced.
    """
    found: list[str] = []
    if not any(namespace in xmp for namespace, _, _ in _CLAIMS) or not _is_xml(xmp):
        return xmp, ()
    cut = xmp
    for namespace, names, what in _CLAIMS:
        if namespace not in xmp:
            continue
        name = rb"(?:%s):(?:%s)" % (_prefixes(xmp, namespace), names)
        before = cut
        cut = re.sub(rb"<(%s)(?:\s[^<>]*)?(?<!/)>.*?</\1\s*>" % name, b"", cut, flags=re.DOTALL)
        cut = re.sub(rb"<%s(?:\s[^<>]*)?/>" % name, b"", cut)
        cut = re.sub(rb"\s%s\s*=\s*(?:\"[^\"]*\"|'[^']*')" % name, b"", cut)
        if cut != before and what not in found:
            found.append(what)
    if found and not _is_xml(cut):
        return b"", tuple(found)
    return cut, tuple(found)


def _prefixes(xmp: bytes, namespace: bytes) -> bytes:
    """Pattern of the prefixes that stand for a namespace; the usual one where none is declared."""
    declared = rb"xmlns:([\w.-]+)\s*=\s*[\"']%s[\"']" % re.escape(namespace)
    usual = {_TIFF: b"tiff", _EXIF: b"exif"}.get(namespace, b"[^\\s\\S]")
    return b"|".join(sorted(map(re.escape, set(re.findall(declared, xmp))))) or usual


def _orientation_pattern(xmp: bytes) -> re.Pattern[bytes]:
    prefix = rb"\b(?:%s):" % _prefixes(xmp, _TIFF)
    return re.compile(rb"(%sOrientation(?:\s*=\s*[\"']|(?:\s[^<>]*)?(?<!/)>)\s*)([0-9]+)" % prefix)


def _is_xml(xmp: bytes) -> bool:
    try:
        ElementTree.fromstring(xmp.strip(b"\0"))
    except (ElementTree.ParseError, ValueError):
        return False
    return True
