"""The fastest form is chosen by what was measured, layer by layer and of whole networks; here the clock is made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from oracles import relative_error
from torch import nn

from acu_core import ActiveConv2d
from acu_core.bench.timing import Timing
from acu_core.export import form_choice, layer_forms
from acu_core.export.form_choice import choose_forms, usual_batch
from acu_core.export.form_request import FormRequest
from acu_core.export.form_timing import SURROUNDINGS, time_runs
from acu_core.export.formats import FORMATS
from acu_core.export.onnx_runs import onnx_layer_runs

SIZE = (3, 9, 9)


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(ActiveConv2d(3, 32, 3, padding=1), nn.ReLU(), ActiveConv2d(32, 4, 3, padding=1, stride=2))
    for layer in (model[0], model[2]):
        layer.positions.data *= 1.6
    return model.eval()


Clock = Callable[[Mapping[str, Callable[[], object]]], dict[str, Timing]]


def clock(*readings: Mapping[str, float], spread: float = 0.0) -> Clock:
    """A clock that says, comparison by comparison, how long what begins with a name took."""
    left = list(readings)

    def read(runs: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
        said = left.pop(0)
        return {run: Timing(next(s for name, s in said.items() if run.startswith(name)), spread, 7) for run in runs}

    return read


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(*readings: Mapping[str, float], spread: float = 0.0) -> None:
        made = clock(*readings, spread=spread)
        monkeypatch.setattr(layer_forms, "time_runs", made)
        monkeypatch.setattr(form_choice, "time_runs", made)

    return put


def test_each_layer_gets_its_fastest_form(set_clock: Callable[..., None]) -> None:
    set_clock(
        {"ordinary": 1.0, "dense": 2.0, "shifts": 3.0, "custom": 0.5},
        {"ordinary": 1.0, "dense": 5.0, "shifts": 4.0, "custom": 0.5},
        {"ordinary": 2.0, "dense": 7.0, "shifts": 7.0, "exported": 6.0, "custom": 1.0},
    )
    model = network()
    plain, choice = choose_forms(model, SIZE, FormRequest(), FORMATS[".pt2"], batch=2)
    assert choice.chosen == {"0": "dense", "2": "shifts"}, "custom is measured, not chosen: it needs acu"
    assert {one.network: one.seconds for one in choice.networks} == {
        "ordinary": 2.0,
        "dense": 7.0,
        "shifts": 7.0,
        "custom": 1.0,
        "exported": 6.0,
    }
    assert (choice.batch, choice.runtime) == (2, "PyTorch")
    images = torch.randn(3, *SIZE)
    with torch.no_grad():
        assert relative_error(plain(images), model(images)) < 1e-5
    assert isinstance(model[0], ActiveConv2d), "the model itself stays"


def test_a_network_in_one_form_that_is_faster_as_a_whole_is_taken(set_clock: Callable[..., None]) -> None:
    set_clock(
        {"ordinary": 1.0, "dense": 2.0, "shifts": 3.0},
        {"ordinary": 1.0, "dense": 5.0, "shifts": 4.0},
        {"ordinary": 2.0, "dense": 8.0, "shifts": 5.0, "exported": 6.0},
    )
    format = replace(FORMATS[".safetensors"])
    _, choice = choose_forms(network(), SIZE, FormRequest(), format, batch=2)
    assert choice.chosen == {"0": "shifts", "2": "shifts"}
    assert choice.networks[-1].seconds == 5.0


def test_what_is_asked_for_is_done_whatever_is_faster(set_clock: Callable[..., None]) -> None:
    set_clock(
        {"ordinary": 1.0, "dense": 2.0, "shifts": 3.0},
        {"ordinary": 1.0, "dense": 2.0, "shifts": 3.0},
        {"ordinary": 2.0, "dense": 4.0, "shifts": 4.0, "exported": 5.0},
    )
    format = FORMATS[".safetensors"]
    _, choice = choose_forms(network(), SIZE, FormRequest.of(["2=shifts"]), format, batch=2)
    assert choice.chosen == {"0": "dense", "2": "shifts"}
    # Nothing is measured where nothing is to be chosen: the clock has no more to say.
    _, choice = choose_forms(network(), SIZE, FormRequest.of(["dense", "0=shifts"]), format, batch=2)
    assert choice.chosen == {"0": "shifts", "2": "dense"}
    assert choice.batch is None
    assert all(one.seconds is None for one in choice.networks)


def test_shifts_of_nothing_are_the_dense_kernel(set_clock: Callable[..., None]) -> None:
    # On the grid a kernel of 3x3 is the best way to shift, so there is no third thing to time.
    model = nn.Sequential(ActiveConv2d(3, 8, 3, padding=1)).eval()
    set_clock(
        {"ordinary": 2.0, "dense": 2.0, "shifts": 0.1},
        {"ordinary": 2.0, "dense": 2.0, "shifts": 2.0, "exported": 2.0},
    )
    _, choice = choose_forms(model, SIZE, FormRequest(), FORMATS[".safetensors"], batch=2)
    assert choice.chosen == {"0": "dense"}
    assert choice.layers[0].forms["shifts"].seconds == 2.0


@pytest.mark.parametrize(("spread", "said"), [(0.4, False), (0.6, True)])
def test_a_busy_machine_is_told(set_clock: Callable[..., None], spread: float, said: bool) -> None:
    model = nn.Sequential(ActiveConv2d(3, 8, 3, padding=1)).eval()
    times = {"ordinary": 2.0, "dense": 2.0, "shifts": 2.0, "exported": 2.0}
    set_clock(times, times, spread=spread)
    notes: list[str] = []
    choose_forms(model, SIZE, FormRequest(), FORMATS[".safetensors"], batch=2, note=notes.append)
    assert any(text.startswith("The machine was busy: ") for text in notes) is said


def test_a_form_that_a_layer_lacks(set_clock: Callable[..., None]) -> None:
    model = nn.Sequential(ActiveConv2d(6, 12, 3, groups=6, position_groups=2)).eval()
    model[0].positions.data *= 1.5
    format = FORMATS[".safetensors"]
    with pytest.raises(ValueError, match="layer 0: it has no form shifts: position groups in a grouped convolution"):
        choose_forms(model, (6, 9, 9), FormRequest("shifts"), format, batch=2)
    set_clock({"ordinary": 1.0, "dense": 2.0}, {"ordinary": 1.0, "dense": 2.0, "exported": 2.0})
    _, choice = choose_forms(model, (6, 9, 9), FormRequest(), format, batch=2)
    assert choice.chosen == {"0": "dense"}
    assert "shifts" in choice.layers[0].refused


def test_a_network_without_active_layers_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    plain, choice = choose_forms(model, SIZE, FormRequest(), FORMATS[".onnx"], batch=2)
    assert plain is model
    assert choice.chosen == {}


def test_each_layer_in_its_surroundings_runs_what_it_says() -> None:
    torch.manual_seed(0)
    layers = {"a": nn.Conv2d(4, 4, 3, padding=1), "b": nn.Conv2d(4, 8, 1)}
    runs = onnx_layer_runs(layers, (4, 6, 5), 3)
    assert list(runs) == [SURROUNDINGS, "a", "b"]
    found = {name: run() for name, run in runs.items()}
    shapes = {name: output[0].shape for name, output in found.items()}  # type: ignore[index]
    assert shapes == {SURROUNDINGS: (3, 4, 1, 1), "a": (3, 4, 1, 1), "b": (3, 8, 1, 1)}


def test_runs_are_timed_in_turns() -> None:
    called: list[str] = []
    found = time_runs({"a": lambda: called.append("a"), "b": lambda: called.append("b")})
    assert found["a"].rounds == found["b"].rounds >= 7
    assert called.count("a") == called.count("b")
    # Every round has each once.
    assert all({*called[i : i + 2]} == {"a", "b"} for i in range(0, len(called), 2))


def test_fewer_of_large_images_are_timed_at_once() -> None:
    assert [usual_batch((3, side, side)) for side in (17, 32, 64, 224, 1000)] == [64, 64, 64, 5, 1]


def test_a_layer_whose_dense_kernel_would_be_huge_still_has_other_forms() -> None:
    layer = ActiveConv2d(192, 192, 3, padding=1, bias=False).eval()
    layer.positions.data[0, 0] = torch.tensor([-90.5, 0.0])
    layer.positions.data[0, 1] = torch.tensor([0.0, -90.5])
    found = layer_forms.layer_forms("far", layer, (192, 4, 4), FORMATS[".safetensors"], batch=1)
    assert list(found.forms) == ["shifts"]
    assert "too far out" in found.refused["dense"]
    assert found.forms["shifts"].seconds is not None
