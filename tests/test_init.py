"""`init`: a settings file to start from, and whether the token is one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.cli import starter
from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import Settings
from tests.commands import Run, refused

EXAMPLE = Path(__file__).parent.parent / "genesis-etl.example.toml"


def test_the_example_is_written(run: Run) -> None:
    """Without a token the file is the example, loads as the defaults, and the next step is named."""
    ended = run("init")
    assert (ended.code, ended.out) == (0, b"")
    assert Path("genesis-etl.toml").read_bytes() == EXAMPLE.read_bytes()
    assert Settings.load(environ={}) == Settings()
    assert "wrote genesis-etl.toml" in ended.err
    assert "next: put your token into the variable GENESISCLOUD_TOKEN, then `genesis-etl export`" in ended.err
    assert os.listdir(".") == ["genesis-etl.toml"]


@pytest.mark.parametrize("content", ["", "lake = 'mine'", "not toml"])
def test_a_file_that_is_there_is_left_alone(run: Run, content: str) -> None:
    """Nothing is overwritten, whatever it holds, and that is misuse."""
    Path("genesis-etl.toml").write_text(content)
    refused(run("init"), 2, "genesis-etl.toml is there already", "--config")
    assert Path("genesis-etl.toml").read_text() == content


def test_a_link_to_nowhere_is_there_too(run: Run) -> None:
    """What a dangling link points to is not written."""
    os.symlink("elsewhere.toml", "genesis-etl.toml")
    refused(run("init"), 2, "is there already")
    assert not Path("elsewhere.toml").exists()


def test_another_file_is_named_by_config(run: Run) -> None:
    """--config says where to, before or after the command, and the next step repeats it."""
    for arguments in (("init", "--config", "a b.toml"), ("--config", "c.toml", "init")):
        ended = run(*arguments)
        assert ended.code == 0
    assert "`genesis-etl export --config c.toml`" in ended.err
    assert sorted(os.listdir(".")) == ["a b.toml", "c.toml"]
    refused(run("init", "--config", "none/x.toml"), 2, "cannot write none/x.toml: No such file or directory")


def test_a_token_is_tried_with_one_request(api: Callable[..., Sandbox], run: Run) -> None:
    """A good token is said to be one after a single request, and is not shown."""
    sandbox = api()
    ended = run("init")
    assert ended.code == 0
    assert "the token in GENESISCLOUD_TOKEN is accepted; next: `genesis-etl export`" in ended.err
    assert len(sandbox.requests) == 1
    assert sandbox.token not in ended.err
    assert not Path("data").exists()


def test_a_token_that_is_refused_is_3(api: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written, the refusal is the error, and the token is not shown."""
    api()
    monkeypatch.setenv("GENESISCLOUD_TOKEN", "wrong-token-0123")
    ended = run("init", "--quiet")
    refused(ended, 3, "401", "GENESISCLOUD_TOKEN was refused")
    assert "wrong-token" not in ended.err
    assert Path("genesis-etl.toml").exists()


def test_a_full_disk_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written whole is not there afterwards."""

    def full() -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(starter, "example", full)
    with pytest.raises(Exception, match=r"cannot write x.toml: No space left on device"):
        starter.write_settings(Path("x.toml"))
    assert os.listdir(".") == []
