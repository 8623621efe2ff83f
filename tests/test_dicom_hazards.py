"""Bombs, crashing codecs and hanging files through `prepare`: each costs one file, and no process more than 1 GB.

The public command runs in a process of its own on a folder of hazards and a few good files. Memory is the largest
proportional set size (PSS) of any of its processes, the reading ones and the one that imports torch, sampled every few
hundredths of a second.
"""

import os
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from dicom_files import radiograph, write
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from catalogs.chest_xrays.archives import MAX_BYTES, MAX_PIXELS
from catalogs.chest_xrays.headers import read_header
from catalogs.chest_xrays.streams import stream_size
from catalogs.reading import Refusal

GB = 2**30
GOOD = 5
SECONDS = 12.0  # that reading one file may take here
DEFLATED = "1.2.840.10008.1.2.1.99"
RECIPE = """\
domain = "chest_xrays"
[[catalog]]
name = "hospital"
table = "table.csv"
images = "images"
bands = ["grey"]
[[catalog]]
name = "zipped"
table = "zipped.csv"
images = "images.zip"
bands = ["grey"]
[store]
size = 64
"""
# A codec at fault in all processes of the run, by the height of the image, and less time for each.
FAULTS = {200: "os.abort()", 201: "os._exit(0)", 202: "time.sleep(10**6)"}
AT_FAULT = f"""\
import jpeg_ls, os, time
import catalogs.supervisor
sound = jpeg_ls.decode_pixel_data
def decode(source, *more, **options):
    start = source.index(bytes([255, 247]))
    height = int.from_bytes(source[start + 5 : start + 7], "big")
    {
    "".join(
        f'''if height == {height}: {fault}
    '''
        for height, fault in FAULTS.items()
    )
}
    return sound(source, *more, **options)
jpeg_ls.decode_pixel_data = decode
_, memory = catalogs.supervisor.Limits.__init__.__defaults__
catalogs.supervisor.Limits.__init__.__defaults__ = ({SECONDS}, memory)
"""


def picture(seed: int, shape: tuple[int, int] = (96, 80)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return (800 + 2000 * np.exp(-3 * (x**2 + y**2)) + rng.normal(0, 40, shape)).astype(np.uint16)


def good(path: Path, number: int) -> None:
    write(radiograph(picture(number), 12), path)


def deflated_bomb(path: Path) -> None:
    """Two gigabytes of zeros in two megabytes of file."""
    header = radiograph(picture(0), 12, DEFLATED)
    del header.PixelData
    write(header, path)
    start = path.read_bytes()
    kept = 132 + 12 + int.from_bytes(start[140:144], "little")
    plain = zlib.decompress(start[kept:], -zlib.MAX_WBITS) + b"\xe0\x7f\x10\x00OW\0\0" + b"\xff\xff\xff\x7f"
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    start_of_data = deflater.compress(plain) + deflater.flush(zlib.Z_FULL_FLUSH)
    zeros = deflater.compress(bytes(2**26)) + deflater.flush(zlib.Z_FULL_FLUSH)  # such pieces may follow one another
    path.write_bytes(start[:kept] + start_of_data + 32 * zeros + deflater.flush())


def largest(path: Path, syntax: str = DEFLATED) -> None:
    """As many pixels as are read at all, in a few hundred kilobytes of file."""
    rows = np.zeros((6400, MAX_PIXELS // 6400), np.uint16)
    rows[:20, :20] = 1000
    write(radiograph(rows, 12, syntax), path)


def one_more(path: Path) -> None:
    rows = np.zeros((6400, MAX_PIXELS // 6400 + 1), np.uint16)
    write(radiograph(rows, 12, DEFLATED), path)


def huge_header(path: Path) -> None:
    """Rows and Columns end at 65,535 (US)."""
    write(radiograph(picture(0), 12, Rows=65_535, Columns=65_535), path)


def huge_picture(path: Path) -> None:
    """A PNG of 100,000 x 100,000 pixels by its header."""
    data = bytearray(imagecodecs.png_encode(picture(0)))
    data[16:24] = 2 * (100_000).to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


def many_frames(path: Path) -> None:
    write(radiograph(picture(0), 12, NumberOfFrames=2**31 - 1), path)


def with_stream(path: Path, stream: bytes, syntax: str, shape: tuple[int, int] = (96, 80), bits: int = 12) -> Path:
    dataset = radiograph(np.zeros(shape, np.uint16 if bits > 8 else np.uint8), bits)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    return write(dataset, path)


def jpeg_2000(shape: tuple[int, ...] = (96, 80)) -> bytes:
    values = picture(0) if shape == (96, 80) else np.zeros(shape, np.uint8)
    return bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", planar=len(shape) == 3, numthreads=1))


def jpeg_2000_larger_than_its_header(path: Path) -> None:
    with_stream(path, jpeg_2000((3000, 3000)), JPEG2000Lossless)


def jpeg_2000_of_many_components(path: Path) -> None:
    """Height and width are right; at the largest that is read, decoding it would take four gigabytes."""
    with_stream(path, jpeg_2000((24, 96, 80)), JPEG2000Lossless, bits=8)


def run_lengths_of_a_larger_image(path: Path) -> None:
    dataset = radiograph(picture(0, (400, 400)), 12)
    dataset.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    dataset.Rows, dataset.Columns = 96, 80
    write(dataset, path)


def run_lengths_without_end(path: Path) -> None:
    """Both segments repeat one byte: sixty megabytes of them a megabyte."""
    segment = b"\x81\0" * 2**21
    offsets = [2, 64, 64 + len(segment)] + [0] * 13
    with_stream(path, np.array(offsets, "<u4").tobytes() + 2 * segment, RLELossless)


def jpeg_ls(height: int) -> Callable[[Path], None]:
    def made(path: Path) -> None:
        dataset = radiograph(picture(0, (height, 80)), 12)
        dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
        write(dataset, path)

    return made


# The hazard, and the reason with which its file stands in the quarantine; None: it is read like any other.
HAZARDS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "deflated bomb": (deflated_bomb, "too_large"),
    "the largest image": (largest, None),
    "the largest image, plain": (lambda path: largest(path, "1.2.840.10008.1.2.1"), None),
    "one column more": (one_more, "too_large"),
    "huge header": (huge_header, "too_large"),
    "huge picture": (huge_picture, "too_large"),
    "many frames": (many_frames, "multi_frame"),
    "JPEG 2000 larger than its header": (jpeg_2000_larger_than_its_header, "shape"),
    "JPEG 2000 of many components": (jpeg_2000_of_many_components, "shape"),
    "run lengths of a larger image": (run_lengths_of_a_larger_image, "undecodable"),
    "run lengths without end": (run_lengths_without_end, "undecodable"),
    "JPEG-LS, sound": (jpeg_ls(96), None),
    "codec that aborts": (jpeg_ls(200), "crashed"),
    "codec that exits": (jpeg_ls(201), "crashed"),
    "codec that hangs": (jpeg_ls(202), "timeout"),
    "pipe": (os.mkfifo, "missing"),
}
ZIPPED: dict[str, str | None] = {
    "sound": None,
    "bomb": "too_large",
    "deflated bomb": "too_large",
    "liar": "undecodable",
}


def zipped(path: Path, folder: Path) -> None:
    """Members: a radiograph, a deflated bomb, more zeros after a header than are read, and one that denies its size."""
    good(folder / "sound", 99)
    content = (folder / "sound").read_bytes()
    deflated_bomb(folder / "deflated")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sound.dcm", content)
        archive.write(folder / "deflated", "deflated bomb.dcm")
        for name, size in (("bomb", GB // 4), ("liar", GB // 16)):
            with archive.open(f"{name}.dcm", "w") as member:
                member.write(content[:-2000])
                for _ in range(size // 2**20):
                    member.write(bytes(2**20))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2", 0, data.rindex(b"liar.dcm"))
    data[entry + 24 : entry + 28] = len(content).to_bytes(4, "little")
    path.write_bytes(data)


def members(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def proportional(pid: int) -> int:
    """Bytes of memory of a process, of what it shares with others its part; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def peak_memory(process: "subprocess.Popen[bytes]") -> int:
    """The largest of the process and its descendants, until it ends."""
    most = 0
    while process.poll() is None:
        try:
            most = max(most, *map(proportional, members(process.pid)))
        except OSError:  # one ended between two looks
            continue
        time.sleep(0.02)
    return most


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc")
def test_each_hazard_costs_one_file_and_no_process_more_than_1_gb(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    wanted: dict[str, str | None] = {}
    for number, (name, (make, reason)) in enumerate(HAZARDS.items()):
        wanted[name] = reason
        make(images / f"{number}.dcm")
        if number % 4 == 0:
            wanted[f"good {number}"] = None
            good(images / f"good{number}.dcm", number + 1)
    zipped(tmp_path / "images.zip", tmp_path)
    places = {name: f"{number}.dcm" for number, name in enumerate(HAZARDS)}
    lines = [f"{n},{places.get(name, name.replace(' ', '') + '.dcm')},p{n}" for n, name in enumerate(wanted)]
    (tmp_path / "table.csv").write_text("\n".join(["id,file,patient_id", *lines]))
    lines = [f"z{n},{name}.dcm,q{n}" for n, name in enumerate(ZIPPED)]
    (tmp_path / "zipped.csv").write_text("\n".join(["id,file,patient_id", *lines]))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(AT_FAULT)
    root = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "DOMAINSSL_PRIVATE": str(tmp_path / "private"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "fault"), str(root)]),
    }
    out = tmp_path / "run"
    command = [sys.executable, "-m", "pipelines", "prepare", str(tmp_path / "recipe.toml"), "--out", str(out)]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([*command, "--quiet", "--workers", "1"], env=environment, stdout=said, stderr=said)
        most = peak_memory(process)
    assert process.returncode == 0, (tmp_path / "said").read_text()

    (source,) = (tmp_path / "private" / "sources").iterdir()
    names = pd.read_csv(source).set_index("object_id")["id"]
    stored = pd.concat([pd.read_parquet(path) for path in (out / "store").glob("shard-*.parquet")])
    stored = stored[stored["offset"] >= 0]
    quarantine = pd.read_csv(out / "quarantine.csv")
    found = {names[name]: None for name in stored["object_id"]}
    found |= {names[name]: reason for name, reason in zip(quarantine["object_id"], quarantine["reason"], strict=True)}
    expected = {str(n): reason for n, reason in enumerate(wanted.values())}
    expected |= {f"z{n}": reason for n, reason in enumerate(ZIPPED.values())}
    assert found == expected, dict(enumerate(wanted))
    assert len(stored) + len(quarantine) == len(expected)
    assert most < GB, f"{most / GB:.2f} GB"


def in_jp2(stream: bytes, *boxes: bytes) -> bytes:
    """A JPEG 2000 codestream as JP2 files have it, after some boxes."""

    def box(kind: bytes, content: bytes) -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    signature = box(b"jP  ", b"\r\n\x87\n")
    return signature + b"".join(box(boxed[:4], boxed[4:]) for boxed in boxes) + box(b"jp2c", stream)


SIZ = b"\xff\x4f\xff\x51"


@pytest.mark.parametrize(
    ("boxes", "size"),
    [
        ((b"ftypjp2 \0\0\0\0jp2 ",), (96, 80, 1)),
        ((b"uuid" + bytes(10_000),), (96, 80, 1)),  # long before the codestream
        ((b"uuid" + SIZ + bytes(40),), (96, 80, 1)),  # a codestream's first bytes in another box
        ((b"jp2h" + bytes(4) + b"pclr\0\x02\x03\x07\x07\x07",), (96, 80, 3)),  # a palette of three colours
    ],
)
def test_the_size_of_a_jpeg_2000_stream_is_that_of_its_codestream(
    boxes: tuple[bytes, ...], size: tuple[int, int, int], tmp_path: Path
) -> None:
    stream = in_jp2(jpeg_2000(), *boxes)
    assert stream_size(stream) == size
    answer = read_header(with_stream(tmp_path / "a.dcm", stream, JPEG2000Lossless))
    assert (answer.reason if isinstance(answer, Refusal) else None) == (None if size[2] == 1 else "shape")


def test_a_stream_that_does_not_say_its_size_is_not_decoded(tmp_path: Path) -> None:
    lossless = bytes(imagecodecs.jpeg8_encode(picture(0), lossless=True, bitspersample=12))
    dataset = radiograph(picture(0), 12)
    dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
    jpeg_ls_stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    for stream, syntax in (
        (lossless[:2] + b"\0" + lossless[2:], JPEGLosslessSV1),  # libjpeg passes over bytes between segments
        (b"\0" + jpeg_2000(), JPEG2000Lossless),
        (in_jp2(jpeg_2000())[:12], JPEG2000Lossless),
        (b"\0" + jpeg_ls_stream, JPEGLSLossless),
    ):
        assert stream_size(stream) is None
        answer = read_header(with_stream(tmp_path / "a.dcm", stream, syntax))
        assert answer == Refusal("undecodable", "the compressed image does not say how large it is")
    start = jpeg_ls_stream.index(b"\xff\xf7")
    without = jpeg_ls_stream[: start + 5] + bytes(2) + jpeg_ls_stream[start + 7 :]  # a later segment may give it
    answer = read_header(with_stream(tmp_path / "a.dcm", without, JPEGLSLossless))
    assert answer == Refusal("shape", "the compressed image has 0 x 80 pixels, the header 96 x 80")
    for stream, syntax in (
        (lossless, JPEGLosslessSV1),
        (jpeg_2000(), JPEG2000Lossless),
        (jpeg_ls_stream, JPEGLSLossless),
    ):
        assert not isinstance(read_header(with_stream(tmp_path / "a.dcm", stream, syntax)), Refusal)


def test_the_limits_leave_room_for_every_detector() -> None:
    """43 x 43 cm at 0.07 mm, the finest that are sold; and no more than 16 bits of all that fit into a file."""
    assert MAX_PIXELS > (430 / 0.07) ** 2
    assert 2 * MAX_PIXELS < MAX_BYTES < 0.2 * GB
