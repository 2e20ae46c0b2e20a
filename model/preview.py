"""The mask over the image: one small picture that shows a reader what was segmented."""

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageColor

from model.chart import printable
from model.errors import GeometryError

RIGHT_COLOUR, LEFT_COLOUR = "#56b4e9", "#e69f00"
"""Sky blue and orange of Okabe and Ito, told apart in every colour vision."""
BACKGROUND, LETTERING = "#000000", "#f2f2f2"
DPI = 100
TILE_WIDTH_PX, GAP_PX, TITLE_PX = 300, 4, 26
MAX_TITLE = 90
TILE_ASPECT = (0.3, 1.5)
"""Height of a tile over its width; an image beyond it is framed, not stretched."""
MARGIN = 0.12
"""Rows kept before and behind the mask, as a share of the image's rows."""
WINDOW_PERCENTILES = (1.0, 99.7)
LEAST_SHARE = 0.25
"""White is at least this share of the image's brightest tissue."""
GREYS = 32
BLENDS = (0.25, 0.5, 0.75, 1.0)
"""Shares of a contour's colour over the grey below it: its smooth edge."""
BLENDED_GREYS = (0, 85, 170, 255)
FONT_PT = 8.0


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Where the tiles lie on the picture, in px."""

    columns: int
    rows: int
    tile_height_px: int
    title_px: int

    @property
    def width_px(self) -> int:
        return self.columns * (TILE_WIDTH_PX + GAP_PX) - GAP_PX

    @property
    def height_px(self) -> int:
        tiles = self.rows * (self.tile_height_px + GAP_PX) - GAP_PX
        return tiles + self.title_px


def preview_png(
    image: NDArray[np.float32],
    right: NDArray[np.bool_],
    left: NDArray[np.bool_],
    *,
    title: str = "",
    slices: int = 6,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
) -> bytes:
    """Return a PNG of evenly spread slices with thin contours of both breasts.

    ``image`` (post-contrast) and both masks are canonical, (slices, rows, columns);
    ``pixel_mm`` is row and column spacing. Slices run from feet to head over the
    mask's extent, or over the volume when the mask is empty. Patient right is on the
    left. The same arrays give the same bytes.

    Raises
    ------
    GeometryError
        If image and masks differ in shape.
    """
    _check_shapes(image, right, left)
    both = right | left
    indices = spread_slices(both, slices)
    rows = rows_shown(both)
    shape = (rows.stop - rows.start, image.shape[2])
    sheet = _lay_out(len(indices), shape, pixel_mm, title=title)
    figure = _empty_sheet(sheet, title)
    low, high = _window(image[indices], both[indices])
    aspect = pixel_mm[0] / pixel_mm[1]
    for place, index in enumerate(indices):
        axes = _tile(figure, sheet, place)
        plane = np.nan_to_num(image[index, rows])
        axes.imshow(plane, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        contour(axes, right[index, rows], RIGHT_COLOUR)
        contour(axes, left[index, rows], LEFT_COLOUR)
        _letter(axes, 0.03, "R", RIGHT_COLOUR)
        _letter(axes, 0.5, f"slice {index + 1} of {len(image)}", LETTERING)
        _letter(axes, 0.97, "L", LEFT_COLOUR)
    return _compress(figure)


def spread_slices(mask: NDArray[np.bool_], count: int) -> list[int]:
    """Return at most ``count`` slice indices, first and last of the mask included.

    An empty mask spreads them over the whole volume.
    """
    touched = np.flatnonzero(mask.any(axis=(1, 2)))
    first, last = (touched[0], touched[-1]) if touched.size else (0, len(mask) - 1)
    spread = {round(float(at)) for at in np.linspace(first, last, count)}
    return sorted(spread)


def _check_shapes(image: NDArray[np.float32], *masks: NDArray[np.bool_]) -> None:
    if any(mask.shape != image.shape for mask in masks) or 0 in image.shape:
        shapes = " and ".join(str(mask.shape) for mask in masks)
        raise GeometryError(
            "preview",
            found=f"masks of {shapes} beside an image of {image.shape}",
            needed="an image and two masks of one shape, not empty",
            mend="pass all three in canonical order on the source grid",
        )


def rows_shown(mask: NDArray[np.bool_]) -> slice:
    """Rows of the mask in any slice with a margin; all rows when it is empty."""
    height = mask.shape[1]
    touched = np.flatnonzero(mask.any(axis=(0, 2)))
    if not touched.size:
        return slice(0, height)
    margin = round(MARGIN * height)
    return slice(max(0, touched[0] - margin), min(height, touched[-1] + 1 + margin))


def _lay_out(
    tiles: int, shape: tuple[int, int], pixel_mm: tuple[float, float], *, title: str
) -> _Sheet:
    aspect = shape[0] * pixel_mm[0] / (shape[1] * pixel_mm[1])
    columns = tiles if tiles <= 3 else -(-tiles // 2)
    return _Sheet(
        columns=columns,
        rows=-(-tiles // columns),
        tile_height_px=round(TILE_WIDTH_PX * float(np.clip(aspect, *TILE_ASPECT))),
        title_px=TITLE_PX if title else 0,
    )


def _empty_sheet(sheet: _Sheet, title: str) -> Figure:
    size = (sheet.width_px / DPI, sheet.height_px / DPI)
    figure = Figure(figsize=size, dpi=DPI, facecolor=BACKGROUND)
    if title:
        figure.text(
            6 / sheet.width_px,
            1 - sheet.title_px / 2 / sheet.height_px,
            printable(title, limit=MAX_TITLE),
            color=LETTERING,
            fontsize=FONT_PT + 1,
            va="center",
            parse_math=False,
        )
    return figure


def _tile(figure: Figure, sheet: _Sheet, place: int) -> Axes:
    row, column = divmod(place, sheet.columns)
    left_px = column * (TILE_WIDTH_PX + GAP_PX)
    below_px = (sheet.rows - 1 - row) * (sheet.tile_height_px + GAP_PX)
    axes = figure.add_axes(
        (
            left_px / sheet.width_px,
            below_px / sheet.height_px,
            TILE_WIDTH_PX / sheet.width_px,
            sheet.tile_height_px / sheet.height_px,
        )
    )
    axes.set_axis_off()
    return axes


def _window(
    planes: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the values drawn black and white: the breast fills the range.

    An enhancing heart is many times brighter than a breast; a mask that lies in air
    must not turn everything else white.
    """
    low, high = np.nanpercentile(planes, WINDOW_PERCENTILES)
    if inside.any():
        breast = np.nanpercentile(planes[inside], WINDOW_PERCENTILES[1])
        high = max(breast, LEAST_SHARE * high)
    return float(low), float(max(high, low + 1e-6))


def contour(axes: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    """Draw the edge of the mask; a mask at the image's edge is closed there."""
    if not mask.any():
        return
    closed = np.pad(mask, 1).astype(np.float32)
    rows = np.arange(-1, mask.shape[0] + 1)
    columns = np.arange(-1, mask.shape[1] + 1)
    axes.contour(columns, rows, closed, [0.5], colors=[colour], linewidths=[1.1])


def _letter(axes: Axes, x: float, text: str, colour: str) -> None:
    """Write at the foot of a tile, ``x`` from 0 to 1."""
    axes.text(
        x,
        0.04,
        text,
        color=colour,
        fontsize=FONT_PT,
        ha="center",
        va="bottom",
        transform=axes.transAxes,
        bbox={"facecolor": BACKGROUND, "alpha": 0.55, "edgecolor": "none", "pad": 1.5},
    )


def _compress(figure: Figure) -> bytes:
    """Return the sheet as a PNG of few colours, which halves a noisy image."""
    pixels = io.BytesIO()
    figure.savefig(pixels, format="rgba")
    size = (round(figure.bbox.width), round(figure.bbox.height))
    picture = Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")
    out = io.BytesIO()
    few = picture.quantize(palette=_palette(), dither=Image.Dither.NONE)
    few.save(out, "PNG")
    return out.getvalue()


def _palette() -> Image.Image:
    """Return an image that holds the palette: greys, and both colours over greys."""
    colours = [(grey, grey, grey) for grey in np.linspace(0, 255, GREYS).round()]
    for colour in (RIGHT_COLOUR, LEFT_COLOUR):
        rgb = np.array(ImageColor.getrgb(colour))
        colours += [
            tuple((share * rgb + (1 - share) * grey).round())
            for share in BLENDS
            for grey in BLENDED_GREYS
        ]
    holder = Image.new("P", (1, 1))
    holder.putpalette(np.array(colours, np.uint8).tobytes())
    return holder
