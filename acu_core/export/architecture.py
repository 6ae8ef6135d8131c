"""A network of torch.nn layers in words, as JSON: what a person needs to build it again for a plain state dict.

Nothing reads it back. What a file says is never looked up and called: a description from elsewhere could name anything.
"""

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
# A function is described when its name leads to it from here: what a reader can type.
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
        NotDescribable: the network has control flow, hooks, shared or foreign layers, or parameters outside its layers.
    """
    modules = describe_modules(network)
    # The tracer steps over what is called around a layer's own forward.
    if any(module._forward_pre_hooks or module._forward_hooks for module in network.modules()):
        raise NotDescribable("a hook changes what a layer takes or gives")
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
    # A description that does not hold exactly the network's parameters would be worse than none.
    if _described_shapes(network, modules) != {name: value.shape for name, value in network.state_dict().items()}:
        raise NotDescribable("it has shared or changed layers, or parameters outside its layers")
    return {"steps": steps, "result": result}


def _described_shapes(network: nn.Module, modules: Mapping[str, Mapping[str, Any]]) -> dict[str, torch.Size]:
    """The shapes that layers of the described arguments have, by their names in the state dict."""
    shapes = {}
    for name, described in modules.items():
        # The class is the network's own, not what the description calls it.
        kind: Any = type(network.get_submodule(name))
        try:
            with torch.device("meta"):
                layer = kind(**described["arguments"])
        except (TypeError, ValueError) as error:
            raise NotDescribable(f"{name} is not all said by its arguments ({error})") from error
        prefix = f"{name}." if name else ""
        shapes.update({prefix + key: value.shape for key, value in layer.state_dict().items()})
    return shapes


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
    if isinstance(value, torch.memory_format):
        return {"torch": str(value).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NotDescribable(f"an argument of {type(value).__name__}")
