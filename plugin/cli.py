"""The command line: each command parses, calls one function, prints one JSON line.

Stdout's last line is the result; people read stderr. Exit codes are in
``plugin.errors`` and docs/reference/cli.md.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch

from model.checkpoint import read_checkpoint
from model.engine import choose_engine
from model.errors import BrsError
from model.power import find_meters, gpu_uuids
from model.train import Budget, TrainConfig
from plugin import log
from plugin.archive import Archive, open_archive
from plugin.dce import DceRules, choose
from plugin.demo import DemoOptions, run_demo
from plugin.errors import exit_code
from plugin.evaluate import EvaluateOptions, evaluate_archive, headline
from plugin.exchange import export_session, import_mask
from plugin.masks import review_draft
from plugin.options import (
    FILE,
    FOLDER,
    archive_option,
    checkpoint_option,
    device_option,
    option,
    output_option,
    precision_option,
    rules_option,
    seed_option,
    session_option,
    strategy_option,
    training_options,
)
from plugin.pipeline import Segmenter, pair_record, segment_session
from plugin.rank import RankOptions, rank_archive
from plugin.segment import segment_archive, tally
from plugin.train import TrainOptions, or_unknown, train_archive
from plugin.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", count=True, help="More on stderr; twice for all.")
@click.version_option(VERSION)
def cli(verbose: int) -> None:
    """Breast region segmentation beside XNAT and PACS. Not a medical device.

    A session's way: rank -> annotate -> train -> segment -> review -> evaluate.
    """
    log.configure(verbosity=verbose)


def main() -> None:
    """Run the command line; errors of ours become one line and an exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as asked:
        code = asked.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except BrsError as error:
        click.echo(f"error: {error}", err=True)
        code = exit_code(error)
        _say({"error": str(error), "exit_code": code})
    sys.exit(code if isinstance(code, int) else 0)


def _say(result: dict[str, Any]) -> None:
    """Print the result as the last line of stdout."""
    click.echo(json.dumps(result, sort_keys=True))


@cli.command()
@option("--output", type=FOLDER, default=Path("brs-demo"), help="Folder for it all.")
@option("--cases", default=12, help="Synthetic patients.")
@seed_option
def demo(output: Path, cases: int, seed: int) -> None:
    """Run the whole loop on a synthetic cohort: no data, no network needed."""
    _say(run_demo(output, DemoOptions(cases=cases, seed=seed)))


@cli.command()
@archive_option
@output_option
@strategy_option
@seed_option
@rules_option
def rank(archive: str, output: Path, strategy: str, seed: int, rules: DceRules) -> None:
    """Order an archive's sessions for annotation, with a reason for each.

    Writes ranking.csv, ranking.json (replays the choice) and report.html.
    """
    options = RankOptions(strategy=strategy, seed=seed, rules=rules)
    outcome = rank_archive(open_archive(archive), output, output / "work", options)
    picks = outcome.ranking.picks
    _say(
        {
            "ranked": len(picks),
            "failed": len(outcome.failures),
            "first": picks[0].case_id,
            "report": str(output / "report.html"),
        }
    )


@cli.command()
@archive_option
@output_option
@training_options
@seed_option
@device_option
@precision_option
@rules_option
@option("--backbone-weights", default="none", help="none, a file, or imagenet.")
def train(archive: str, output: Path, backbone_weights: str, **settings: Any) -> None:
    """Train from an archive's annotated sessions, with a carbon log."""
    options = _train_options(settings, backbone_weights=backbone_weights)
    _train(archive, output, options)


@cli.command()
@archive_option
@output_option
@checkpoint_option
@training_options
@seed_option
@device_option
@precision_option
@rules_option
def finetune(archive: str, output: Path, checkpoint: Path, **settings: Any) -> None:
    """Go on training a checkpoint on an archive's annotated sessions."""
    options = _train_options(settings, start=read_checkpoint(checkpoint))
    _train(archive, output, options)


def _train_options(settings: dict[str, Any], **more: Any) -> TrainOptions:
    config = TrainConfig(
        grid_px=settings["grid"],
        epochs=settings["epochs"],
        batch=settings["batch"],
        learning_rate=settings["learning_rate"],
        schedule=settings["schedule"],
        folds=settings["folds"],
        seed=settings["seed"],
        deterministic=settings["deterministic"],
    )
    return TrainOptions(
        engine=choose_engine(
            device=settings["device"], precision=settings["precision"]
        ),
        config=config,
        budget=Budget(settings["carbon_budget_g"], settings["minutes"]),
        rules=settings["rules"],
        only_fold=settings["fold"],
        factor_kg_per_kwh=settings["emission_factor"],
        **more,
    )


def _train(archive: str, output: Path, options: TrainOptions) -> None:
    outcome = train_archive(open_archive(archive), output, output / "work", options)
    best = max(o.manifest.metrics["validation_dice"] for o in outcome.folds)
    _say(
        {
            "checkpoint": str(outcome.checkpoint),
            "folds": len(outcome.folds),
            "cases": len(outcome.gathered.infos),
            "failed": len(outcome.gathered.failures),
            "validation_dice": round(best, 4),
            "energy_kwh": or_unknown(outcome.footprint.energy_kwh),
            "cfp_kg": or_unknown(outcome.footprint.cfp_kg),
        }
    )


@cli.command()
@option("--archive", help="A folder with one folder per session.")
@option("--input", "folder", type=FOLDER, help="One session's folder instead.")
@output_option
@option("--checkpoint", type=FILE, help="Weights (.safetensors).")
@session_option
@option("--skip-annotated", is_flag=True, help="Leave sessions with a human mask.")
@option("--dry-run", is_flag=True, help="Print the chosen pair and stop.")
@device_option
@precision_option
@rules_option
def segment(archive: str | None, folder: Path | None, **settings: Any) -> None:
    """Segment one folder or an archive: DICOM-SEG, NIfTI, preview, result.json."""
    if (archive is None) == (folder is None):
        raise click.UsageError("give either --archive or --input")
    if settings["dry_run"]:
        _say(_dry_run(archive, folder, settings))
    elif folder is not None:
        _say(_segment_folder(folder, settings))
    else:
        _say(_segment_archive(str(archive), settings))


def _dry_run(
    archive: str | None, folder: Path | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Say which pair would be used, per session, without computing."""
    if folder is not None:
        return pair_record(choose(folder, settings["rules"]))
    opened = open_archive(str(archive))
    return {
        "sessions": [
            _decision(opened, session_id, settings)
            for session_id in settings["session"] or opened.sessions()
        ]
    }


def _decision(
    archive: Archive, session_id: str, settings: dict[str, Any]
) -> dict[str, Any]:
    try:
        folder = archive.fetch(session_id, settings["output"] / "images")
        decision = pair_record(choose(folder, settings["rules"]))
    except BrsError as error:
        decision = {"error": str(error)}
    return {"session": session_id} | decision


def _segmenter(settings: dict[str, Any]) -> Segmenter:
    if settings["checkpoint"] is None:
        raise click.UsageError("give --checkpoint: train one, or take a colleague's")
    engine = choose_engine(device=settings["device"], precision=settings["precision"])
    click.echo(f"engine {engine}", err=True)
    return Segmenter(
        read_checkpoint(settings["checkpoint"]),
        engine,
        settings["rules"],
        find_meters(gpus=gpu_uuids([torch.device(engine.device)])),
    )


def _segment_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    output = settings["output"]
    result = segment_session(folder.name, folder, output, _segmenter(settings))
    return {
        "verdict": result.verdict,
        "reasons": result.reasons,
        "files": sorted(result.files),
        "output": str(output),
    }


def _segment_archive(archive: str, settings: dict[str, Any]) -> dict[str, Any]:
    items = segment_archive(
        open_archive(archive),
        _segmenter(settings),
        settings["output"],
        sessions=settings["session"],
        skip_annotated=settings["skip_annotated"],
    )
    return tally(items)


@cli.command()
@archive_option
@output_option
@option("--reference", help="Archive with the human masks; --archive by default.")
@session_option
@option("--data", default="unknown", help="What the sessions are, such as real.")
@rules_option
def evaluate(
    archive: str,
    output: Path,
    reference: str | None,
    session: tuple[str, ...],
    **options: Any,
) -> None:
    """Compare the network's masks with human ones: CSV, figures, one headline."""
    found = evaluate_archive(
        open_archive(archive),
        open_archive(reference or archive),
        output,
        EvaluateOptions(sessions=session, **options),
    )
    _say(headline(found) | {"output": str(output)})


@cli.command()
@archive_option
@option("--session", required=True, help="The session whose draft was looked at.")
@click.option("--accept/--reject", required=True, default=None, help="The decision.")
@option("--role", required=True, help="The reviewer's role, such as radiologist.")
def review(archive: str, session: str, *, accept: bool, role: str) -> None:
    """Accept or reject a session's draft mask; only then may a network learn it."""
    record = review_draft(
        open_archive(archive), session, accept=accept, role=role, now=datetime.now(UTC)
    )
    _say({"session": session, "state": record.state})


@cli.command()
@archive_option
@option("--session", required=True, help="The session to export.")
@output_option
@rules_option
def export(archive: str, session: str, output: Path, rules: DceRules) -> None:
    """Write a session's pair and mask as RAS NIfTI: pre, post and mask.nii.gz."""
    files = export_session(open_archive(archive), session, output, rules)
    _say({"session": session, "files": [str(path) for path in files]})


@cli.command("import")
@archive_option
@option("--session", required=True, help="The session the mask was drawn on.")
@option("--mask", type=FILE, required=True, help="RAS NIfTI on the session's grid.")
@rules_option
def import_(archive: str, session: str, mask: Path, rules: DceRules) -> None:
    """Store a mask that a person drew as NIfTI with its session, as DICOM-SEG."""
    uid = import_mask(open_archive(archive), session, mask, rules)
    _say({"session": session, "mask_uid": uid})


if __name__ == "__main__":
    main()
