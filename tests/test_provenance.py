import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from foreign_seg import Segment, Writer, write_seg
from pydicom import Dataset
from seg_sources import SourceStyle, write_phase

from plugin import seg
from plugin.errors import MaskError
from plugin.provenance import (
    MaskRecord,
    MaskState,
    is_ours,
    require_trainable,
    review,
    state_of,
)

UID, OTHER_UID = "2.25.1", "2.25.2"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DRAFT = MaskRecord(MaskState.MODEL_DRAFT, UID, "1.2.3", weights_sha256="ab" * 32)


def header(**values: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID = UID
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def segments(*kinds: str) -> list[Dataset]:
    items = [Dataset() for _ in kinds]
    for item, kind in zip(items, kinds, strict=True):
        item.SegmentAlgorithmType = kind
    return items


@pytest.mark.parametrize(
    "ours",
    [
        header(Manufacturer="xnat-brs"),
        header(SoftwareVersions="brs 0.1.0"),
        header(SoftwareVersions=["syngo MR", "brs 0.1.0"]),
        header(ContentLabel="BRS_BREAST"),
    ],
)
def test_any_of_three_marks_makes_a_mask_ours(ours: Dataset) -> None:
    assert is_ours(ours)
    assert state_of(ours, None) is MaskState.MODEL_DRAFT


@pytest.mark.parametrize(
    "foreign",
    [
        header(),
        header(Manufacturer="SIEMENS", SoftwareVersions="syngo MR XA30"),
        header(SeriesDescription="BRS breast", ContentLabel="SEGMENTATION"),
        header(SoftwareVersions=None, Manufacturer=None),
    ],
)
def test_a_mask_without_our_marks_is_a_persons(foreign: Dataset) -> None:
    assert not is_ours(foreign)
    assert state_of(foreign, None) is MaskState.HUMAN


@pytest.mark.parametrize("state", list(MaskState))
def test_a_record_speaks_for_the_instance_that_it_names(state: MaskState) -> None:
    record = dataclasses.replace(
        DRAFT,
        state=state,
        reviewer_role="radiologist",
        reviewed_at=NOON.isoformat(),
    )
    ours = header(Manufacturer="xnat-brs")
    assert state_of(ours, record) is state
    of_another = dataclasses.replace(record, sop_instance_uid=OTHER_UID)
    assert state_of(ours, of_another) is MaskState.MODEL_DRAFT
    assert state_of(header(Manufacturer="SIEMENS"), of_another) is MaskState.HUMAN


def test_our_mask_is_a_persons_only_if_every_segment_was_drawn_by_hand() -> None:
    by_hand = header(
        Manufacturer="xnat-brs", SegmentSequence=segments("MANUAL", "MANUAL")
    )
    in_part = header(
        Manufacturer="xnat-brs", SegmentSequence=segments("MANUAL", "AUTOMATIC")
    )
    assert state_of(by_hand, None) is MaskState.HUMAN
    assert state_of(in_part, None) is MaskState.MODEL_DRAFT


def test_written_files_tell_whose_they_are(tmp_path: Path) -> None:
    style = SourceStyle()
    phase, mask = write_phase(tmp_path / "source", style), np.zeros(style.shape, bool)
    mask[1, 1, 1] = True
    network = seg.Algorithm("brs", "0.1.0", "ab" * 32, "{}")
    origins = {
        MaskState.MODEL_DRAFT: network,
        MaskState.HUMAN: None,
    }
    for state, algorithm in origins.items():
        built = seg.build(
            phase, (mask, ~mask), algorithm=algorithm, verdict="publish", state=state
        )
        seg.write(built, tmp_path / "ours.dcm")
        ours = seg.read_header(tmp_path / "ours.dcm")
        assert is_ours(ours)
        assert state_of(ours, None) is state


def test_a_draft_saved_again_in_a_viewer_is_a_persons(tmp_path: Path) -> None:
    """The viewer keeps the series description and gives a new UID, nothing else."""
    style = SourceStyle()
    segment = Segment("Right breast", np.ones(style.shape, bool))
    path = write_seg(tmp_path / "edited.dcm", style, [segment], Writer())
    edited = pydicom.dcmread(path, stop_before_pixels=True)
    assert edited.SeriesDescription == "BRS breast"
    assert state_of(edited, DRAFT) is MaskState.HUMAN


def test_a_review_gives_state_role_and_time() -> None:
    accepted = review(DRAFT, accept=True, reviewer_role="radiologist", reviewed_at=NOON)
    assert accepted.state is MaskState.MODEL_APPROVED
    assert accepted.reviewer_role == "radiologist"
    assert accepted.reviewed_at == "2026-01-31T12:00:00+00:00"
    assert accepted.weights_sha256 == DRAFT.weights_sha256
    rejected = review(accepted, accept=False, reviewer_role="rater 2", reviewed_at=NOON)
    assert rejected.state is MaskState.REJECTED


@pytest.mark.parametrize("role", ["", "Dr. Erika Mustermann", "x" * 41])
def test_a_review_needs_a_role_not_a_name(role: str) -> None:
    with pytest.raises(MaskError, match="role") as caught:
        review(DRAFT, accept=True, reviewer_role=role, reviewed_at=NOON)
    assert "Mustermann" not in str(caught.value)


def test_a_review_needs_a_time_with_an_offset() -> None:
    with pytest.raises(MaskError, match="offset from UTC"):
        review(
            DRAFT,
            accept=True,
            reviewer_role="radiologist",
            reviewed_at=NOON.replace(tzinfo=None),
        )


def test_a_persons_mask_needs_no_review() -> None:
    drawn = MaskRecord(MaskState.HUMAN, UID, "1.2.3", parent_uid=OTHER_UID)
    with pytest.raises(MaskError, match="drawn or corrected by a person"):
        review(drawn, accept=True, reviewer_role="radiologist", reviewed_at=NOON)


def test_a_record_comes_back_from_json() -> None:
    record = review(DRAFT, accept=True, reviewer_role="rater", reviewed_at=NOON)
    assert MaskRecord.from_json(record.to_json()) == record
    assert json.loads(record.to_json())["state"] == "model-approved"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'"human"',
        b'{"state": "human"}',
        b'{"state": "trusted", "sop_instance_uid": "1", "referenced_series_uid": "1"}',
        b'{"state": "human", "sop_instance_uid": null, "referenced_series_uid": "1"}',
        b'{"state": "human", "sop_instance_uid": 1, "referenced_series_uid": "1"}',
        b'{"state": "human", "sop_instance_uid": "1", "referenced_series_uid": "1",'
        b' "patient": "Mustermann"}',
        b'{"state": "model-approved", "sop_instance_uid": "1",'
        b' "referenced_series_uid": "1"}',
        b"\xff\xfe",
    ],
)
def test_text_that_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(MaskError) as caught:
        MaskRecord.from_json(text)
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize("state", [MaskState.HUMAN, MaskState.MODEL_APPROVED])
def test_a_network_may_learn_from_a_persons_and_an_approved_mask(
    state: MaskState,
) -> None:
    require_trainable(state, "session S1")


@pytest.mark.parametrize("state", [None, MaskState.MODEL_DRAFT, MaskState.REJECTED])
def test_a_network_may_not_learn_from_any_other(state: MaskState | None) -> None:
    with pytest.raises(MaskError, match=r"session S1: found a mask .*state"):
        require_trainable(state, "session S1")
