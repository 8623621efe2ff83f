"""The size a compressed image gives itself: decoders allocate by it, whatever the DICOM header says."""

_J2K_START = b"\xff\x4f\xff\x51"  # SOC and SIZ, ISO/IEC 15444-1 A.4.1 and A.5.1
_JP2_START = b"\0\0\0\x0cjP  "  # the signature box, ISO/IEC 15444-1 I.5.1; the codestream follows after some boxes
_JP2_BOXES = 4096
# Start-of-frame markers of JPEG (ISO/IEC 10918-1 table B.1) and JPEG-LS (ISO/IEC 14495-1 table C.1).
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def stream_size(stream: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 stream declares; None for others and for damaged ones."""
    if stream.startswith(b"\xff\xd8"):
        return _jpeg_size(stream)
    if not stream.startswith((_J2K_START, _JP2_START)):  # these four bytes occur by chance in run-length streams
        return None
    start = stream.find(_J2K_START, 0, _JP2_BOXES)
    siz = stream[start + 8 : start + 24] if start >= 0 else b""
    if len(siz) < 16:
        return None
    right, bottom, left, top = (int.from_bytes(siz[n : n + 4], "big") for n in (0, 4, 8, 12))
    return bottom - top, right - left


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(stream) and stream[position] == 0xFF:
        marker, segment = stream[position + 1], stream[position + 2 : position + 9]
        if marker == 0xFF:  # fill bytes may precede any marker
            position += 1
        elif marker in _FRAMES:
            height = int.from_bytes(segment[3:5], "big")
            # A height of 0 is given after the first scan (DNL), where it cannot be had without decoding.
            return (height, int.from_bytes(segment[5:7], "big")) if height else None
        else:
            position += 2 + int.from_bytes(segment[:2], "big")
    return None
