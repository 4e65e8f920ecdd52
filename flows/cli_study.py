"""The command line of ``xv study``: build a study of what a store holds, score answers, judge, name, export trials."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.flags import StoreUrl, opened, pairs

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="Are explanations understood? Build a study, score its answers, let machines judge, name what was found.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
StudyId = Annotated[str | None, typer.Option("--study", help="Id of the study; none = the only one of the store")]
Changes = Annotated[
    list[str],
    typer.Option("--set", help="NAME=VALUE of a parameter, e.g. trials=40 or questions.n_items=4; repeatable"),
]


@app.command()
def build(
    store: StoreUrl = "xv-store",
    out: Annotated[Path, typer.Option(help="File for people", dir_okay=False)] = Path("study.html"),
    run: Annotated[list[str], typer.Option("--run", help="Id of a run to be judged; repeatable; none = all")] = [],  # noqa: B006
    changes: Changes = [],  # noqa: B006
) -> None:
    """Make a study: one HTML file for people, which needs no network, and its tables in the store."""
    from xvcore.parameters import replaced
    from xvcore.runs.originals import Originals
    from xvcore.study.runs.build import build_study
    from xvcore.study.settings import Study

    settings = replaced(Study(), pairs(changes, "--set"))
    built = build_study(opened(store), out, settings, run_ids=run or None, picture_of=Originals())
    size = built.n_bytes / 1e6
    typer.echo(f"{built.study_id}: {built.n_questions} questions about {built.n_subjects} subjects, {size:.2f} MB")
    typer.echo(f"give this file to people: {out}")


@app.command()
def score(
    answers: Annotated[list[Path], typer.Argument(help="Files of answers, or folders of them; all at once")],
    store: StoreUrl = "xv-store",
    study: StudyId = None,
) -> None:
    """Score answers: agreement, share of right ones against controls; what does not count is set apart and named."""
    from xvcore.study.runs.score import score_study

    scored = score_study(opened(store), answers, study_id=study)
    sessions = scored.sessions
    typer.echo(f"{scored.study_id}: {len(sessions)} files, {int(sessions['is_counted'].sum())} count")
    for row in sessions[~sessions["is_counted"].astype(bool)].to_dict("records"):
        typer.echo(f"  set apart: {row['file']}: {', '.join(row['marks'])}: {row['error']}")
    _show(scored.scores)


@app.command()
def simulate(  # noqa: PLR0913, PLR0917
    out: Annotated[Path, typer.Option(help="Folder of the files", file_okay=False)] = Path("simulated-answers"),
    store: StoreUrl = "xv-store",
    study: StudyId = None,
    error: Annotated[float, typer.Option(help="Share of pictures whose part is mistaken; nan = at random")] = 0.1,
    people: Annotated[int, typer.Option(help="How many answer", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Seed of their errors", min=0)] = 0,
) -> None:
    """Write answers of simulated people, who know the annotated part of each picture: a check of the study."""
    from xvcore.study.runs.simulate import simulate as answer

    for path in answer(opened(store), out, study_id=study, error=error, people=people, seed=seed):
        typer.echo(str(path))


@app.command()
def judge(
    store: StoreUrl = "xv-store",
    study: StudyId = None,
    changes: Changes = [],  # noqa: B006
) -> None:
    """Let a network judge (MIS): --set trunk=squeezenet1_1@FILE, or any network with --set similarity=layers."""
    from xvcore.parameters import replaced
    from xvcore.runs.originals import Originals
    from xvcore.study.runs.judge import judge_study
    from xvcore.study.settings import Judge

    settings = replaced(Judge(), pairs(changes, "--set"))
    for row in judge_study(opened(store), settings, study_id=study, picture_of=Originals()).to_dict("records"):
        typer.echo(_judged(row))


@app.command()
def tag(
    tagger: Annotated[
        str, typer.Argument(help="parts, maps, people, user, or a name for a text-image model")
    ] = "parts",
    store: StoreUrl = "xv-store",
    study: StudyId = None,
    table: Annotated[Path | None, typer.Option(help="Of user: CSV file, columns subject_id and tag")] = None,
    clip: Annotated[str | None, typer.Option(help="ARCHITECTURE@FILE of an open_clip model, the tagger")] = None,
) -> None:
    """Name what the study is about, and tell how far all who did so agree."""
    from xvcore.errors import ParameterError
    from xvcore.runs.originals import Originals
    from xvcore.study.runs.tag import tag_study
    from xvcore.study.runs.text_image import TextImage

    architecture, at, weights = (clip or "").partition("@")
    if clip and not (architecture and at and weights):
        raise ParameterError(f"--clip {clip!r}: expected ARCHITECTURE@FILE")
    model = TextImage(architecture, weights) if clip else None
    agreement = tag_study(opened(store), tagger, study_id=study, path=table, model=model, picture_of=Originals())
    for row in agreement[agreement["tagger"] == tagger].to_dict("records"):
        ends = f"[{row['agreement_low']:.2f}, {row['agreement_high']:.2f}]"
        said = f"{row['tagger']} and {row['other']}, {row['subjects']} subjects: {row['n_subjects']} named by both, "
        typer.echo(f"{said}{row['agreement']:.2f} {ends} alike, kappa {row['kappa']:.2f}")


@app.command()
def specialise(
    store: StoreUrl = "xv-store",
    study: StudyId = None,
    changes: Changes = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
) -> None:
    """Add linear classifiers of the regions of summaries to their network's scores: the gain on images held out."""
    from xvcore.parameters import replaced
    from xvcore.study.runs.specialise import specialise_study
    from xvcore.study.settings import Specialise

    settings = replaced(Specialise(), pairs(changes, "--set"))
    for row in specialise_study(opened(store), settings, study_id=study, device=device).to_dict("records"):
        typer.echo(_gained(row))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder of the trials", file_okay=False)] = Path("trials"),
    store: StoreUrl = "xv-store",
    study: StudyId = None,
) -> None:
    """Write the 2-AFC questions in the layout of the published experiment (Zimmermann et al. 2023), answers beside."""
    from xvcore.study.runs.export import export_trials

    typer.echo(f"{export_trials(opened(store), out, study_id=study)} trials in {out}")


def _show(scores: "pd.DataFrame") -> None:
    """Print the scores of all networks together, those that count apart from those that do not."""
    shown = scores[(scores["judged_model"] == "all") & (scores["judged_method"] == "all")]
    for population in ("counted", "marked"):
        rows = shown[shown["population"] == population].to_dict("records")
        if rows:
            typer.echo(f"{population}:")
        for row in rows:
            typer.echo("  " + _line(row))


def _judged(row: dict[Any, Any]) -> str:
    said = f"{row['judge']}: {row['judged_model']} {row['judged_method']} {row['subject_group']}: "
    said += f"MIS {row['mis']:.3f} [{row['mis_low']:.3f}, {row['mis_high']:.3f}], 2-AFC {row['two_afc']:.2f}"
    if row["above"] == row["above"]:
        said += f", found above by {row['above']:.3f} [{row['above_low']:.3f}, {row['above_high']:.3f}]"
    return said + (" (judges itself)" if row["is_circular"] else "")


def _gained(row: dict[Any, Any]) -> str:
    said = f"{row['judged_model']} and {row['added'].replace('_', ' ')}: {row['n_held_out']} images held out, "
    said += f"{row['accuracy_alone']:.3f} right alone, {row['accuracy']:.3f} with; gain {row['gain']:+.3f} "
    said += f"[{row['gain_low']:+.3f}, {row['gain_high']:+.3f}], {row['n_gained']} gained, {row['n_lost']} lost, "
    said += f"p {row['p_value']:.3g}, weight {row['weight']:.2f}, loss {row['log_loss_alone']:.3f}"
    said += f" to {row['log_loss']:.3f}"
    if row["above"] == row["above"]:
        said += f"; summaries above by {row['above']:+.3f} [{row['above_low']:+.3f}, {row['above_high']:+.3f}]"
    return said


def _line(row: dict[Any, Any]) -> str:
    kind = f"{row['task']:11} {row['subject_group']:14} {row['prediction']:7}"
    said = f"{kind} n={row['n_answers']:<4}"
    if row["accuracy"] == row["accuracy"]:
        chance = f", chance {row['chance']:.2f}" if row["chance"] == row["chance"] else ""
        said += f" right {row['accuracy']:.2f} [{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}]{chance}"
    if row["kappa"] == row["kappa"]:
        said += f" kappa {row['kappa']:.2f}, modal {row['modal_share']:.2f}"
    if row["above"] == row["above"]:
        said += f" found above by {row['above']:.2f} [{row['above_low']:.2f}, {row['above_high']:.2f}]"
    return said
