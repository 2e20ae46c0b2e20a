"""What each kind of variety in the training slices buys on phantoms never trained on.

    python -m benchmarks.ablation --work WORK --steps 300

Short pretrainings of one seed from the same painted patients: with everything, and each
time without one kind of variety. Each is scored by ``benchmarks.checkpoint`` on the
same unseen styles and anatomies, drawn by another renderer. One seed and few steps tell
large effects from none, not more.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np

from benchmarks.checkpoint import Size, score, segment, summary
from benchmarks.options import count_option
from model.checkpoint import read_checkpoint
from model.engine import choose_engine
from model.pretraining import sampler, scanner, view
from model.pretraining.coil import Coil, Skin
from model.pretraining.look import Look
from model.pretraining.recipe import Limits, Recipe, read_recipe
from model.pretraining.sampler import Stage
from model.pretraining.scanner import Faults
from model.synthetic.appearance import TYPICAL, UPTAKE
from model.synthetic.families import STYLES
from model.synthetic.lattice import Field
from model.synthetic.tissues import TISSUES
from plugin.pretrain import PretrainOptions, run_pretraining

EVEN = Coil(1e9, 1e9, 1e9, 0.0, 0.0, 30.0, 90.0)
NO_FAULTS = Faults(0, (0.0, 0.0), (1.0, 1.0), 0.0, 0.3, 0.5, 0.01, 0.0)
FEW_PATIENTS = 12


def one_look(_rng: np.random.Generator, *, suppressed: float, anything: float) -> Look:
    """Return T1-weighted without suppression, the same for every slice."""
    del suppressed, anything
    pre, uptake = np.zeros((2, TISSUES), np.float32)
    for table, values in ((pre, TYPICAL), (uptake, UPTAKE)):
        for tissue, value in values.items():
            table[tissue] = value
    return Look(pre, pre * (1 + uptake), np.zeros(TISSUES, np.float32))


def bare_skin(seen: view.View, _rng: np.random.Generator) -> Skin:
    """Return neither flare nor halo."""
    shape = seen.before[0].shape
    return Skin(np.ones(shape, np.float32), np.zeros(shape, np.float32))


def unbent(frame: view.Frame, _rng: np.random.Generator) -> tuple[Field, Field]:
    """Return the raster as it lies: no turn, stretch, mirror or bend."""
    y, x = frame.y_mm[:, None], frame.x_mm[None, :]
    return y + 0 * x, x + 0 * y


def unmoved(
    _frame: view.Frame, y_mm: Field, x_mm: Field, _rng: np.random.Generator
) -> tuple[Field, Field]:
    """Return the raster before contrast also for after it."""
    return y_mm, x_mm


def stored_whole(phases: Field, _rng: np.random.Generator) -> Field:
    """Return grey levels as they were measured."""
    return phases


Replacements = tuple[tuple[object, str, Callable[..., object]], ...]
WITHOUT: Mapping[str, Replacements] = {
    "nothing": (),
    "random intensities": ((sampler, "draw_look", one_look),),
    "coil, flare and halo": (
        (scanner, "draw_coil", lambda _rng: EVEN),
        (scanner, "draw_skin", bare_skin),
    ),
    "scanner faults": (
        (scanner, "draw_faults", lambda _rng: NO_FAULTS),
        (scanner, "_stored", stored_whole),
    ),
    "pose, bends and motion": ((view, "_bend", unbent), (view, "_move", unmoved)),
    "many patients": (),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """What all trainings have in common."""

    work: Path
    steps: int
    cases: int
    grid_px: int


@contextmanager
def without(name: str) -> Iterator[None]:
    """Take one kind of variety out of the drawing of training slices."""
    with ExitStack() as stack:
        for module, attribute, stand_in in WITHOUT[name]:
            stack.enter_context(patch.object(module, attribute, stand_in))
        yield


def recipe_without(name: str, grid_px: int) -> Recipe:
    """Return the committed recipe on one grid, with few patients if these are asked."""
    recipe = replace(read_recipe(), stages=(Stage(1.0, grid_px, 8),))
    return replace(recipe, patients=FEW_PATIENTS) if name == "many patients" else recipe


def trial(name: str, plan: Trial) -> dict[str, float | int]:
    """Train without one kind of variety, and return the scores of the unseen."""
    engine = choose_engine()
    folder = plan.work / name.replace(" ", "-")
    options = PretrainOptions(
        output=folder,
        work=plan.work,
        engine=engine,
        recipe=recipe_without(name, plan.grid_px),
        limits=Limits(steps=plan.steps),
    )
    with without(name):
        made = run_pretraining(options)
    network = read_checkpoint(made.checkpoint).network
    tools = network, replace(engine, precision="fp32")
    styles, size = list(STYLES), Size(24, 144, plan.grid_px)
    scored = []
    for seed in range(plan.cases):
        style = styles[seed % len(styles)]
        study, anatomy = segment(seed, style, size, tools)
        scored.append(score(seed, style, anatomy, study))
    return summary(scored)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@count_option("--steps", 300, "Of every training.")
@count_option("--cases", 15, "Phantoms to score.")
@count_option("--grid", 72, "Rows and columns of a slice.")
@click.option("--only", type=click.Choice(list(WITHOUT)), multiple=True)
@click.option("--out", default="ablation.json", type=click.Path(path_type=Path))
def main(work: Path, only: tuple[str, ...], out: Path, **counts: int) -> None:
    """Train with everything, and without one thing at a time; print a table."""
    plan = Trial(work, counts["steps"], counts["cases"], counts["grid"])
    print("| without | Dice mean | Dice 5 % | ends | false area, % |")
    print("|---|---|---|---|---|")
    rows = {}
    for name in only or WITHOUT:
        rows[name] = row = trial(name, plan)
        keys = ("dice_mean", "dice_p5", "end_dice_mean", "false_area_percent")
        print(f"| {name} | " + " | ".join(f"{row[k]:.3f}" for k in keys) + " |")
        document = {"plan": asdict(replace(plan, work=Path())), "without": rows}
        out.write_text(json.dumps(document, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
