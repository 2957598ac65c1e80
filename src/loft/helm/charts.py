"""Where our charts are: beside the package in a wheel or an image, in `charts/` of a checkout."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

import loft

_PACKAGE = Path(loft.__file__).parent
_PLACES = (_PACKAGE / "_charts", _PACKAGE.parent.parent / "charts")


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """What Chart.yaml says."""

    name: str
    version: str


def chart_path(name: str) -> Path:
    """Return the directory of one of our charts. Raises: FileNotFoundError naming where it was looked for."""
    for place in _PLACES:
        if (place / name / "Chart.yaml").is_file():
            return place / name
    places = " and ".join(str(place) for place in _PLACES)
    raise FileNotFoundError(f"chart {name!r} is neither in {places}; the installation is incomplete")


def read_chart(path: Path) -> Chart:
    """Read a chart's name and version. Raises: OSError, msgspec.ValidationError."""
    return msgspec.convert(yaml.safe_load((path / "Chart.yaml").read_bytes()), Chart)
