"""The picture that stands for a Space where a page links to it: 1200 by 630 pixels, as Open Graph consumers crop."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

WIDTH, HEIGHT = 1200, 630
MARGIN = 90
COLORS = {
    "red": ("#f6a5a0", "#d9655f"), "yellow": ("#f5db8b", "#dcb13d"), "green": ("#a5dcb2", "#55ab70"),
    "blue": ("#a3c8f2", "#5a93d6"), "indigo": ("#b3b4f3", "#7577d9"), "purple": ("#d3b3f0", "#a474d6"),
    "pink": ("#f5b3d3", "#d977a8"), "gray": ("#cdc9c4", "#99938c"),
}  # fmt: skip
"""The card's colours, from and to, as static/portico.css has them."""
INK, SOFT_INK = "#1f1b18", "#3f3832"
TITLE_LINES, TEXT_LINES = 2, 3
MAX_CHARACTERS = 300


@lru_cache(maxsize=128)
def preview(title: str, slug: str, description: str, color_from: str, color_to: str) -> bytes:
    """Return the picture as a PNG.

    Args:
        title, slug, description: what it says; what does not fit is cut.
        color_from, color_to: names of the card's colours; grey for one that is none.
    """
    start = COLORS.get(color_from, COLORS["gray"])[0]
    end = COLORS.get(color_to, COLORS["gray"])[1]
    image = _gradient(start, end)
    draw = ImageDraw.Draw(image)
    y = float(MARGIN)
    y = _write(draw, y, title, _font(76, bold=True), ink=INK, most=TITLE_LINES)
    _write(draw, y + 24, description, _font(38), ink=SOFT_INK, most=TEXT_LINES)
    _write(draw, HEIGHT - MARGIN - 40, slug, _font(36, bold=True), ink=INK, most=1)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _gradient(start: str, end: str) -> Image.Image:
    """From the upper left corner to the lower right one."""
    down = Image.linear_gradient("L")
    mask = ImageChops.add(down, down.transpose(Image.Transpose.ROTATE_90), scale=2).resize((WIDTH, HEIGHT))
    return Image.composite(Image.new("RGB", (WIDTH, HEIGHT), end), Image.new("RGB", (WIDTH, HEIGHT), start), mask)


@lru_cache(maxsize=8)
def _font(size: int, *, bold: bool = False) -> Font:
    """A font of the system that has many scripts, or else Pillow's own."""
    try:
        return ImageFont.truetype("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def _write(draw: ImageDraw.ImageDraw, y: float, text: str, font: Font, *, ink: str, most: int) -> float:
    """Write at most so many lines from `y` on; returns where they end."""
    for line in _lines(draw, text, font, most):
        draw.text((MARGIN, y), line, fill=ink, font=font)
        box = draw.textbbox((0, 0), "Ag", font=font)
        y += (box[3] - box[1]) * 1.45
    return y


def _lines(draw: ImageDraw.ImageDraw, text: str, font: Font, most: int) -> list[str]:
    words, lines = " ".join(text.split())[:MAX_CHARACTERS].split(" "), [""]
    width = WIDTH - 2 * MARGIN
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or draw.textlength(longer, font=font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    is_cut = len(lines) > most
    lines = lines[:most]
    if is_cut:
        lines[-1] += " …"
    return [_fitting(draw, line, font, width) for line in lines]


def _fitting(draw: ImageDraw.ImageDraw, line: str, font: Font, width: int) -> str:
    if draw.textlength(line, font=font) <= width:
        return line
    while line and draw.textlength(f"{line}…", font=font) > width:
        line = line[:-1]
    return f"{line.rstrip()}…"
