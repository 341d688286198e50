"""How each tool is run: its command, its settings, and what it proves about the bytes it moved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cargo import Cargo
from servers import Pair, Server

BIN = Path(sys.executable).parent
FERRY, RCLONE = str(BIN / "dataferry"), str(BIN / "rclone")
BASELINE = "rclone"
TUNED = ["--transfers", "16", "--checkers", "16", "--fast-list", "--s3-no-check-bucket", "--s3-no-head"]
TUNED += ["--s3-chunk-size", "16M", "--s3-upload-concurrency", "8", "--s3-disable-checksum"]
TUNED += ["--multi-thread-streams", "8", "--multi-thread-chunk-size", "16M", "--multi-thread-cutoff", "64M"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One tool.

    Attributes:
        name: In results.
        command: From pair, directory of settings, source and sink bucket.
        verification: What a run proved, from the pair, the cargo and what it printed.
        hello: Starts it, does nothing, ends.
    """

    name: str
    command: Callable[[Pair, Path, str, str], list[str]]
    verification: Callable[[Pair, Cargo, str], str]
    hello: list[str]


def _ferry(pair: Pair, directory: Path, source: str, sink: str) -> list[str]:
    config = directory / "dataferry.toml"
    config.write_text(
        "".join(
            f'[locations.{name}]\ntype = "s3"\nendpoint_url = "{server.endpoint_url}"\n'
            f'access_key_id = "{server.access_key_id}"\nsecret_access_key = "{server.secret_access_key}"\n'
            for name, server in (("from", pair.source), ("to", pair.sink))
        )
    )
    return [FERRY, "copy", f"from:{source}/", f"to:{sink}/", "--config", str(config), "--quiet", "--json"]


def _ferry_proved(_pair: Pair, _cargo: Cargo, output: str) -> str:
    return str(json.loads(output.splitlines()[-1])["verification"])


def _rclone(pair: Pair, directory: Path, source: str, sink: str) -> list[str]:
    config = directory / "rclone.conf"
    config.write_text(
        "".join(
            f"[{name}]\ntype = s3\nprovider = Other\nendpoint = {server.endpoint_url}\nregion = us-east-1\n"
            f"access_key_id = {server.access_key_id}\nsecret_access_key = {server.secret_access_key}\n"
            for name, server in (("from", pair.source), ("to", pair.sink))
        )
    )
    return [RCLONE, "--config", str(config), "copy", f"from:{source}", f"to:{sink}"]


def _rclone_proved(pair: Pair, cargo: Cargo, _output: str) -> str:
    """It compares MD5s where both ends have one; an object sent in parts has none."""
    return "md5" if pair.md5_etags and cargo.object_bytes < 200 * 1024**2 else "size"


def _boto3(_pair: Pair, _directory: Path, source: str, sink: str) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("boto3_copy.py")), source, sink]


CONTESTANTS = (
    Contestant(name="dataferry", command=_ferry, verification=_ferry_proved, hello=[FERRY, "--version"]),
    Contestant(name=BASELINE, command=_rclone, verification=_rclone_proved, hello=[RCLONE, "--version"]),
    Contestant(
        name="rclone tuned",
        command=lambda *run: [*_rclone(*run), *TUNED],
        verification=lambda *_: "size",
        hello=[RCLONE, "--version"],
    ),
    Contestant(
        name="boto3",
        command=_boto3,
        verification=lambda *_: "crc32 per request",
        hello=[sys.executable, "-c", "import boto3; boto3.client('s3', region_name='us-east-1')"],
    ),
)


def environment(pair: Pair, directory: Path) -> dict[str, str]:
    """Return the environment of every contestant; each trusts the authority by its own means."""
    settings = {"source": _arguments(pair.source), "sink": _arguments(pair.sink)}
    found = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(directory),
        "XDG_STATE_HOME": str(directory / "state"),
        "BENCH_PAIR": json.dumps(settings),
    }
    if pair.ca_file is not None:
        found |= {"SSL_CERT_FILE": str(pair.ca_file), "AWS_CA_BUNDLE": str(pair.ca_file)}
    return found


def _arguments(server: Server) -> dict[str, str]:
    return {
        "endpoint_url": server.endpoint_url,
        "aws_access_key_id": server.access_key_id,
        "aws_secret_access_key": server.secret_access_key,
    }


def used(names: Collection[str]) -> list[str]:
    """Return what ``versions`` calls those that contestants of these names start."""
    return sorted({name.partition(" ")[0] for name in names})


def commit() -> str:
    """Return what the code that is here now is called, and whether it was changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = _first_line([*git, "rev-parse", "--short", "HEAD"])
    changed = _first_line([*git, "status", "--porcelain", "--untracked-files=no", "--", "../src", "*.py"])
    return f"{head}, changed" if changed else head


def versions() -> dict[str, str]:
    """Return what may be measured, and with what: dataferry's commit stands elsewhere."""
    return {
        "dataferry": version("dataferry"),
        "rclone": _first_line([RCLONE, "--version"]).removeprefix("rclone "),
        "boto3": f"{version('boto3')}, s3transfer {version('s3transfer')}",
        "juicefs": _first_line([str(BIN / "juicefs"), "--version"]).removeprefix("juicefs version "),
        "python": sys.version.split()[0],
    }


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()
