"""Report why a Python cannot build the virtual environment, before venv's obscure message.

Written for any Python from 3.6 on, so that an old one reaches the message.
"""

import importlib.util
import sys

found = f"{sys.version_info[0]}.{sys.version_info[1]} ({sys.executable})"
another = "name another with `make PYTHON=python3.12 ...`"

if sys.version_info < (3, 10):  # noqa: UP036 - the Python of the user, not of the project
    sys.exit(f"munit-edge needs Python 3.10 or newer and this is {found}: {another}")
if importlib.util.find_spec("ensurepip") is None:
    sys.exit(
        f"Python {found} cannot make virtual environments: install its module ensurepip (on Debian "
        f"and Ubuntu `apt install python3-venv`), or {another}"
    )
