"""The ablation takes out what it names, and nothing else."""

import numpy as np
import pytest

from benchmarks.ablation import WITHOUT, recipe_without, without
from model.pretraining.bank import Bank
from model.pretraining.sampler import Batches, Mix, Stage

PATCHED = [name for name, replaced in WITHOUT.items() if replaced]


def drawn(bank: Bank) -> np.ndarray:
    return np.asarray(Batches(bank, Mix(), 1, Stage(1.0, 32, 2))[0][0])


@pytest.mark.parametrize("name", PATCHED)
def test_slices_are_other_ones_without_it_and_the_same_again_after(
    bank: Bank, name: str
) -> None:
    before = drawn(bank)
    with without(name):
        ablated = drawn(bank)
    assert ablated.shape == before.shape
    assert np.isfinite(ablated).all()
    assert not np.array_equal(ablated, before)
    assert np.array_equal(drawn(bank), before)


def test_few_patients_is_a_matter_of_the_recipe() -> None:
    few, whole = recipe_without("many patients", 64), recipe_without("nothing", 64)
    assert few.patients < whole.patients
    assert few.mix == whole.mix
    assert [stage.grid_px for stage in few.stages] == [64]
