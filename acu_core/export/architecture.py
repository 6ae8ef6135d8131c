"""A network of torch.nn layers as JSON, and back: so that a state dict can be used without the code it came from."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

INPUT = "images"
# Only what is found here is ever called, so a file from elsewhere cannot name other functions.
_FUNCTIONS: dict[str, ModuleType] = {"torch.nn.functional": functional, "torch": torch, "operator": operator}


class NotDescribable(Exception):
    """The network does something that the description has no words for."""


def describe_modules(network: nn.Module) -> dict[str, dict[str, Any]]:
    """The class and the constructor's arguments of each layer of torch.nn, by its name in the state dict."""
    found = {}
    for name, module in network.named_modules():
        kind = type(module)
        if next(module.children(), None) is None and getattr(nn, kind.__name__, None) is kind:
            found[name] = {"class": f"torch.nn.{kind.__name__}", "arguments": _arguments(module)}
    return found


def _arguments(module: nn.Module) -> dict[str, Any]:
    arguments = {}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or not hasattr(module, name):
            continue
        value = getattr(module, name)
        if name == "bias" and (value is None or isinstance(value, Tensor)):
            value = value is not None
        if isinstance(value, tuple):
            value = list(value)
        if value is None or isinstance(value, bool | int | float | str | list):
            arguments[name] = value
    return arguments


def describe_steps(network: nn.Module) -> dict[str, Any]:
    """What is called in which order, from the images to the logits.

    Returns:
        {"steps": [...], "result": name}. A step has a `name`, one of `module`, `function` and `method`, `arguments`
        and `named_arguments`. In those, {"step": name} is the result of an earlier step ("images" is the network's
        input), {"tuple": [...]} a tuple and {"slice": [...]} a slice.

    Raises:
        NotDescribable: the network has control flow, shared or foreign layers, or parameters outside its layers.
    """
    modules = describe_modules(network)
    try:
        graph = fx.symbolic_trace(network).graph
    # Tracing runs the network's own code on values that are not there, which may fail in any way.
    except Exception as error:
        raise NotDescribable(str(error)) from error
    steps: list[dict[str, Any]] = []
    result = ""
    for node in graph.nodes:
        if node.op == "placeholder":
            if node.prev is not graph._root:
                raise NotDescribable("it has more than one input")
        elif node.op == "output":
            (last,) = node.args
            if not isinstance(last, fx.Node):
                raise NotDescribable("it has more than one output")
            result = _reference(last)["step"]
        else:
            steps.append(
                {
                    "name": node.name,
                    **_called(node, modules),
                    "arguments": [_encode(value) for value in node.args],
                    "named_arguments": {name: _encode(value) for name, value in node.kwargs.items()},
                }
            )
    if INPUT in {step["name"] for step in steps}:
        raise NotDescribable(f"a step is called {INPUT}")
    described = {"steps": steps, "result": result}
    # A description that does not hold exactly the network's parameters would be worse than none.
    with torch.device("meta"):
        rebuilt = DescribedNetwork({"modules": modules, **described})
    shapes = {name: value.shape for name, value in rebuilt.state_dict().items()}
    if shapes != {name: value.shape for name, value in network.state_dict().items()}:
        raise NotDescribable("it has shared layers or parameters outside its layers")
    return described


def _reference(node: fx.Node) -> dict[str, str]:
    return {"step": INPUT if node.op == "placeholder" else node.name}


def _called(node: fx.Node, modules: Mapping[str, Any]) -> dict[str, str]:
    if node.op == "call_module" and node.target in modules:
        return {"module": str(node.target)}
    if node.op == "call_method":
        return {"method": str(node.target)}
    if node.op == "call_function":
        function = node.target
        for name, namespace in _FUNCTIONS.items():
            leaf = getattr(function, "__name__", "")
            if leaf and getattr(namespace, leaf, None) is function:
                return {"function": f"{name}.{leaf}"}
    raise NotDescribable(f"{node.op} of {node.target}")


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return _reference(value)
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, slice):
        return {"slice": [_encode(item) for item in (value.start, value.stop, value.step)]}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NotDescribable(f"an argument of {type(value).__name__}")


class DescribedNetwork(nn.Module):
    """The network that a description tells of, made of torch.nn alone, its parameters not yet loaded.

    Shapes: images as described, to logits.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        self._steps = description["steps"]
        self._result = description["result"]
        for name, layer in description["modules"].items():
            *path, leaf = name.split(".")
            parent: nn.Module = self
            for part in path:
                if part not in parent._modules:
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(leaf, getattr(nn, layer["class"].rpartition(".")[2])(**layer["arguments"]))

    def forward(self, images: Tensor) -> Tensor:
        """Takes the steps in their order."""
        values: dict[str, Any] = {INPUT: images}

        def decode(value: Any) -> Any:
            if isinstance(value, list):
                return [decode(item) for item in value]
            if not isinstance(value, dict):
                return value
            if "step" in value:
                return values[value["step"]]
            if "slice" in value:
                return slice(*decode(value["slice"]))
            return tuple(decode(value["tuple"]))

        for step in self._steps:
            arguments = decode(step["arguments"])
            if "module" in step:
                called: Any = self.get_submodule(step["module"])
            elif "function" in step:
                namespace, _, leaf = step["function"].rpartition(".")
                called = getattr(_FUNCTIONS[namespace], leaf)
            else:
                called = getattr(arguments.pop(0), step["method"])
            named = {name: decode(value) for name, value in step["named_arguments"].items()}
            values[step["name"]] = called(*arguments, **named)
        logits: Tensor = values[self._result]
        return logits
