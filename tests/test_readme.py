"""What the README prints is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_of_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), names)
    plain, model = names["plain"], names["model"]
    assert isinstance(plain, nn.Module)
    assert isinstance(model, nn.Module)
    assert {type(module) for module in plain} == {nn.Conv2d, nn.ReLU}  # type: ignore[union-attr]
    image = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(plain(image), model(image), rtol=1e-4, atol=1e-5)


def test_every_command_is_in_the_readme() -> None:
    from typer.main import get_command

    from acu_cli.app import app

    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`acu {name}" in README, name


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists(), link
