"""Small files in every format and variant, written with Pillow where it can and by hand where it cannot."""

import io
import struct
import zlib

import numpy
from PIL import Image

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed_rows(samples, bits):
    """samples: [rows, columns, channels] of unsigned integers -> filter byte 0 and packed samples per row."""
    rows = []
    for row in samples.reshape(samples.shape[0], -1):
        if bits == 16:
            data = row.astype(">u2").tobytes()
        elif bits == 8:
            data = row.astype(numpy.uint8).tobytes()
        else:
            line = "".join(format(int(v), f"0{bits}b") for v in row)
            line += "0" * (-len(line) % 8)
            data = bytes(int(line[i : i + 8], 2) for i in range(0, len(line), 8))
        rows.append(b"\0" + data)
    return b"".join(rows)


def raw_png(samples, bits, colour_type, before_data=b"", interlaced=False):
    """A PNG of samples [height, width, channels], with extra chunks before the data."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    if interlaced:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        rows = b"".join(packed_rows(part, bits) for part in parts if part.size)
    else:
        rows = packed_rows(samples, bits)
    body = chunk(b"IHDR", header) + before_data + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation, big_endian=False):
    if big_endian:
        return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png_files(photo, noise):
    rng = numpy.random.default_rng(11)
    colour = photo(37, 29, 4)
    grey = colour[..., :1]
    yield "grey8.png", raw_png(grey, 8, 0)
    for bits in (1, 2, 4):
        yield f"grey{bits}.png", raw_png(rng.integers(0, 1 << bits, (29, 37, 1)), bits, 0)
    yield "rgb8_interlaced.png", raw_png(colour, 8, 2, interlaced=True)
    yield "grey2_interlaced.png", raw_png(rng.integers(0, 4, (29, 37, 1)), 2, 0, interlaced=True)
    alpha = rng.integers(0, 256, (29, 37, 1))
    alpha[:9] = 0
    alpha[9:14] = 255
    yield "rgba8.png", raw_png(numpy.concatenate([colour, alpha], 2), 8, 6)
    yield "rgba8_interlaced.png", raw_png(numpy.concatenate([colour, alpha], 2), 8, 6, interlaced=True)
    yield "grey_alpha8.png", raw_png(numpy.concatenate([grey, alpha], 2), 8, 4)
    palette = chunk(b"PLTE", rng.integers(0, 256, 48).astype(numpy.uint8).tobytes())
    for bits in (1, 2, 4, 8):
        count = min(1 << bits, 16)
        table = chunk(b"PLTE", rng.integers(0, 256, 3 * count).astype(numpy.uint8).tobytes())
        yield f"palette{bits}.png", raw_png(rng.integers(0, count, (29, 37, 1)), bits, 3, table)
    opacity = chunk(b"tRNS", rng.integers(0, 256, 11).astype(numpy.uint8).tobytes())
    yield "palette4_trns.png", raw_png(rng.integers(0, 16, (29, 37, 1)), 4, 3, palette + opacity)
    few = rng.integers(0, 4, (29, 37, 1)) * 60
    yield "grey8_trns.png", raw_png(few, 8, 0, chunk(b"tRNS", struct.pack(">H", 120)))
    many = rng.integers(0, 3, (29, 37, 3)) * 100
    yield "rgb8_trns.png", raw_png(many, 8, 2, chunk(b"tRNS", struct.pack(">HHH", 100, 0, 200)))
    extra = chunk(b"gAMA", struct.pack(">I", 10000)) + chunk(b"tEXt", b"Title\0x") + chunk(b"pHYs", b"\0\0\0\1\0\0\0\1\0")
    yield "rgb8_gamma.png", raw_png(colour, 8, 2, extra)
    yield "one_pixel.png", raw_png(colour[:1, :1], 8, 2)


def deep_png_files(photo):
    """16-bit samples keep their upper byte. Pillow does so for colour, but clips or loses grey, so
    that the expectation is computed here."""
    rng = numpy.random.default_rng(12)
    colour = rng.integers(0, 65536, (29, 37, 3))
    alpha = rng.integers(0, 65536, (29, 37, 1))
    high = (colour >> 8).astype(numpy.uint8)
    yield "rgb16.png", raw_png(colour, 16, 2), high
    yield "rgb16_interlaced.png", raw_png(colour, 16, 2, interlaced=True), high
    yield "grey16.png", raw_png(colour[..., :1], 16, 0), numpy.repeat(high[..., :1], 3, 2)

    def on_white(rgb):
        ground = Image.new("RGBA", (37, 29), (255, 255, 255, 255))
        ground.alpha_composite(Image.fromarray(numpy.concatenate([rgb, (alpha >> 8).astype(numpy.uint8)], 2)))
        return numpy.asarray(ground.convert("RGB"))

    yield "rgba16.png", raw_png(numpy.concatenate([colour, alpha], 2), 16, 6), on_white(high)
    grey = numpy.repeat(high[..., :1], 3, 2)
    yield "grey_alpha16.png", raw_png(numpy.concatenate([colour[..., :1], alpha], 2), 16, 4), on_white(grey)


def exif_files(photo):
    picture = photo(24, 16, 5)
    image = Image.fromarray(picture)
    for orientation in range(1, 9):
        block = exif(orientation, big_endian=orientation % 2 == 0)
        yield f"exif{orientation}.png", raw_png(picture, 8, 2, chunk(b"eXIf", block))
        yield f"exif{orientation}.jpg", saved(image, "JPEG", quality=90, exif=b"Exif\0\0" + block)
    yield "exif6.webp", saved(image, "WEBP", lossless=True, exif=exif(6))
    # Values and headers without meaning: the picture stays as it is.
    yield "exif9.jpg", saved(image, "JPEG", quality=90, exif=b"Exif\0\0" + exif(9))
    yield "exif0.jpg", saved(image, "JPEG", quality=90, exif=b"Exif\0\0" + exif(0))
    cyclic = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x010E, 2, 4, 0) + struct.pack("<I", 8)
    for name, block in [("cyclic", cyclic), ("garbage", b"\xff" * 40), ("far", b"II*\0\xff\xff\xff\x7f")]:
        data = saved(image, "JPEG", quality=90)
        segment = b"Exif\0\0" + block
        yield f"exif_{name}.jpg", data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def resampled(data, was, now, width, height):
    """Says in the header that the blocks of each MCU lie otherwise: another picture, but a valid file with
    a sampling that Pillow does not write."""
    at = data.index(b"\xff\xc0")
    frame = bytearray(data[at : at + 19])
    assert frame[11] == was[0] << 4 | was[1]
    frame[5:9] = struct.pack(">HH", height, width)
    frame[11] = now[0] << 4 | now[1]
    return data[:at] + bytes(frame) + data[at + 19 :]


def jpeg_files(photo):
    for width, height in [(61, 43), (64, 48), (17, 9)]:
        image = Image.fromarray(photo(width, height, 6))
        size = f"{width}x{height}"
        for name, sampling in [("444", 0), ("422", 1), ("420", 2)]:
            yield f"{name}_{size}.jpg", saved(image, "JPEG", quality=85, subsampling=sampling)
            yield f"{name}_{size}_progressive.jpg", saved(image, "JPEG", quality=75, subsampling=sampling, progressive=True)
        yield f"grey_{size}.jpg", saved(image.convert("L"), "JPEG", quality=80)
    image = Image.fromarray(photo(61, 43, 6))
    yield "grey_progressive.jpg", saved(image.convert("L"), "JPEG", quality=80, progressive=True)
    even = Image.fromarray(photo(64, 48, 6))
    yield "440.jpg", resampled(saved(even, "JPEG", quality=85, subsampling=1), (2, 1), (1, 2), 47, 63)
    yield "411.jpg", resampled(saved(even, "JPEG", quality=85, subsampling=2), (2, 2), (4, 1), 127, 23)
    yield "141.jpg", resampled(saved(even, "JPEG", quality=85, subsampling=2), (2, 2), (1, 4), 31, 95)
    yield "restart.jpg", saved(image, "JPEG", quality=85, restart_marker_blocks=3)
    yield "restart_progressive.jpg", saved(image, "JPEG", quality=85, restart_marker_rows=1, progressive=True)
    yield "rgb.jpg", saved(image, "JPEG", quality=90, keep_rgb=True)
    yield "quality1.jpg", saved(image, "JPEG", quality=1)
    yield "quality100.jpg", saved(image, "JPEG", quality=100, subsampling=0)
    cmyk = Image.merge("CMYK", [Image.fromarray(photo(61, 43, seed)[..., 0]) for seed in (7, 8, 9, 10)])
    yield "cmyk.jpg", saved(cmyk, "JPEG", quality=90)


def other_files(photo):
    picture = photo(37, 29, 13)
    image = Image.fromarray(picture)
    rng = numpy.random.default_rng(14)
    alpha = Image.fromarray(rng.integers(0, 256, (29, 37)).astype(numpy.uint8))
    clear = image.copy()
    clear.putalpha(alpha)
    yield "lossy.webp", saved(image, "WEBP", quality=80)
    yield "lossless.webp", saved(image, "WEBP", lossless=True)
    yield "lossy_alpha.webp", saved(clear, "WEBP", quality=80)
    yield "lossless_alpha.webp", saved(clear, "WEBP", lossless=True)
    second = Image.fromarray(photo(37, 29, 15))
    yield "animated.webp", saved(image, "WEBP", save_all=True, append_images=[second], lossless=True)
    flat = image.quantize(61)
    yield "plain.gif", saved(flat, "GIF")
    yield "interlaced.gif", saved(flat, "GIF", interlace=1)
    yield "transparent.gif", saved(flat, "GIF", transparency=3)
    yield "animated.gif", saved(flat, "GIF", save_all=True, append_images=[second.quantize(32)])
    yield "two_colours.gif", saved(image.convert("1"), "GIF")
    noisy = Image.fromarray(rng.integers(0, 256, (90, 120)).astype(numpy.uint8), "L")
    yield "full_table.gif", saved(noisy, "GIF")
    yield "rgb24.bmp", saved(image, "BMP")
    yield "palette8.bmp", saved(flat, "BMP")
    yield "grey8.bmp", saved(image.convert("L"), "BMP")
    yield "one_bit.bmp", saved(image.convert("1"), "BMP")
    yield "rgba32.bmp", saved(clear, "BMP")
    yield "rgb565.bmp", bmp(rng.integers(0, 1 << 16, (29, 38)), 16, 3, masks=(0xF800, 0x07E0, 0x001F))
    yield "rgb555.bmp", bmp(rng.integers(0, 1 << 15, (29, 37)), 16, 0)
    yield "top_down.bmp", bmp(rng.integers(0, 1 << 24, (29, 37)), 32, 0, top_down=True)


def bmp(pixels, bits, compression, masks=(), top_down=False):
    height, width = pixels.shape
    kind = {16: "<u2", 32: "<u4"}[bits]
    rows = pixels if top_down else pixels[::-1]
    body = b"".join((r.astype(kind).tobytes() + b"\0\0")[: -(-width * bits // 32) * 4] for r in rows)
    mask_bytes = b"".join(struct.pack("<I", mask) for mask in masks)
    start = 54 + len(mask_bytes)
    info = struct.pack("<IiiHHIIiiII", 40, width, -height if top_down else height, 1, bits, compression, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + mask_bytes + body


def rle8_bmp():
    """Runs, literals, a jump and early row ends; expectation by hand."""
    palette = b"".join(bytes([i * 40, 255 - i * 50, i * 20, 0]) for i in range(5))
    data = bytes([3, 1, 0, 3, 2, 3, 4, 0, 0, 0]) + bytes([0, 2, 2, 1, 4, 4, 0, 0]) + bytes([8, 2, 0, 1])
    header = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(data), 0, 0, 5, 0)
    start = 54 + len(palette)
    indices = numpy.zeros((4, 8), int)
    indices[3] = [1, 1, 1, 2, 3, 4, 0, 0]
    indices[1] = [0, 0, 4, 4, 4, 4, 0, 0]
    indices[0] = 2
    colours = numpy.array([[i * 20, 255 - i * 50, i * 40] for i in range(5)], numpy.uint8)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data, colours[indices]


def rle4_bmp():
    palette = b"".join(bytes([i * 10, 255 - i * 15, i * 5, 0]) for i in range(16))
    data = bytes([5, 0x12, 0, 3, 0x34, 0x50, 0, 0]) + bytes([8, 0x9A, 0, 1])
    header = struct.pack("<IiiHHIIiiII", 40, 8, 2, 1, 4, 2, len(data), 0, 0, 16, 0)
    start = 54 + len(palette)
    indices = numpy.array([[9, 10, 9, 10, 9, 10, 9, 10], [1, 2, 1, 2, 1, 3, 4, 5]])
    colours = numpy.array([[i * 5, 255 - i * 15, i * 10] for i in range(16)], numpy.uint8)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data, colours[indices]


def files(photo, noise):
    """All files: dicts of file name, bytes, and the expected pixels where Pillow's own differ."""
    pillow = [png_files(photo, noise), exif_files(photo), jpeg_files(photo), other_files(photo)]
    for group in pillow:
        for name, data in group:
            yield {"file": name, "data_bytes": data}
    for name, data, expected in deep_png_files(photo):
        yield {"file": name, "data_bytes": data, "expected_pixels": expected}
    for name, (data, expected) in [("rle8.bmp", rle8_bmp()), ("rle4.bmp", rle4_bmp())]:
        yield {"file": name, "data_bytes": data, "expected_pixels": expected}
