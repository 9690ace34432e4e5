"""OpenVINO without its telemetry."""

import sys
from types import ModuleType


def openvino() -> ModuleType:
    """The package ``openvino``.

    By itself it tells a server of Google's that it was imported and what was converted, unless the user has
    refused beforehand, and from a process that is forked beside running threads. It does not where the
    package that does so cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino  # type: ignore[no-any-return]
