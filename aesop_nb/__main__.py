"""`python -m aesop_nb`: the demo, and the doctor where there is no notebook."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .console.scripts import INTERRUPTED
from .errors import AesopError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says and gives the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        return _demo() if chosen.command == "demo" else _doctor(check=chosen.check)
    except AesopError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aesop_nb", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="run the quickstart notebook in a kernel and print what it shows")
    doctor = commands.add_parser("doctor", help="what is set up, and what to do where it is not well")
    doctor.add_argument(
        "--check",
        action="store_true",
        help="also send the model one tiny request, and look for local servers",
    )
    return parser


def _demo() -> int:
    from .demos import demo

    return 0 if demo(_print) else 1


def _doctor(*, check: bool) -> int:
    from .notebook.doctor import doctor

    _print(doctor(check=check))
    return 0


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
