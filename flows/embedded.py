"""Prefect's embedded server, which a command that fans out to Ray starts where no other server is named."""

import signal
import threading


def start_server() -> None:
    """Start the embedded server, deaf to Ctrl-C; nothing where another server is named.

    A terminal sends Ctrl-C to all processes of a command. The server has to be there until the command has said to it
    that its flow has ended, and is told to end then.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    failures: list[Exception] = []

    def start() -> None:
        # A process inherits the signals that are blocked of the thread that starts it; this one's own are Python's.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            SubprocessASGIServer().start()
        except Exception as error:  # noqa: BLE001  raised below
            failures.append(error)

    starting = threading.Thread(target=start, daemon=True)
    starting.start()
    starting.join()
    if failures:
        raise failures[0]
