"""A compiled step: one graph for a whole training, the results of the plain one; what is said without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from acu_core.data.made_up import made_up_data
from acu_core.errors import UserError
from acu_core.learn import compilation
from acu_core.learn.batch import recipe_batch
from acu_core.learn.compilation import CompilationError, compiled_forward, compiler_missing, compiles
from acu_core.learn.evaluation import evaluate_network
from acu_core.learn.network import recipe_network
from acu_core.learn.step import TrainingStep
from acu_core.recipe.schema import Recipe

Tiny = Callable[..., Recipe]
CPU = torch.device("cpu")
DATA = made_up_data(2, 17, 8, 48)
pytestmark = [
    # Raised inside PyTorch's compiler by some Python versions.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(compiler_missing("cpu") is not None, reason="there is no C++ compiler"),
]


@pytest.fixture(autouse=True)
def _nothing_compiled_yet() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def begun(recipe: Recipe) -> TrainingStep:
    torch.manual_seed(0)
    return TrainingStep(recipe_network(recipe, 2, 8, pretrained=False), recipe)


def take(trained: TrainingStep, recipe: Recipe, iteration: int) -> float:
    return float(trained(iteration, *recipe_batch(recipe, DATA, iteration)).loss)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_graph_from_the_warm_up_on_and_the_results_of_the_plain_step(tiny: Tiny, precision: str) -> None:
    changes = f"machine.precision={precision}", "optimizer.gradient_clip=1.0"
    recipe, plain = tiny("machine.compile=true", *changes), tiny(*changes)
    compiled, other = begun(recipe), begun(plain)
    losses = [(take(compiled, recipe, number), take(other, plain, number)) for number in (1, 2)]
    graphs = counters["stats"]["unique_graphs"]
    assert graphs == 1
    # The positions move from iteration 4 on, the rate falls after 6 and 9.
    with torch._dynamo.config.patch(error_on_recompile=True):
        for number in range(3, 11):
            losses.append((take(compiled, recipe, number), take(other, plain, number)))
            if number in (4, 8):
                # Of other sizes, the last one smaller.
                evaluate_network(compiled.model, DATA, batch_size=20)
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]
    tolerance = {"float32": 1e-4, "bfloat16": 2e-2}[precision]
    assert all(abs(one - other) < tolerance * other for one, other in losses)
    expected = other.model.state_dict()
    assert list(compiled.model.state_dict()) == list(expected)
    for name, value in compiled.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=50 * tolerance, atol=10 * tolerance)


def test_a_second_network_of_a_kind_needs_no_second_graph(tiny: Tiny) -> None:
    # So what a run is rehearsed with, before its directory is made, costs nothing twice.
    recipe = tiny("machine.compile=true")
    take(begun(recipe), recipe, 1)
    with torch._dynamo.config.patch(error_on_recompile=True):
        take(begun(recipe), recipe, 1)
    assert counters["stats"]["unique_graphs"] == 1


def test_dropout_leaves_out_the_same(tiny: Tiny) -> None:
    recipe = tiny("machine.compile=true")
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    forward = compiled_forward(network, recipe, CPU)
    image = torch.rand(4, 2, 17, 17)
    torch.manual_seed(3)
    compiled = forward(image)
    torch.manual_seed(3)
    assert torch.equal(compiled, network(image))


def test_what_is_not_asked_for_is_the_network_itself(tiny: Tiny) -> None:
    network = nn.Flatten()
    assert compiled_forward(network, tiny(), CPU) is network
    assert not compiles(tiny(), CPU)


def test_without_a_compiler_one_sentence(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as settings

    monkeypatch.delenv("CXX", raising=False)
    compiler_missing.cache_clear()
    try:
        with settings.patch({"cpp.cxx": (None, "no-such-compiler")}):
            with pytest.raises(UserError) as caught:
                compilation.refuse_missing_compiler(tiny("machine.compile=true"), CPU)
            compilation.refuse_missing_compiler(tiny(), CPU)
            assert not compiles(tiny("machine.compile=true"), CPU)
    finally:
        compiler_missing.cache_clear()
    assert str(caught.value) == (
        "machine.compile needs a C++ compiler, such as g++: install it, or set machine.compile to false"
    )


class Untraceable(nn.Module):
    """What PyTorch's compiler refuses: it raises while it is traced."""

    def forward(self, image: Tensor) -> Tensor:
        return failing(image)


@torch.library.custom_op("acu_test::failing", mutates_args=())
def failing(image: Tensor) -> Tensor:
    return image.clone()


@failing.register_fake
def _(image: Tensor) -> Tensor:
    raise ArithmeticError("no shape for this")


def test_what_the_compiler_refuses_is_one_sentence(tiny: Tiny) -> None:
    forward = compiled_forward(Untraceable(), tiny("machine.compile=true"), CPU)
    with pytest.raises(CompilationError) as caught, compilation.compiling():
        forward(torch.rand(2, 2))
    assert str(caught.value).startswith("the network cannot be compiled here (")
    assert str(caught.value).endswith("): set machine.compile to false")
    assert "\n" not in str(caught.value)


def test_a_rehearsal_says_so(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from acu_core.learn.workplace import Workplace
    from acu_core.train import begin

    def refused(*_: Any) -> Any:
        raise CompilationError("the network cannot be compiled here (why): set machine.compile to false")

    monkeypatch.setattr(begin.TrainingStep, "__call__", refused)
    with pytest.raises(UserError, match=r"^the network cannot be compiled here"):
        begin.rehearse(tiny("machine.compile=true"), Workplace(DATA, CPU, 1))
