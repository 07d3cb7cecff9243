"""The text of a PDF, read in a process of its own: a hostile file can cost no more than that process."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import suppress
from io import BytesIO

from .refusals import WebError

MAX_PDF_SECONDS = 15.0
MAX_PDF_PAGES = 100
MAX_PDF_CHARACTERS = 200_000
MAX_PDF_MEMORY_BYTES = 1024 * 1024 * 1024

_PASSED_ON = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR", "TEMP")


def read_pdf(body: bytes) -> tuple[str, str]:
    """Gives title and text of a PDF; blocks while it is read.

    Raises:
        WebError: If it cannot be read, or not in time, or nothing is installed that can.
    """
    if importlib.util.find_spec("pypdf") is None:
        raise WebError("PDF files need the extra 'web': pip install 'aesop_nb[web]'.")
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    command = [sys.executable, "-W", "ignore", "-m", f"{__package__}.pdfs"]
    try:
        done = subprocess.run(  # noqa: S603  # our own module; the file comes through stdin
            command, input=body, capture_output=True, env=environment, timeout=MAX_PDF_SECONDS, check=False
        )
        title, text = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise WebError(f"The PDF could not be read within {MAX_PDF_SECONDS:g} s.") from None
    except ValueError:
        raise WebError("The PDF could not be read.") from None
    return str(title), str(text)


def _bound() -> None:
    with suppress(ImportError, ValueError, OSError):
        resource = importlib.import_module("resource")  # not on Windows
        resource.setrlimit(resource.RLIMIT_AS, (MAX_PDF_MEMORY_BYTES, MAX_PDF_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (int(MAX_PDF_SECONDS), int(MAX_PDF_SECONDS)))


def _main() -> None:
    """Reads a PDF from stdin and writes its title and text to stdout, as JSON."""
    _bound()
    reader = importlib.import_module("pypdf").PdfReader(BytesIO(sys.stdin.buffer.read()))
    parts: list[str] = []
    for page in reader.pages[:MAX_PDF_PAGES]:
        parts.append(page.extract_text())
        if sum(map(len, parts)) > MAX_PDF_CHARACTERS:
            break
    title = (reader.metadata.title if reader.metadata else "") or ""
    sys.stdout.write(json.dumps([title, "\n\n".join(parts)[:MAX_PDF_CHARACTERS]]))


if __name__ == "__main__":
    _main()
