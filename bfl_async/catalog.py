"""What is known of the API's models: `CATALOG`, one row a model, and `describe`, a model's fields.

`load(path)` reads BFL's OpenAPI description, for models that are newer than this release.

python -m bfl_async.catalog                          lists the models
python -m bfl_async.catalog --compare openapi.json   lists where BFL's OpenAPI file says otherwise
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bfl_async.models.catalog import CATALOG, SOURCES, ModelInfo, model_info
from bfl_async.models.compare import Difference, compare
from bfl_async.models.describe import FieldInfo, describe
from bfl_async.models.known import Catalog, load

__all__ = [
    "CATALOG",
    "SOURCES",
    "Catalog",
    "Difference",
    "FieldInfo",
    "ModelInfo",
    "compare",
    "describe",
    "load",
    "model_info",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """List the models, or the differences to a file; return 1 when there are some, 2 when it cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m bfl_async.catalog", description="The models of the API.")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="BFL's OpenAPI file, as JSON")
    file: Path | None = parser.parse_args(arguments).compare
    if file is None:
        for row in CATALOG.values():
            sys.stdout.write(f"{row.name:42} {row.family:11} {row.state}\n")
        return 0
    try:
        openapi = json.loads(file.read_bytes())
    except (OSError, ValueError) as exc:
        sys.stderr.write(f"{file} cannot be read as JSON: {exc}\n")
        return 2
    if not isinstance(openapi, dict) or not isinstance(openapi.get("paths"), dict):
        sys.stderr.write(f"{file} is no OpenAPI file: it has no paths\n")
        return 2
    differences = compare(openapi)
    for difference in differences:
        sys.stdout.write(f"{difference}\n")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
