"""Rounds of active learning by hand: two sessions asked for, two only tested on."""

from bag_pools import candidate

from model.active_learning import (
    Delivered,
    LearnedMask,
    OnTest,
    Opening,
    RoundRecord,
)
from model.advice import GO_ON, Advice
from model.carbon import footprint
from model.effort import ASSUMED, Effort, Minutes, Pace
from model.selection import rank

RANKING = rank(
    [candidate(f"s{at}", 10.0 * at, 80.0 + at) for at in range(1, 7)],
    strategy="bag",
    seed=0,
)
SPENT = footprint(
    3.6e6, duration_s=60.0, method="test", coverage=1.0, devices=("test",)
)
ASKED = tuple(pick.case_id for pick in RANKING.picks[:2])


def opening(number: int = 1) -> Opening:
    return Opening(number, ASKED, ("t1", "t2"), ("t1", "t1b", "t2"), RANKING, SPENT)


ROUND = RoundRecord(
    number=1,
    version="0.1.0",
    closed_at="2026-01-31T12:00:00+00:00",
    asked=ASKED,
    without=(),
    masks=(
        LearnedMask(
            session=ASKED[0],
            patient_key="p1",
            uid="1.2.3",
            state="human",
            effort=Effort(10, 900.0, 300.0, 0.9),
            draft_weights_sha256="ab" * 32,
        ),
        LearnedMask(
            session="s9",
            patient_key="p9",
            uid="1.2.4",
            state="model-approved",
            reviewer_role="radiologist",
            reviewed_at="2026-01-30T12:00:00+00:00",
        ),
    ),
    test=("t1", "t2"),
    patients=6,
    checkpoint_sha256="cd" * 32,
    start_sha256="",
    validation_dice=0.8,
    tested=OnTest(0.85, {"t1": 0.9, "t2": 0.8}, 0.8, 4.5, {}),
    delivered=Delivered(("s3",), ("s4",), ("s5",), {"s6": "unreadable"}),
    footprints={"training": SPENT, "total": SPENT},
    minutes=Minutes(20.0, 12.0, Pace(0.0, 0.02, ASSUMED, 0)),
    advice=Advice(GO_ON, "one round says nothing of the next"),
    ranking=RANKING,
)
