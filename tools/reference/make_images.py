#!/usr/bin/env python3
"""Small pictures in every flavour, and the pixels that Pillow reads from them: tests/golden/images/ and fuzz seeds.

NAME.EXT is the file; NAME.EXT.rgba holds width and height (u32 little endian), then RGBA bytes.
"""
import pathlib
import shutil
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

root = pathlib.Path(__file__).resolve().parents[2]
out = root / "tests/golden/images"
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)
W, H = 13, 9
y, x = np.mgrid[0:H, 0:W]
rgb = np.stack([x * 19, y * 28, (x + y) * 11], -1).astype(np.uint8)
alpha = np.clip(x * 30 - y * 10, 0, 255).astype(np.uint8)
color = Image.fromarray(rgb)
rgba = Image.fromarray(np.dstack([rgb, alpha]))


def expect(name, image):
    image = image.convert("RGBA")
    (out / f"{name}.rgba").write_bytes(struct.pack("<II", *image.size) + image.tobytes())


def save(name, image, want=None, **options):
    image.save(out / name, **options)
    expect(name, want if want is not None else Image.open(out / name))


save("rgb.png", color)
save("rgba.png", rgba)
save("gray.png", color.convert("L"))
save("gray-alpha.png", rgba.convert("LA"))
save("bits1.png", color.convert("1"))
save("palette.png", color.quantize(7))
save("palette-alpha.png", color.quantize(5), transparency=2)
wide = Image.fromarray((rgb[..., 0].astype(np.uint16) * 257))
save("gray16.png", wide, want=Image.fromarray(rgb[..., 0]))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced():
    """Adam7 by hand: Pillow reads it and does not write it."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x0, y0, dx, dy in passes:
        part = rgb[y0::dy, x0::dx]
        raw += b"".join(b"\0" + row.tobytes() for row in part) if part.shape[1] else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 8, 2, 0, 0, 1))
            + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


(out / "interlaced.png").write_bytes(interlaced())
expect("interlaced.png", color)

save("rgb.jpg", color, quality=92)
save("gray.jpg", color.convert("L"), quality=92)
save("progressive.jpg", color, quality=92, progressive=True)
save("sub420.jpg", color, quality=92, subsampling=2)
save("cmyk.jpg", color.convert("CMYK"), quality=95)


def turned(name, image, **options):
    image.save(out / name, **options)
    expect(name, ImageOps.exif_transpose(Image.open(out / name)))


def exif(k, endian=None):
    e = Image.Exif()
    e.endian = endian or e.endian
    e[0x0112] = k
    return e


for k in (3, 5, 6, 7, 8):
    turned(f"turned{k}.jpg", color, quality=92, exif=exif(k))
for k in range(1, 9):
    turned(f"turned{k}.png", rgba, exif=exif(k))
    turned(f"turned{k}.webp", rgba, exif=exif(k), lossless=True, exact=True)
turned("turned6-little-endian.png", color, exif=exif(6, "<"))
turned("turned6-bare-lossless.webp", color, exif=exif(6).tobytes()[6:], lossless=True)
turned("turned9.png", color, exif=exif(9))

# Where there is no EXIF: XMP, and the text that ImageMagick writes.
XMP = ('<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
       'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>')
turned("turned8-xmp.jpg", color, quality=92, xmp=(XMP % 8).encode())
turned("turned7-xmp-lossless.webp", color, lossless=True, xmp=(XMP % 7).encode())
for packed in (False, True):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP % 5, zip=packed)
    turned(f"turned5-xmp{'-deflated' if packed else ''}.png", color, pnginfo=info)
    info = PngImagePlugin.PngInfo()
    block = exif(8).tobytes()
    digits = block.hex()
    lines = "\n".join(digits[i:i + 72] for i in range(0, len(digits), 72))
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{lines}\n", zip=packed)
    turned(f"turned8-raw{'-deflated' if packed else ''}.png", color, pnginfo=info)

save("lossless.webp", rgba, lossless=True, exact=True)
save("lossy.webp", color, quality=90)
save("lossy-alpha.webp", rgba, quality=90)
color.save(out / "animated.webp", save_all=True, append_images=[color.rotate(180)], lossless=True)

corpus = root / "tests/fuzz/corpus/image_file"
shutil.rmtree(corpus, ignore_errors=True)
corpus.mkdir(parents=True)
for f in out.iterdir():
    if f.suffix != ".rgba":
        shutil.copy(f, corpus / f.name)
