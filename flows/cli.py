"""The ``xv`` command line: the same flows and stages, from a terminal."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from flows import cli_study, commands
from flows.allocator import keep_memory
from flows.flags import ClassFlags, Dataset, Device, StoreUrl, as_flags, names, opened, with_class_flags
from xvcore.errors import ClassesFailedError, StoreError, XvError, in_one_line, unknown_name
from xvcore.version import VERSION


class Menu(TyperGroup):
    """The commands of this module, and before them those of the families."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        own = super().list_commands(ctx)
        return [*(name for name in commands.names() if name not in own), *own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; a family's, of a name that is not taken here, has the flags that all of them take."""
        own = super().get_command(ctx, cmd_name)
        return _of_family(cmd_name) if own is None and cmd_name in commands.names() else own


app = typer.Typer(
    cls=Menu,
    help="What a classifier looks at regularly, over whole classes, and how two networks differ.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # square brackets are square brackets
)

app.add_typer(cli_study.app, name="study")

STOPPING = (signal.SIGINT, signal.SIGTERM)
LETTERS = 60
"""Of a list, map or mask in the plain table of a query."""
_USAGE_ERROR: Any = typer.BadParameter.__base__
"""What typer raises for a flag or a value that it does not take."""
Home = Annotated[Path, typer.Option(help="Folder of the service: database, logs, password, state", file_okay=False)]
RunId = Annotated[list[str], typer.Option("--run", help="Id of a run; repeatable; none = all runs of the store")]


def _kinds(incomplete: str) -> list[str]:
    from flows.listing import kinds

    return [kind for kind in kinds() if kind.startswith(incomplete)]


def _formats(incomplete: str) -> list[str]:
    from xvcore.export import exporters

    return [kind for kind in exporters if kind.startswith(incomplete)]


@app.command()
@with_class_flags
def analyse(
    analysis: Annotated[str, typer.Argument(help="Name of an analysis, see `xv list analyses`")], flags: ClassFlags
) -> None:
    """Answer a published question for whole classes, as tables and figures; running again resumes."""
    request = _analyse_request(analysis, flags)
    from flows.analyse import analyse as analyse_classes

    _run(analyse_classes, request)


@app.command()
@with_class_flags
def plan(
    method: Annotated[str, typer.Argument(help="Name of a command over classes, or of an analysis")],
    flags: ClassFlags,
    measure: Annotated[
        int | None,
        typer.Option(help="Compute so many images of one class now, thrown away; none = rates of the store", min=1),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Tell the wall-clock time with so many at once", min=1)] = None,
) -> None:
    """Tell what a command would take, before it is started: classes, images, shards, time by stage, bytes."""
    request = _request(method, flags)
    from flows.plan import show_plan

    show_plan(request, workers=workers, measure=measure, say=typer.echo)


@app.command()
def figures(
    store: StoreUrl = "xv-store",
    out: Annotated[Path, typer.Option(help="Folder of the figures", file_okay=False)] = Path("xv-figures"),
    run: RunId = [],  # noqa: B006
) -> None:
    """Write the figures of analyses as SVG files, a folder for each run or comparison."""
    from xvcore.keys import file_name
    from xvcore.query import table

    found = opened(store)
    drawn = table(found, "figures")
    known = {*drawn["run_id"], *found.runs()["run_id"]}
    for each in run:
        if each not in known:
            raise unknown_name(f"run in {store}:", each, known)
    for row in drawn.to_dict("records"):
        if row["svg"] is None or (run and row["run_id"] not in run):
            continue
        path = out / file_name(row["run_id"]) / f"{file_name(row['name'])}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["svg"])
        typer.echo(f"{path}: {row['title']}")


@app.command()
def status(store: StoreUrl = "xv-store") -> None:
    """Show every run of a store: classes complete, failed, running and how many summaries there are."""
    _show_status(store)


@app.command()
def publish(store: StoreUrl = "xv-store", run: RunId = []) -> None:  # noqa: B006
    """Merge the parts of runs into one file per table and run, for pandas, SQL and sharing."""
    from xvcore.runs.stage import needed

    found = opened(store)
    runs = found.runs()
    methods = dict(zip(runs["run_id"], runs["method"], strict=True))
    refused: dict[str, StoreError] = {}
    for run_id in run or list(methods):
        try:
            counts = found.publish(run_id, needed(methods.get(run_id, "")))
        except StoreError as error:
            refused[run_id] = error
        else:
            typer.echo(f"{run_id}: " + ", ".join(f"{name} {count}" for name, count in counts.items() if count))
    if refused:
        raise StoreError("; ".join(map(str, refused.values())))


@app.command()
def report(
    store: StoreUrl = "xv-store",
    out: Annotated[Path, typer.Option(help="Folder of the pages", file_okay=False)] = Path("xv-report"),
    run: RunId = [],  # noqa: B006
    processes: Annotated[
        int | None, typer.Option(help="That write pages, where there are many classes; none: one a core", min=1)
    ] = None,
) -> None:
    """Write the pages: networks and classes, summaries, images; a static site that needs no server."""
    from xvcore.data.loader import processors
    from xvcore.report import build
    from xvcore.runs.originals import Originals, OutputNames

    n_processes = processes or processors()
    index = build(
        opened(store),
        out,
        run_ids=run or None,
        picture_of=Originals(),
        name_of=OutputNames(),
        processes=n_processes,
    )
    typer.echo(f"report: {index}")


@app.command()
def export(
    kind: Annotated[str, typer.Argument(help="What for, see `xv list exports`", autocompletion=_formats)],
    store: StoreUrl = "xv-store",
    out: Annotated[Path, typer.Option(help="New folder", file_okay=False)] = Path("xv-export"),
    run: RunId = [],  # noqa: B006
) -> None:
    """Write results for another tool: a folder that it opens, and what its format cannot hold as Parquet beside."""
    from xvcore.export import export as write

    folder = write(opened(store), out, kind, run_ids=run or None)
    typer.echo(f"{kind}: {folder}; {folder / 'README.md'} says how it is opened")


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help='e.g. "select model, count(*) from clusters where accepted group by 1"')],
    store: StoreUrl = "xv-store",
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values, lists as whole JSON")] = False,
) -> None:
    """Answer an SQL query over the tables of a store, and nothing else (needs the extra ``sql``)."""
    from xvcore.query import answer
    from xvcore.query.cells import as_text

    rows = answer(opened(store), sql)
    if csv:
        typer.echo(as_text(rows).to_csv(index=False), nl=False)
    elif rows.num_rows:
        typer.echo(as_text(rows, letters=LETTERS).to_string(index=False))
    else:
        typer.echo(f"no rows (columns: {', '.join(rows.column_names)})")


@app.command()
def train(
    architecture: Annotated[str, typer.Argument(help="Name of an architecture, e.g. partbirds_wide")],
    out: Annotated[Path, typer.Option(help="File of the weights", dir_okay=False)],
    dataset: Dataset = "partbirds?split=train&images=400",
    steps: Annotated[int, typer.Option(help="Batches that the weights are moved by", min=1)] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of the order of images")] = 0,
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision (bfloat16)")] = False,
    keep: Annotated[str, typer.Option(help="Steps after which the weights are kept beside OUT, e.g. 10,50,200")] = "",
    device: Device = "auto",
) -> None:
    """Train a small network and write its weights; started again, an interrupted training goes on."""
    from flows.progress import watch
    from xvcore.runs.train import train as train_network

    with watch(f"train {architecture}") as progress:
        path = train_network(
            architecture,
            dataset,
            out,
            steps=steps,
            seed=seed,
            amp=amp,
            device=device,
            progress=progress,
            keep=_steps(keep),
        )
    typer.echo(f"weights: {path}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of weights, store and report", file_okay=False)] = Path("xv-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the networks")] = 0,
) -> None:
    """Draw PartBirds, train networks, look at them in three ways, compare with the truth, and write the report."""
    from flows.demo import run_demo

    run_demo(out, seed=seed, say=typer.echo)


@app.command()
def up(
    home: Home = Path("xv-service"),
    folder: Annotated[Path, typer.Option(help="Where flow runs work: relative addresses are relative to it")] = Path(),
    report: Annotated[Path, typer.Option(help="Folder of the pages that are served")] = Path("xv-report"),
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for other machines")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the Prefect server", min=1, max=65535)] = 4200,
    report_port: Annotated[int, typer.Option(help="Port of the report", min=1, max=65535)] = 4280,
    gpu: Annotated[list[str], typer.Option(help="A worker for this GPU alone; repeatable; none = one worker")] = [],  # noqa: B006
) -> None:
    """Start the service of one machine: Prefect server, worker, deployments, report; started again, it mends."""
    from flows.up import Service
    from flows.up import up as start

    start(Service(home, folder, report, host, port, report_port, tuple(gpu)), typer.echo)


@app.command()
def down(home: Home = Path("xv-service")) -> None:
    """Stop what `xv up` started, and nothing else; a class at work is taken up again by the next run."""
    from flows.up import down as stop

    stop(home, typer.echo)


@app.command("list")
def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            help="datasets, architectures, methods, analyses, classes, exports, parameters or plugins",
            autocompletion=_kinds,
        ),
    ],
    dataset: Dataset = "partbirds",
    model: Annotated[
        str | None,
        typer.Option(help="With architectures: those that take weights files of this one too, and what they change"),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Only names with these letters, or that a pattern of * and ? fits")
    ] = None,
    fits: Annotated[
        bool,
        typer.Option(
            "--fits",
            help="With architectures: which methods and rules are for each, asked of the network itself; seconds for "
            "each that was not asked before, so choose some by --like",
        ),
    ] = False,
) -> None:
    """List what can be named: datasets, architectures, methods, analyses, classes, exports, parameters, plug-ins."""
    from flows.listing import listing

    for line in listing(kind, dataset, model, like, fits=fits):
        typer.echo(line)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"xv {VERSION}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and leave", callback=_print_version, is_eager=True)
]


@app.callback()
def _options(
    version: Version = False,  # noqa: ARG001  its callback has spoken
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of every stage")] = False,
) -> None:
    _prepare_prefect(verbose=verbose)
    _prepare_terminal(verbose=verbose)


class Stopped(BaseException):
    """A signal that ends the command: from the terminal, the system, or whoever started it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def main() -> None:
    """Run the command line.

    An error of the caller is one line and exit code 2, failed classes are exit code 1; Ctrl-C is one line and 130,
    SIGTERM the same and 143.
    """
    keep_memory()
    try:
        with _ended_by_signals():
            code = app(prog_name="xv", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001  raised again unless it is said in one line
        number = _signal_behind(error)
        code = _said(error) if number is None else _stopped(number)
    sys.exit(code)


def _said(error: BaseException) -> int:
    """Say an error of the caller, or that classes failed, in one line and return the exit code; raise any other."""
    if isinstance(error, XvError):
        return _line(error, 1 if isinstance(error, ClassesFailedError) else 2)
    if isinstance(error, typer.Abort):
        return _line("aborted", 1)
    if isinstance(error, _USAGE_ERROR):
        # Where nothing was asked the help is shown.
        return _line(error.format_message(), 2) if len(sys.argv) > 1 else 2
    raise error


def _stopped(number: int) -> int:
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)  # what is open is being closed
    name = signal.Signals(number).name
    sys.stderr.write(f"stopped by {name}: what is done is kept; run the same command again to go on\n")
    return 128 + number


def _signal_behind(error: BaseException | None) -> int | None:
    """Return the signal that an error is, or that came before it: whatever ends then may fail at ending."""
    while error is not None:
        if isinstance(error, Stopped):
            return error.number
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn the signals that end a process into an exception, so that what is at work can say in the store that it ends.

    Prefect has a handler of its own while a flow runs, and calls this one at its end.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    # What is started in the background of a shell ignores Ctrl-C.
    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(reason: Exception | str, code: int) -> int:
    sys.stderr.write(f"error: {in_one_line(reason)}\n")
    return code


def _prepare_prefect(*, verbose: bool) -> None:
    """Set what suits a terminal where the user has set nothing; before the first import of Prefect."""
    defaults = {
        # Starting the embedded server takes 20 s alone and minutes on a loaded machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "CRITICAL",  # errors are said once, at the end
        "PREFECT_LOGGING_EXTRA_LOGGERS": "xvcore,flows",
        # Of commands that are no flow, e.g. training.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _prepare_terminal(*, verbose: bool) -> None:
    from flows.progress import for_this_terminal, show_on

    show_on(for_this_terminal())
    logging.getLogger("xvcore").setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("flows").setLevel(logging.DEBUG if verbose else logging.INFO)


def _of_family(name: str) -> Any:
    """Return the command of a family as typer has it."""

    def compute(flags: ClassFlags) -> None:
        flags.check()
        chosen = commands.command(name)
        _run(chosen.flow, flags.fill(chosen.request))

    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    alone.command(name, help=commands.names()[name])(with_class_flags(compute))
    return typer.main.get_command(alone)


def _run(flow: Any, request: Any) -> None:
    """Run a flow of whole classes on a request, and show what the store holds then."""
    from flows import orchestration

    request = request.ready()
    if request.fan_out.to == "ray":  # whose tasks Prefect hands out
        from flows.embedded import start_server

        start_server()
        orchestration.of_prefect(flow)(request)
    else:
        orchestration.run(flow, request)
    _show_status(request.store)


def _analyse_request(analysis: str, flags: ClassFlags) -> Any:
    from xvcore.analyses.analysis import analyses
    from xvcore.analyses.compare import check_number
    from xvcore.models.load import check_names
    from xvcore.parameters import as_dict, replaced

    chosen = replaced(analyses[analysis].settings(), flags.changes())
    check_number(analysis, len(flags.model))
    for network in chosen.networks:
        check_names(network)
    flags.check()
    from flows.analyse import AnalyseRequest

    with as_flags():
        return AnalyseRequest(settings={"analysis": analysis, **as_dict(chosen)}, **flags.request())


def _request(method: str, flags: ClassFlags) -> Any:
    """Return the request that the command of a family, or of an analysis by its name, makes of its flags."""
    from xvcore.analyses.analysis import analyses

    if method in commands.names():
        flags.check()
        return flags.fill(commands.command(method).request)
    if method not in analyses:
        raise unknown_name("method or analysis", method, [*commands.names(), *analyses])
    return _analyse_request(method, flags)


def _steps(text: str) -> list[int]:
    steps = names(text, "--keep")
    if not all(step.isdecimal() for step in steps):
        raise XvError(f"--keep {text!r}: expected numbers of steps, separated by commas")
    return [int(step) for step in steps]


def _show_status(store: str) -> None:
    from flows.listing import show_table

    frame = opened(store).status()
    if frame.empty:
        typer.echo(f"no runs in {store}")
    else:
        shown = frame if frame["error"].notna().any() else frame.drop(columns="error")
        show_table(shown, f"runs in {store}")
