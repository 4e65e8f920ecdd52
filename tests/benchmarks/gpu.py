"""What every family costs on a GPU, against the bare network in the same run; needs torch, torchvision and a few wheels.

    PYTHONPATH=. python tests/benchmarks/gpu.py --out gpu.md [--minutes 9] [--device cpu --small] [--only masks …]

No Prefect, no data, no network: weights are random, pictures are drawn. First the tests marked gpu, where pytest is
installed. Then a table in Markdown, printed row by row and written to ``--out`` as it grows. Rows of a section take
turns with their bare network, of which the medians are compared:

* *evidence* of ten targets: a forward pass, both without TF32, which evidence never uses;
* *units*: all layers ranked, a forward pass;
* *masks*: as many passes forward and backward to the pictures, in float32, as a mask has steps; so bfloat16 and compiled
  masks may have a share above 1;
* *proposal flow*: all pairs of a class, its images a second against those of a forward pass;
* *heads*: an epoch on features in memory, likewise;
* *decoding*: JPEG files of 500 × 375 pixels by so many threads, likewise: a share of 1 feeds the network.

*Share* is images a second, times the passes an image takes, by the bare network's passes a second. A section for which too
little of ``--minutes`` is left is skipped with a word. The exit status is 1 where a section or a test failed.
"""

import argparse
import dataclasses
import hashlib
import importlib.util
import io
import os
import platform
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import torch
import torchvision
from torch import Tensor

BEGAN = time.monotonic()
ROOT = Path(__file__).resolve().parents[2]
Work = Callable[[], object]
QUIETLY = ("-m", "gpu", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--no-header", "--tb=short")


@dataclass(frozen=True)
class Sizes:
    """How much is done: with ``small`` so little that it is a test."""

    network: str = "resnet50@random"
    batch: int = 64
    rounds: int = 5
    mask_batch: int = 32
    mask_steps: tuple[int, int] = (30, 15)
    flow_images: int = 40
    flow_boxes: int = 500
    feature_images: int = 2048
    feature_places: int = 49
    feature_channels: int = 2048
    jpegs: int = 256
    patience: float = 1.0


SMALL = Sizes(
    network="partbirds_narrow@random?classes=3",
    batch=2,
    rounds=1,
    mask_batch=2,
    mask_steps=(2, 1),
    flow_images=3,
    flow_boxes=12,
    feature_images=16,
    feature_places=4,
    feature_channels=8,
    jpegs=4,
    patience=0.05,
)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Parameters
    ----------
    section, what : its name
    rate : images a second
    passes : of the network, for an image
    bare : such passes a second of the bare network, for the same images in the same run
    peak_mib : most memory of the device while it ran, tensors alone; on a CPU of the process so far
    note : a word
    """

    section: str
    what: str
    rate: float
    passes: int
    bare: float
    peak_mib: float
    note: str = ""

    @property
    def share(self) -> float:
        return self.rate * self.passes / self.bare

    def __str__(self) -> str:
        return (
            f"| {self.section} | {self.what} | {self.rate:.4g} | {self.passes} | {self.bare:.4g} | {self.share:.3f} "
            f"| {self.peak_mib:.0f} | {self.note} |"
        )


HEADINGS = (
    "| section | what | images/s | passes an image | bare passes/s | share | peak MiB | |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Bench:
    """A device and the network on it."""

    device: torch.device
    sizes: Sizes

    @cached_property
    def classifier(self):
        from xvcore.models import load

        return load(self.sizes.network, device=str(self.device))

    def images(self, n: int) -> Tensor:
        height, width = self.classifier.preprocessing.input_px
        return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0)).to(self.device)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_mib(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def seconds(self, work: Work) -> float:
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def in_turns(self, bare: Work, work: Work) -> tuple[float, float, float]:
        """Return the median seconds of both, after one time each that does not count, and the peak of the second."""
        self.seconds(bare)
        self.forget_peak()
        self.seconds(work)
        peak = self.peak_mib()
        pairs = [(self.seconds(bare), self.seconds(work)) for _ in range(self.sizes.rounds)]
        return median(one for one, _ in pairs), median(other for _, other in pairs), peak

    def forward(self, images: Tensor, dtype: torch.dtype | None = None) -> Work:
        def work() -> None:
            with torch.inference_mode(), autocast(self.device, dtype):
                self.classifier.logits(images)

        return work

    def backward(self, images: Tensor, dtype: torch.dtype | None = None) -> Work:
        def work() -> None:
            leaf = images.detach().requires_grad_()
            with autocast(self.device, dtype):
                scores = self.classifier.logits(leaf)
            torch.autograd.grad(scores.float().softmax(1)[:, 0].sum(), leaf)

        return work


def autocast(device: torch.device, dtype: torch.dtype | None):
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def bare(bench: Bench) -> Iterator[Row]:
    from xvcore.ops.full_precision import full_precision

    n = bench.sizes.batch
    images = bench.images(n)
    forward, backward = bench.forward(images), bench.backward(images)

    def exact() -> None:
        with full_precision(bench.device.type):
            forward()

    for what, first, work in (
        ("forward, without TF32", forward, exact),
        ("forward, bfloat16", forward, bench.forward(images, torch.bfloat16)),
        ("forward, channels last", forward, bench.forward(images.contiguous(memory_format=torch.channels_last))),
        ("forward and backward to the pictures", forward, backward),
        ("forward and backward, bfloat16", backward, bench.backward(images, torch.bfloat16)),
    ):
        bare_s, own_s, peak = bench.in_turns(first, work)
        against = "forward and backward" if first is backward else "forward"
        yield Row("bare network", what, n / own_s, 1, n / bare_s, peak, f"against {against} in float32, batch {n}")


def evidence(bench: Bench) -> Iterator[Row]:
    from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
    from xvcore.ops.full_precision import full_precision

    n = bench.sizes.batch
    images, method = bench.images(n), BagNetEvidence()
    targets = torch.arange(10, device=bench.device).remainder(bench.classifier.n_classes).expand(n, -1)
    forward = bench.forward(images)

    def exact() -> None:
        with full_precision(bench.device.type):
            forward()

    bare_s, own_s, peak = bench.in_turns(exact, lambda: method(bench.classifier, images, targets))
    yield Row("evidence", "of 10 targets", n / own_s, 1, n / bare_s, peak, f"batch {n}")


def units(bench: Bench) -> Iterator[Row]:
    from xvcore.units.method.top_activations import TopActivations

    n = bench.sizes.batch
    images, summary, steps = bench.images(n), TopActivations(), torch.arange(n)
    state = [summary.empty(bench.classifier)]

    def scan() -> None:
        state[0] = summary.of_batch(bench.classifier, images, state[0].last_image + 1 + steps, state[0])

    scan()
    bare_s, own_s, peak = bench.in_turns(bench.forward(images), scan)
    yield Row("units", f"{len(state[0].values)} units", n / own_s, 1, n / bare_s, peak, f"batch {n}")


def masks(bench: Bench) -> Iterator[Row]:
    yield from _masks(bench, is_compiled=False)


def compiled_masks(bench: Bench) -> Iterator[Row]:
    yield from _masks(bench, is_compiled=True)


def _masks(bench: Bench, *, is_compiled: bool) -> Iterator[Row]:
    from xvcore.visual_summaries.method.sparse_mask import SparseMask

    n, (smooth, crisp) = bench.sizes.mask_batch, bench.sizes.mask_steps
    images, targets = bench.images(n), torch.zeros(n, dtype=torch.long, device=bench.device)
    for precision in ("float32", "bfloat16"):
        method = SparseMask(smooth_steps=smooth, crisp_steps=crisp, precision=precision, compile=is_compiled)
        bare_s, own_s, peak = bench.in_turns(
            bench.backward(images), lambda method=method: method(bench.classifier, images, targets)
        )
        what = f"{precision}, torch.compile" if is_compiled else precision
        yield Row("masks", what, n / own_s, smooth + crisp, n / bare_s, peak, f"batch {n}, {smooth} + {crisp} steps")


def flow(bench: Bench) -> Iterator[Row]:
    from proposal_flow_speed import SIZE
    from proposal_flow_speed import images as drawn

    from xvcore.visual_summaries.method.proposal_flow import ProposalFlow, Proposals, match_all

    n = bench.sizes.flow_images
    of_class = [
        Proposals(each.boxes.to(bench.device), each.descriptors.to(bench.device))
        for each in drawn(n, bench.sizes.flow_boxes)
    ]
    generator = torch.Generator().manual_seed(1)
    candidates = [torch.rand(len(each.boxes), generator=generator) < 0.2 for each in of_class]
    bare_s, own_s, peak = bench.in_turns(
        bench.forward(bench.images(bench.sizes.batch)), lambda: match_all(of_class, candidates, SIZE, ProposalFlow())
    )
    n_pairs = n * (n + 1) // 2
    note = f"{n_pairs / own_s:.4g} pairs/s of {bench.sizes.flow_boxes} boxes"
    yield Row("proposal flow", f"class of {n} images", n / own_s, 1, bench.sizes.batch / bare_s, peak, note)


def heads(bench: Bench) -> Iterator[Row]:
    from xvcore.prototypes.method.fit import Features, Fit, Probe, Recipe, started
    from xvcore.prototypes.method.head import Head, HeadOptions

    sizes, generator = bench.sizes, torch.Generator().manual_seed(0)
    n = sizes.feature_images
    maps = torch.rand(n, sizes.feature_places, sizes.feature_channels, generator=generator).half()
    features = Features(maps, torch.arange(n) % 20)
    forward = bench.forward(bench.images(sizes.batch))
    for what, drawn, is_amp in (
        ("probe", Probe(sizes.feature_channels, 20), True),
        ("head, float32", Head(sizes.feature_channels, 20), False),
        ("head, bfloat16 on CUDA", Head(sizes.feature_channels, 20), True),
        ("head, drawn positions", Head(sizes.feature_channels, 20, HeadOptions(pooling="gumbel")), True),
    ):
        module = drawn.to(bench.device)
        if isinstance(module, Head):
            started(module, features.root_mean_square, 0)
        fit = Fit(module, Recipe(amp=is_amp), 0)
        bare_s, own_s, peak = bench.in_turns(forward, lambda fit=fit: fit._epoch(features, 0))
        note = f"{n} images of {sizes.feature_places} × {sizes.feature_channels}"
        yield Row("heads", what, n / own_s, 1, sizes.batch / bare_s, peak, note)


@dataclass(frozen=True)
class Jpegs:
    """Drawn photographs: smooth fields with some noise, as large as ImageNet's are on average."""

    files: Mapping[str, bytes]
    name: str = "drawn"
    split: str = "all"
    classes: tuple = ()

    @classmethod
    def drawn(cls, n: int) -> "Jpegs":
        from PIL import Image

        generator, files = torch.Generator().manual_seed(0), []
        for _ in range(min(n, 16)):
            field = torch.nn.functional.interpolate(
                torch.rand(1, 3, 24, 32, generator=generator), (375, 500), mode="bicubic"
            )
            field = field + 0.1 * torch.randn(field.shape, generator=generator)
            pixels = field[0].mul(255).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=90)
            files.append(file.getvalue())
        return cls({str(number): files[number % len(files)] for number in range(n)})

    def images(self, class_id: str) -> tuple:
        return ()

    def read(self, record) -> bytes:
        return self.files[record.image_id]

    def parts(self, class_id: str) -> tuple:
        return ()


def decoding(bench: Bench) -> Iterator[Row]:
    from xvcore.data.loader import load_batches
    from xvcore.data.manifest import ManifestRow

    n, drawn = bench.sizes.jpegs, Jpegs.drawn(bench.sizes.jpegs)
    rows = [
        ManifestRow(key, "", "all", hashlib.sha256(file).hexdigest(), len(file)) for key, file in drawn.files.items()
    ]
    batch, transform = min(32, n), bench.classifier.preprocessing.pixels
    forward = bench.forward(bench.images(bench.sizes.batch))
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for n_threads in [each for each in (1, 2, 4, 8, 16, 32, 64) if each <= max(2, n_cores)]:

        def decode(n_threads: int = n_threads) -> None:
            loaded = load_batches(drawn, rows, transform, batch_size=batch, n_threads=n_threads)
            assert sum(len(each.images.to(bench.device)) for each in loaded) == n

        bare_s, own_s, peak = bench.in_turns(forward, decode)
        note = f"{n / own_s / n_threads:.4g} a thread, {n_cores} cores"
        word = "thread" if n_threads == 1 else "threads"
        yield Row("decoding", f"{n_threads} {word}", n / own_s, 1, bench.sizes.batch / bare_s, peak, note)


SECTIONS: Mapping[str, tuple[Callable[[Bench], Iterator[Row]], float]] = {
    "bare": (bare, 30),
    "evidence": (evidence, 20),
    "units": (units, 20),
    "masks": (masks, 40),
    "flow": (flow, 20),
    "heads": (heads, 40),
    "decoding": (decoding, 30),
    "compiled": (compiled_masks, 150),
}
"""Each section and the seconds that are to be left for it to begin; the one that may take longest is the last."""
TESTS_S = 150.0


@dataclass(frozen=True)
class Report:
    """What was found."""

    head: str
    tests: str
    rows: Sequence[Row]
    words: Sequence[str]

    def __str__(self) -> str:
        words = [f"* {word}" for word in self.words]
        return "\n".join([self.head, "", self.tests, "", *HEADINGS, *map(str, self.rows), "", *words]).rstrip() + "\n"


def gpu_tests() -> list[str]:
    """Return the files that hold tests marked gpu; the others need not even be importable."""
    mark = "pytest.mark." + "gpu"
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if mark in file.read_text()]


def run_tests(device: torch.device, timeout_s: float) -> tuple[str, bool]:
    """Run the tests marked gpu and return what they said and whether none failed."""
    files = gpu_tests()
    title = f"Tests marked gpu ({len(files)} files): "
    if device.type != "cuda":
        return title + f"not run, the device is {device.type}.", True
    if importlib.util.find_spec("pytest") is None:
        return title + "not run, pytest is not installed.", True
    if timeout_s < 20:
        return title + f"not run, {timeout_s:.0f} s are left.", True
    told, is_good = [], True
    began = time.monotonic()
    for file in files:  # one by one: a file that cannot be imported here keeps no other from running
        left = timeout_s - (time.monotonic() - began)
        if left < 10:
            told.append(f"{file}: not run, no time is left")
            continue
        command = [sys.executable, "-m", "pytest", *QUIETLY, file]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=left, check=False
            )
        except subprocess.TimeoutExpired:
            told.append(f"{file}: did not end in {left:.0f} s")
            is_good = False
            continue
        lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing said"]
        told.append(f"{file}: {lines[-1].strip('= ')}")
        if done.returncode != 0:
            is_good = False
            print(done.stdout[-4000:], done.stderr[-1000:], flush=True)
    return title + "; ".join(told) + ".", is_good


def header(device: torch.device, sizes: Sizes) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    tf32 = f"TF32 for convolutions {torch.backends.cudnn.allow_tf32}" if device.type == "cuda" else "no TF32"
    return (
        f"{device.type}: {name}; torch {torch.__version__}, torchvision {torchvision.__version__}, Python "
        f"{platform.python_version()}; {torch.get_num_threads()} threads; {tf32}; network {sizes.network}"
    )


def save(out: Path | None, found: Report) -> None:
    if out is not None:
        out.write_text(str(found))


def main(arguments: Sequence[str] | None = None, began: float = BEGAN) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all of it, from the start of the process")
    parser.add_argument("--out", type=Path, help="file that the table is written to")
    parser.add_argument("--small", action="store_true", help="so little that it is a test")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--without-tests", action="store_true", help="leave out the tests marked gpu")
    given = parser.parse_args(arguments)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device)
    sizes = SMALL if given.small else Sizes()
    deadline = began + 60 * given.minutes

    def left() -> float:
        return deadline - time.monotonic()

    tests, is_good = "Tests marked gpu: left out.", True
    if not given.without_tests:
        tests, is_good = run_tests(device, min(TESTS_S, left() / 3))
    found = Report(header(device, sizes), tests, [], [])
    print("\n".join([found.head, "", found.tests, "", *HEADINGS]), flush=True)
    bench = Bench(device, sizes)
    for name, (section, needed_s) in SECTIONS.items():
        if name not in given.only:
            continue
        word = ""
        if left() < needed_s * sizes.patience:
            word = f"{name}: skipped, {max(0, left()):.0f} s left of {needed_s * sizes.patience:.0f} that it needs."
        else:
            try:
                for row in section(bench):
                    found = dataclasses.replace(found, rows=[*found.rows, row])
                    print(row, flush=True)
                    save(given.out, found)
            except Exception as error:  # noqa: BLE001  the other sections go on, and the exit status tells
                traceback.print_exc()
                is_good = False
                word = f"{name}: FAILED, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if word:
            found = dataclasses.replace(found, words=[*found.words, word])
            print(f"\n* {word}\n", flush=True)
        save(given.out, found)
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
