"""What the README prints is what there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from acu_core.experiments.frozen_twin import train
from acu_core.recipe import registry
from acu_core.recipe.schema import Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_python_of_the_readme_runs() -> None:
    code = PYTHON[0]
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), names)
    plain, model = names["plain"], names["model"]
    assert isinstance(plain, nn.Module)
    assert isinstance(model, nn.Module)
    assert {type(module) for module in plain} == {nn.Conv2d, nn.ReLU}  # type: ignore[union-attr]
    image = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(plain(image), model(image), rtol=1e-4, atol=1e-5)


def test_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Recipe]) -> None:
    _, network, registration = PYTHON
    (tmp_path / "my_network.py").write_text(network)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry.NETWORKS, "_places", dict(registry.NETWORKS._places))
    exec(compile(registration, "README.md", "exec"), {})
    recipe = tiny("network.name=mine", "network.options={width=4}", "schedule.iterations=4")
    report = train(recipe, tmp_path / "run")
    assert report.finished
    assert report.active_layers == 1


def test_every_command_is_in_the_readme() -> None:
    from typer.main import get_command

    from acu_cli.app import app

    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`acu {name}" in README, name


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists(), link
