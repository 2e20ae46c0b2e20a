"""A strict stand-in for an XNAT server, to be started alone: see ``--help``.

``python tests/xnat_standin.py --port 8080 [--data DIR]`` serves on this machine only,
with the user ``admin`` and the password ``admin``. Files go below ``--data``; what the
server knows about them ends with the process.
"""

import argparse
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from standin.server import Fault, Request, StandIn

__all__ = ["Fault", "Request", "StandIn", "main"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="a stand-in for an XNAT server")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--data", type=Path, help="where files are kept")
    parser.add_argument("--project", default="BREAST", help="an empty project to add")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as scratch,
        StandIn.start(options.data or Path(scratch), port=options.port) as server,
    ):
        server.add_project(options.project)
        sys.stdout.write(f"{server.url}  admin/admin\n")
        sys.stdout.flush()
        server.wait()


if __name__ == "__main__":
    main()
