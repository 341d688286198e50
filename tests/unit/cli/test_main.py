"""The entry point: versions, exit codes, and errors without tracebacks."""

from __future__ import annotations

import pytest

from dataferry import __version__
from dataferry.cli.main import main
from dataferry.domain.errors import ConnectionFailedError

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["--debug", "--version"]])
def test_the_version_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, with exit code 0."""
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"dataferry {__version__}\n"


@pytest.mark.parametrize("arguments", [["copy", "only-one"], ["nonsense"], ["serve", "--prot", "1"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And the usage is shown on stderr."""
    assert main(arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_an_expected_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """With the way out, without a traceback, and with exit code 1."""
    assert main(["flows", "list", "--url", NOBODY]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert f"nothing answers at {NOBODY}: is `dataferry serve` running there?" in printed.err


@pytest.mark.parametrize(
    "arguments",
    [["--debug", "flows", "list", "--url", NOBODY], ["flows", "list", "--url", NOBODY, "--debug"]],
)
def test_debug_shows_tracebacks(arguments: list[str]) -> None:
    """Wherever it stands, the error is raised as it is."""
    with pytest.raises(ConnectionFailedError):
        main(arguments)


def test_a_file_called_debug_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind ``--`` everything is an argument."""
    assert main(["copy", "--", "--debug", "/nowhere/x"]) == 1
    assert "--debug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--overwrite", "sometimes"], 2, "write if-different, never, always"),
        (["--part-size", "big"], 2, "'big' is not a size"),
        (["--part-size", "1K"], 2, "at least 1M"),
        (["--multipart-threshold", "1"], 2, "at least 1M"),
        (["--multipart-threshold", "6G"], 2, "at most 5G"),
        (["--bandwidth", "0"], 2, "at least one byte"),
        (["--config", "/nowhere.toml"], 1, "there is no configuration file /nowhere.toml"),
    ],
)
def test_options_that_make_no_sense_say_so(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is copied, and what is wrong is named."""
    assert main(["copy", "/nowhere/a", "/nowhere/b", *arguments]) == code
    assert said in capsys.readouterr().err


def test_mechanisms_need_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    """What is installed can be listed and shown anywhere."""
    assert main(["mechanisms", "list", "--json"]) == 0
    assert '"name": "file"' in capsys.readouterr().out
    assert main(["mechanisms", "show", "file"]) == 0
    assert "root" in capsys.readouterr().out
    assert main(["mechanisms", "show", "nfs"]) == 1
    assert "there is no mechanism 'nfs'" in capsys.readouterr().err
