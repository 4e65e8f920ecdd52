"""Laws of the log of a run: every line of the library says what it is about, and none comes per image."""

import logging
from collections.abc import Iterator

import pytest

from flows.logs import LOGGERS, about, heed
from flows.progress import PlainLines, watch


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """As a worker finds them, whatever the command line has set in this process before."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
    heed()
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What a handler writes that was there before the stage began, as Prefect's is."""
    found: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(self.format(record))

    handler = Kept()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    yield found
    for logger in loggers:
        logger.removeHandler(handler)


def test_a_line_from_the_depths_of_the_library_says_network_class_and_stage(lines: list[str]) -> None:
    with watch("net · robin · mask"):
        logging.getLogger("xvcore.ops.memory").warning("out of memory at %d of 100 %%", 16)
    assert lines == ["net · robin · mask: out of memory at 16 of 100 %"]


def test_lines_that_say_it_themselves_are_left_and_so_is_what_comes_later(lines: list[str]) -> None:
    with about("net · robin · mask"):
        logging.getLogger("xvcore.runs.pipeline").info("net · robin · mask: 3 in 1.0 s")
        with about("net · robin · other"):
            logging.getLogger("xvcore.models.load").info("inner")
        logging.getLogger("xvcore.models.load").info("outer")
    logging.getLogger("xvcore.models.load").info("after")
    assert lines == [
        "net · robin · mask: 3 in 1.0 s",
        "net · robin · other: inner",
        "net · robin · mask: outer",
        "after",
    ]


def test_nobody_has_to_choose_a_level_to_see_what_the_stages_did() -> None:
    for name in ("xvcore.runs.pipeline", "flows.progress"):
        assert logging.getLogger(name).isEnabledFor(logging.INFO)
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize(("seconds", "number"), [(3600.0, 0), (0.0, 500)])
def test_the_log_has_a_line_of_progress_now_and_then_not_per_image(
    lines: list[str], seconds: float, number: int
) -> None:
    with PlainLines(seconds).watch("net · robin · mask") as report:
        for done in range(1, 501):
            report(done, 500)
    assert len(lines) == number


def test_a_terminal_sees_the_end_of_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainLines(3600.0, to_stderr=True).watch("net · robin · mask") as report:
        for done in range(1, 501):
            report(done, 500)
    assert capsys.readouterr().err == "net · robin · mask: 500/500 after 0 s\n"
