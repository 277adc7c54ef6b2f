"""Where the program starts: `munit-edge`, and `python -m munit_edge` for launchers like torchrun.

Nothing is imported here before signals end the program without a traceback.
"""

import os
import signal
import sys


def _end(number: int, frame: object) -> None:
    """End at once: outside of a command only what a command has left is to be cleaned up."""
    try:
        # A module that is still being imported has none, and holds nothing.
        locks = sys.modules.get("munit_edge.files.held_locks")
        if let_go_of_all := getattr(locks, "let_go_of_all", None):
            let_go_of_all()
    finally:
        os._exit(128 + number)


def main() -> None:
    """Entry point of the command line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    from munit_edge.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
