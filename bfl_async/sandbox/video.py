"""The video behind a sandbox result: one picture, shown for as long as the video lasts.

An MP4 file of the plainest kind (ISO/IEC 14496-12 and -14): one track, one sample, which is a JPEG image.
Players know it as motion JPEG; its object type is registered as 0x6C.
"""

import struct

_TICKS_PER_S = 1000  # of both clocks, the film's and the track's
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)  # neither turned nor scaled
_JPEG_OBJECT_TYPE = 0x6C


def make_mp4(jpeg: bytes, *, width: int, height: int, seconds: float) -> bytes:
    """Wrap one JPEG image into a video.

    Args:
        jpeg: The image's file.
        width: Pixels, as in the image.
        height: Pixels, as in the image.
        seconds: How long it is shown.
    """
    ticks = round(seconds * _TICKS_PER_S)
    head = _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isom", b"mp41")
    # The sample table says where in the file the image begins, which is behind the table itself: measured
    # once with any offset, then written with the right one.
    offset = len(head) + len(_film(0, len(jpeg), width, height, ticks)) + 8
    return head + _film(offset, len(jpeg), width, height, ticks) + _box(b"mdat", jpeg)


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full_box(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)  # version 0, 24 bits of flags


def _film(offset: int, size: int, width: int, height: int, ticks: int) -> bytes:
    never = struct.pack(">II", 0, 0)  # created, modified
    film_head = _full_box(
        b"mvhd",
        never,
        struct.pack(">IIiH10x", _TICKS_PER_S, ticks, 0x10000, 0x100),
        _MATRIX,
        struct.pack(">24xI", 2),  # the number of the next track
    )
    track_head = _full_box(
        b"tkhd",
        never,
        struct.pack(">I4xI16x", 1, ticks),
        _MATRIX,
        struct.pack(">II", width << 16, height << 16),
        flags=3,  # enabled, part of the film
    )
    media_head = _full_box(b"mdhd", never, struct.pack(">IIHH", _TICKS_PER_S, ticks, 0x55C4, 0))  # "und"
    handler = _full_box(b"hdlr", struct.pack(">4x4s12x", b"vide"), b"video\0")
    here = _full_box(b"dref", struct.pack(">I", 1), _full_box(b"url ", flags=1))  # in this very file
    table = _box(
        b"stbl",
        _full_box(b"stsd", struct.pack(">I", 1), _sample_entry(size, width, height, ticks)),
        _full_box(b"stts", struct.pack(">III", 1, 1, ticks)),  # one sample lasts this long
        _full_box(b"stsc", struct.pack(">IIII", 1, 1, 1, 1)),  # one sample in the one chunk
        _full_box(b"stsz", struct.pack(">III", 0, 1, size)),
        _full_box(b"stco", struct.pack(">II", 1, offset)),
    )
    information = _box(b"minf", _full_box(b"vmhd", bytes(8), flags=1), _box(b"dinf", here), table)
    media = _box(b"mdia", media_head, handler, information)
    return _box(b"moov", film_head, _box(b"trak", track_head, media))


def _sample_entry(size: int, width: int, height: int, ticks: int) -> bytes:
    bits_per_s = min(0xFFFFFFFF, size * 8 * _TICKS_PER_S // max(1, ticks))
    decoder = struct.pack(
        ">BB3sII", _JPEG_OBJECT_TYPE, 0x11, size.to_bytes(4, "big")[1:], bits_per_s, bits_per_s
    )
    stream = _descriptor(3, struct.pack(">HB", 1, 0), _descriptor(4, decoder), _descriptor(6, b"\x02"))
    return _box(
        b"mp4v",
        struct.pack(">6xH16xHHII4xH32xHh", 1, width, height, 72 << 16, 72 << 16, 1, 24, -1),
        _full_box(b"esds", stream),
    )


def _descriptor(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes((tag, len(content))) + content  # all of ours are shorter than 128 bytes
