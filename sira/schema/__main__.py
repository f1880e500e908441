"""``python -m sira.schema [report.json|metadata.json]`` prints the schema of a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from sira.schema.files import FILES, json_schema


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the schema of a file."""
    parser = argparse.ArgumentParser(
        prog="python -m sira.schema", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("file", nargs="?", default="report.json", choices=FILES)
    schema = json_schema(*FILES[parser.parse_args(arguments).file])
    print(json.dumps(schema, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
