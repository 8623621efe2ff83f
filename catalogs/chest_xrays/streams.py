"""The size a compressed image gives itself: decoders allocate by it, whatever the DICOM header says."""

_J2K_START = b"\xff\x4f\xff\x51"  # SOC and SIZ, ISO/IEC 15444-1 A.4.1 and A.5.1
_JP2_START = b"\0\0\0\x0cjP  "  # the signature box, ISO/IEC 15444-1 I.5.1; the codestream follows after some boxes
# Start-of-frame markers of JPEG (ISO/IEC 10918-1 table B.1) and JPEG-LS (ISO/IEC 14495-1 table C.1).
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def stream_size(stream: bytes) -> tuple[int, int, int] | None:
    """Height, width and components that a JPEG, JPEG-LS or JPEG 2000 stream declares; None for others and for damaged
    ones. A height of 0 (JPEG may give it after the first scan) is given as 0."""
    if stream.startswith(b"\xff\xd8"):
        return _jpeg_size(stream)
    # Not looked for elsewhere: these four bytes occur by chance in run-length streams.
    start = _codestream(stream) if stream.startswith(_JP2_START) else 0
    siz = stream[start + 8 : start + 42]
    if not stream.startswith(_J2K_START, start) or len(siz) < 34:
        return None
    right, bottom, left, top = (int.from_bytes(siz[n : n + 4], "big") for n in (0, 4, 8, 12))
    palette = stream.find(b"pclr", 0, start)  # makes several components of one, ISO/IEC 15444-1 I.5.3.4
    return bottom - top, right - left, max(int.from_bytes(siz[32:], "big"), stream[palette + 6] if palette >= 0 else 0)


def _codestream(stream: bytes) -> int:
    """Where the codestream's box has its content (ISO/IEC 15444-1 I.4); the stream's length where there is none."""
    position = 0
    while position + 16 <= len(stream):
        length, kind = int.from_bytes(stream[position : position + 4], "big"), stream[position + 4 : position + 8]
        extended = length == 1
        if kind == b"jp2c":
            return position + (16 if extended else 8)
        if extended:
            length = int.from_bytes(stream[position + 8 : position + 16], "big")
        if length < 8:
            break
        position += length
    return len(stream)


def _jpeg_size(stream: bytes) -> tuple[int, int, int] | None:
    position = 2
    while position + 10 <= len(stream) and stream[position] == 0xFF:
        marker, segment = stream[position + 1], stream[position + 2 : position + 10]
        if marker == 0xFF:  # fill bytes may precede any marker
            position += 1
        elif marker in _FRAMES:
            return int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[5:7], "big"), segment[7]
        else:
            position += 2 + int.from_bytes(segment[:2], "big")
    return None
