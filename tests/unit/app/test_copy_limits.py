"""Where the limits of a copy come from: the configuration, both locations, the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataferry.app.configuration import load
from dataferry.app.ends import open_ends
from dataferry.app.outcome import CopyOptions
from dataferry.domain.errors import ConfigError, InputError
from dataferry.domain.limits import MIB
from dataferry.engine.transfer import EngineLimits

CONFIGURATION = """
[engine]
workers = 16
part_size_bytes = 2097152

[locations.from]
type = "file"
root = "{root}"
workers = 12
part_size_bytes = 3145728
multipart_threshold_bytes = 4194304

[locations.to]
type = "file"
root = "{root}"
workers = 10
part_size_bytes = 5242880
"""


def limits(directory: Path, **flags: str | int) -> EngineLimits:
    """The limits of a copy between both locations."""
    file = directory / "dataferry.toml"
    file.write_text(CONFIGURATION.format(root=directory))
    given: dict[str, str | int | None] = dict.fromkeys(
        ("workers", "part_size", "multipart_threshold", "bandwidth", "ledger")
    )
    options = CopyOptions.of(**{"overwrite": "never", **given, **flags, "config": str(file)})  # type: ignore[arg-type]
    return open_ends("from:a/", "to:b/", options)[1]


def test_locations_count_for_a_copy(tmp_path: Path) -> None:
    """The fewest threads of all, the destination's parts, the source's threshold where it alone has one."""
    found = limits(tmp_path)
    assert (found.workers, found.part_size_bytes, found.multipart_threshold_bytes) == (10, 5 * MIB, 4 * MIB)


def test_the_command_line_comes_before_the_file(tmp_path: Path) -> None:
    """Its sizes replace those of locations; its threads stay within what locations bear."""
    found = limits(tmp_path, workers=4, part_size="7M", multipart_threshold="9M", bandwidth="10M")
    assert (found.workers, found.bandwidth_bytes_per_s) == (4, 10 * MIB)
    assert (found.part_size_bytes, found.multipart_threshold_bytes) == (7 * MIB, 9 * MIB)
    assert limits(tmp_path, workers=200).workers == 10


def test_a_size_that_no_store_takes_is_refused(tmp_path: Path) -> None:
    """More than 5 GiB in one request is an error of the command line."""
    with pytest.raises(InputError, match="--multipart-threshold 6G: at most 5G"):
        limits(tmp_path, multipart_threshold="6G")


@pytest.mark.parametrize("key", ["workers", "part_size_bytes", "bandwidth_bytes_per_s"])
def test_limits_of_a_location_are_checked(tmp_path: Path, key: str) -> None:
    """The file is refused, and the line named."""
    file = tmp_path / "dataferry.toml"
    file.write_text(f'[locations.a]\ntype = "file"\nroot = "/"\n{key} = 0\n')
    with pytest.raises(ConfigError, match=rf"locations\.a\.{key}: input should be greater"):
        load(str(file))
