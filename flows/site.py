"""The report site of ``xv up``: the files of one folder, and nothing else.

``python -m flows.site PORT --bind HOST --directory FOLDER``. A folder is answered by its ``index.html`` only: what lies
in it is not listed. Links are followed within the folder only.
"""

import argparse
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NOTHING_YET = b"<!doctype html><title>xv</title><p>No report has been written yet; every finished run writes one.\n"


class Site(SimpleHTTPRequestHandler):
    """Answers with files that lie in the folder, also by way of links within it, and with no list of them."""

    def send_head(self) -> Any:
        """Open what is asked for; nothing is there where a link leads out of the folder."""
        root = Path(self.directory).resolve()
        found = Path(self.translate_path(self.path))
        if all(each.resolve().is_relative_to(root) for each in (found, found / "index.html")):
            return super().send_head()
        self.send_error(HTTPStatus.NOT_FOUND)
        return None

    def list_directory(self, path: Any) -> None:
        """Say that there is nothing; where the front page is to be, that nothing was written yet."""
        if self.path.partition("?")[0] != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(NOTHING_YET)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(NOTHING_YET)


def serve(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return the server of a folder, bound and not yet at work."""
    return ThreadingHTTPServer((host, port), partial(Site, directory=str(folder)))


def main() -> None:
    """Serve a folder until the process is ended."""
    parser = argparse.ArgumentParser(description="the files of one folder, and nothing else")
    parser.add_argument("port", type=int)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--directory", type=Path, required=True)
    asked = parser.parse_args()
    with serve(asked.directory, asked.bind, asked.port) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
