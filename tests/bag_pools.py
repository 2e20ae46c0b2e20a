"""Feature tables to rank: single candidates, and pools spread as in the paper."""

from dataclasses import replace

import numpy as np

from model.bag import BagFeatures, TouchRule
from model.ranking import Candidate, Evidence

MM_PER_PX = 1.25


def features(
    nearest_point_mm: float, breast_size_mm: float, *, confidence: float = 0.9
) -> BagFeatures:
    nearest_px = round(nearest_point_mm / MM_PER_PX)
    size_px = round(breast_size_mm / MM_PER_PX)
    return BagFeatures(
        nearest_point_mm=nearest_point_mm,
        nearest_point_px=nearest_px,
        nearest_column_px=80,
        nearest_column_mm=80 * MM_PER_PX,
        origin_distance_mm=float(np.hypot(nearest_point_mm, 80 * MM_PER_PX)),
        breast_size_px=size_px,
        breast_size_mm=breast_size_mm,
        sternal_size_px=None,
        sternal_size_mm=None,
        area_px=size_px * 200,
        area_mm2=size_px * 200 * MM_PER_PX**2,
        volume_ml=1234.5678,
        right_ml=617.0,
        left_ml=617.5678,
        source="boundary",
        confidence=confidence,
        rule=TouchRule(),
        grid_px=256,
        mm_per_px=MM_PER_PX,
    )


def candidate(
    case_id: str,
    nearest_point_mm: float,
    breast_size_mm: float,
    *,
    patient_key: str | None = None,
) -> Candidate:
    return Candidate(
        case_id, patient_key or case_id, features(nearest_point_mm, breast_size_mm)
    )


def evidence(
    disagreement: float,
    *,
    entropy: float | None = None,
    embedding: tuple[float, ...] = (),
) -> Evidence:
    return Evidence(disagreement, entropy, embedding, 2, ("c0ffee",))


def seen(pool: list[Candidate], *, seed: int = 0) -> list[Candidate]:
    """Return the pool as if a checkpoint had looked at it; the order plays no part."""
    rng = np.random.default_rng(seed)
    looks = {
        case_id: evidence(
            float(rng.random()), entropy=float(rng.random()), embedding=(a, b, c)
        )
        for case_id in sorted(candidate.case_id for candidate in pool)
        for a, b, c in [rng.normal(size=3).tolist()]
    }
    return [replace(one, evidence=looks[one.case_id]) for one in pool]


def paper_pool(seed: int, *, patients: int = 59, sessions: int = 1) -> list[Candidate]:
    """Spread as the paper's Figure 4: a fifth near the edge, sizes about 120 px."""
    rng = np.random.default_rng(seed)
    near = rng.random(patients) < 0.2
    nearest = np.where(
        near, rng.uniform(0, 12, patients), rng.normal(55, 14, patients).clip(15)
    )
    tails = rng.random(patients) < 0.15
    size = rng.normal(150, np.where(tails, 45, 12), patients).clip(30)
    return [
        candidate(
            f"case{at:05d}-{session}",
            float(nearest[at]) + session,
            float(size[at]) - 2 * session,
            patient_key=f"patient{at:05d}",
        )
        for at in range(patients)
        for session in range(sessions)
    ]
