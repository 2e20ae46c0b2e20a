"""The case store and the splits: nothing half-written, no patient on both sides."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cases import case_info, filled_store
from hypothesis import given
from hypothesis import strategies as st

from model.dataset import (
    CaseStore,
    epoch_order,
    folder_name,
    kept_apart,
    patient_folds,
)
from model.errors import StoreError, TrainingError


def test_a_stored_case_comes_back_memory_mapped(tmp_path: Path) -> None:
    store = filled_store(tmp_path, ("a",))
    stack = store.stack("a")
    assert isinstance(stack, np.memmap)
    assert stack.shape == (4, 2, 32, 32)
    assert store.mask("a").dtype == np.bool_
    assert store.info("a") == case_info("a")


def test_equal_images_are_known_under_any_name_and_any_mask(tmp_path: Path) -> None:
    store = filled_store(tmp_path, ("a", "b"))
    store.put(case_info("twin"), store.stack("a")[:], ~store.mask("a"))
    assert store.images("twin") == store.images("a") != store.images("b")


def test_storing_a_case_again_replaces_it(tmp_path: Path) -> None:
    store = filled_store(tmp_path, ("a",))
    info = case_info("a", slices=1)
    store.put(info, np.zeros((1, 2, 8, 8)), np.zeros((1, 8, 8), bool))
    assert store.info("a").slices == 1
    assert store.stack("a").shape == (1, 2, 8, 8)


def test_a_case_that_was_never_stored_is_an_error(tmp_path: Path) -> None:
    assert CaseStore(tmp_path).find("a") is None
    with pytest.raises(StoreError, match="a: found no such case"):
        CaseStore(tmp_path).info("a")


def test_a_damaged_record_names_its_file(tmp_path: Path) -> None:
    store = filled_store(tmp_path, ("a",))
    (tmp_path / "a" / "case.json").write_text("{}")
    with pytest.raises(StoreError, match=r"case\.json: found an unreadable record"):
        store.find("a")


@given(st.lists(st.text(min_size=1, max_size=30), unique=True, max_size=20))
def test_odd_case_ids_become_distinct_safe_folders(ids: list[str]) -> None:
    names = [folder_name(case_id) for case_id in ids]
    assert len(set(names)) == len(ids)
    assert all(
        name.replace("-", "").replace("_", "").isalnum() or name for name in names
    )
    assert not any({"/", ".", "\0"} & set(name) for name in names)


@given(
    patients=st.dictionaries(
        st.integers(0, 99).map(str), st.integers(0, 12).map(str), min_size=2
    ).filter(lambda p: len(set(p.values())) > 1),
    seed=st.integers(0, 5),
)
def test_folds_split_patients_never_a_patient(
    patients: dict[str, str], seed: int
) -> None:
    folds = patient_folds(patients, folds=5, seed=seed)
    held_out = [case for fold in folds for case in fold.validation]
    assert sorted(held_out) == sorted(patients)
    for fold in folds:
        train = {patients[case] for case in fold.train}
        validation = {patients[case] for case in fold.validation}
        assert train
        assert validation
        assert not train & validation
    assert folds == patient_folds(patients, folds=5, seed=seed)


def test_other_seeds_give_other_folds() -> None:
    patients = {str(n): str(n) for n in range(20)}
    assert patient_folds(patients, folds=5, seed=0) != patient_folds(
        patients, folds=5, seed=1
    )


def test_one_patient_is_not_enough_for_folds() -> None:
    with pytest.raises(TrainingError, match=r"found 1 patient\(s\)"):
        patient_folds({"a": "p", "b": "p"}, folds=5, seed=0)


def test_every_patient_gives_the_same_number_of_slices() -> None:
    infos = [
        case_info("a", patient="p", slices=10),
        case_info("b", patient="q", slices=3),
        case_info("c", patient="q", slices=4),
    ]
    order = epoch_order(infos, seed=0, epoch=0)
    by_patient = Counter("p" if case == "a" else "q" for case, _ in order)
    assert by_patient == {"p": 10, "q": 10}
    assert set(order) == {(i.case_id, s) for i in infos for s in range(i.slices)}


def test_epochs_are_shuffled_differently_and_repeatably() -> None:
    infos = [case_info("a", slices=30)]
    first = epoch_order(infos, seed=0, epoch=0)
    assert first != epoch_order(infos, seed=0, epoch=1)
    assert first == epoch_order(infos, seed=0, epoch=0)


@given(st.sets(st.text(min_size=1), max_size=30), st.floats(0, 1))
def test_tested_patients_are_a_share_and_always_the_same(
    keys: set[str], share: float
) -> None:
    apart = kept_apart(keys, share)
    assert apart <= keys
    assert len(apart) == round(share * len(keys))
    assert kept_apart([*keys, *keys], share) == apart
