"""The overlay maps of a ranking as tiles: the shapes that the features summarise."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.bag import BagFeatures
from model.overlays import overlay_marks, overlay_png, rows_shown
from model.ranking import Candidate, Pick, Ranking
from plugin.reports.page import Marks, Section, Tile

MOST_TILES = 120
"""A page of more maps is slow to open; the rest is in the ranking's table."""

Overlays = Mapping[str, NDArray[np.int32]]


def map_section(ranking: Ranking, overlays: Overlays) -> list[Section]:
    """Return the overlay maps in order, cut at one row so that they compare."""
    picks = [pick for pick in ranking.picks if pick.case_id in overlays][:MOST_TILES]
    if not picks:
        return []
    by_id = {candidate.case_id: candidate for candidate in ranking.candidates}
    rows = rows_shown([overlays[pick.case_id] for pick in picks])
    tiles = [
        _tile(pick, by_id[pick.case_id], overlays[pick.case_id], rows) for pick in picks
    ]
    text = (
        "The breast summed over all slices, seen from the feet: anterior on top, "
        "patient right on the left, brighter where more slices hold breast. The arrow "
        "runs from the image's anterior edge to the nearest point, the bar spans the "
        "breast size."
    )
    if len(picks) < len(ranking.picks):
        text += f" Shown are {len(picks)} of {len(ranking.picks)}."
    return [Section("maps", "Overlay maps", text=text, tiles=tiles)]


def _tile(
    pick: Pick, candidate: Candidate, overlay: NDArray[np.int32], rows: int
) -> Tile:
    features = candidate.features
    measures = (
        f"nearest point {features.nearest_point_mm:.0f} mm",
        f"breast size {features.breast_size_mm:.0f} mm",
    )
    return Tile(
        png=overlay_png(overlay, rows=rows),
        width=overlay.shape[1],
        height=rows,
        title=f"{pick.rank}. {pick.case_id}",
        alt=f"Overlay map of {pick.case_id}: {', '.join(measures)}.",
        note="\n".join(measures),
        marks=_marks(overlay, features),
    )


def _marks(overlay: NDArray[np.int32], features: BagFeatures) -> Marks | None:
    found = overlay_marks(overlay, features)
    if found is None:
        return None
    return Marks(
        edge=found.edge_px,
        top=found.nearest_px,
        bottom=found.last_px + 1,
        column=found.column_px,
    )
