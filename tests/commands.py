"""``geoseg`` as it is typed: in this process, where torch is imported already, or in one of its own."""

import io
import os
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from geoseg.cli.main import run
from geoseg.errors import GeosegWarning

ROOT = Path(__file__).parents[1]
Done = subprocess.CompletedProcess[str]


def geoseg(*args: object, cwd: Path = ROOT) -> Done:
    """The console script, its exit code and what it printed."""
    out, err, argv = io.StringIO(), io.StringIO(), ["geoseg", *map(str, args)]
    with (
        patch.object(sys, "argv", argv),
        patch.dict(os.environ),
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", GeosegWarning)  # which the tests make errors
        try:
            run()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def geoseg_process(*args: object) -> Done:
    """The same in a process of its own, which takes seconds."""
    command = [sys.executable, "-c", "from geoseg.cli.main import run; run()", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
