"""What one unit of a network can see at most: a bound of its gradient that holds for every image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from acu_core.errors import UserError
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.dominating_functions import (
    CONSTANT_NAMES,
    MAYBE_COPIES,
    NotDominatedError,
    depends_on_image,
    dominating,
    function_name,
)

_POOLING = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"}
_OVER_THE_IMAGE = _POOLING | {"mean", "sum", "amax", "max"}
_NO_FIELD = "no receptive field of this network can be computed"
_NEVER = -1
# What is computed again in the backward pass would be computed by the network's own functions.
_COMPUTED_AGAIN = "it computes maps again in its backward pass (checkpointing), which must be turned off first"
# What then reads or writes a tensor's memory, no call tells.
_OUT_OF_SIGHT = {"numpy", "array", "dlpack", "data_ptr", "storage", "untyped_storage"}
_VIEWS = """Alias AsStrided Diagonal Expand Permute Select Slice Split SplitWithSizes Squeeze T Transpose Unbind Unfold
    Unsqueeze View"""
# Autograd makes views anew when what they are of was changed in place.
_MADE_BY_AUTOGRAD = {"torch::autograd::AccumulateGrad", *(f"{view}Backward" for view in _VIEWS.split())}
_TO_VECTORS = {"flatten", "view", "reshape", "squeeze"}


class GradientBound:
    """Bounds the gradient of a network's last map before global pooling, at its centre, by the network's input.

    In the network in evaluation mode every function is replaced by a linear one whose coefficients are not negative
    and which dominates its derivatives: a weight by its absolute value, BatchNorm by |scale| / sqrt(variance + eps),
    ReLU by the identity, max pooling by the sum over its window, another activation by its largest slope. One backward
    pass through that network is exact, whatever the input.

    The last map is what the last average, sum or maximum over the image is taken of; else what the last adaptive
    pooling takes, of whatever size its result; else the last map that becomes a vector. Its centre is the unit
    (h // 2, w // 2), the same one whose synapses stand around it in an even kernel.

    Everything is computed on the CPU in float64; the network itself stays as it is, where it is.

    Args:
        model: any network that takes images (1, C, H, W).
        input_shape: (C, H, W).

    Raises:
        UserError: the network has no last map. That a function of it has no bound, `gradient` says, by its name.
    """

    @torch.inference_mode(False)
    def __init__(self, model: nn.Module, input_shape: Sequence[int]) -> None:
        # A compiled network hides its functions.
        self._model: nn.Module = getattr(model, "_orig_mod", model)
        for name, module in self._model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise UserError(f"{_place(name, module)} is TorchScript, whose functions cannot be seen here")
        self.input_shape = tuple(input_shape)
        named = [
            *self._model.named_parameters(remove_duplicate=False),
            *self._model.named_buffers(remove_duplicate=False),
        ]
        # Layers may share their positions or weights: the first one's name counts.
        first: dict[int, str] = {}
        self._owners = {name: first.setdefault(id(tensor), name) for name, tensor in named}
        self._state = {name: tensor.detach().cpu() for name, tensor in named if self._owners[name] == name}
        self._layers = tuple(active_layers(self._model))
        finder = _Finder()
        dtype = next((t.dtype for t in self._state.values() if t.is_floating_point()), torch.float32)
        self._run(finder, self._state, dtype)
        self._last = finder.last or _NEVER
        self._state = {name: t.double() if t.is_floating_point() else t for name, t in self._state.items()}
        if finder.last is None:
            # A function that has no bound says more than that the last map was not found behind it.
            self._run(_Dominated(_NEVER), self._state, torch.float64)
            raise UserError(
                f"{type(self._model).__name__} has no last map: nothing in it pools over the image, and no map of "
                "it becomes a vector"
            )

    @torch.inference_mode(False)
    def gradient(self, positions: Mapping[str, Tensor] | None = None) -> tuple[Tensor, tuple[int, int]]:
        """The bound (C, H, W), float64, of the derivatives of the unit's sum over channels, and the map's size (h, w).

        `positions` (G, K, 2) by the name of an active layer take the place of the network's own. Raises UserError for
        a function that has no such bound, for a name that no active layer has, and for a bound that float64 cannot
        hold.
        """
        moved: dict[str, Tensor] = {}
        for name, value in (positions or {}).items():
            if name not in self._layers:
                raise UserError(f"the network has no active layer {name}; it has {', '.join(self._layers) or 'none'}")
            owner = self._owners[f"{name}.positions"]
            wanted, found = (tuple(t.shape) for t in (self._state[owner], value))
            if found != wanted:
                raise UserError(f"the positions of {name} are {found}, those of the network {wanted}")
            given = value.detach().cpu().double()
            if owner in moved and not moved[owner].equal(given):
                raise UserError(f"the positions of {name} are shared with another layer, for which others are given")
            moved[owner] = given
        state = self._state | moved
        dominated = _Dominated(self._last)
        drawn = torch.get_rng_state()
        image = self._run(dominated, state, torch.float64)
        assert dominated.map is not None
        if not drawn.equal(torch.get_rng_state()):
            torch.set_rng_state(drawn)
            raise UserError(f"{_NO_FIELD}: it draws random numbers in evaluation mode too, so its gradient is random")
        self._refuse_unseen(dominated.map, dominated)
        height, width = dominated.map.shape[-2:]
        unit = dominated.map[0, :, height // 2, width // 2].sum()
        (gradient,) = torch.autograd.grad(unit, image, allow_unused=True)
        gradient = torch.zeros_like(image) if gradient is None else gradient
        if not bool(torch.isfinite(gradient).all()):
            raise UserError("the network's weights or positions are not finite, or it is so deep that its bound is not")
        return gradient[0], (height, width)

    def _run(self, mode: _Mode, state: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        image = torch.zeros(1, *self.input_shape, dtype=dtype, requires_grad=True)
        try:
            # A network may change its buffers in place, and its input, which a leaf of the graph does not allow.
            own = {name: tensor.clone() for name, tensor in state.items()}
            with (
                torch.enable_grad(),
                _evaluating(self._model),
                disable_saved_tensors_hooks(_COMPUTED_AGAIN),
                mode,
                _Unseen(mode),
            ):
                functional_call(self._model, own, (image.clone(),))
        except _Reached:
            pass
        except RuntimeError as error:
            if str(error) != _COMPUTED_AGAIN:
                raise
            raise UserError(f"{_NO_FIELD}: {_COMPUTED_AGAIN}") from error
        except NotDominatedError as error:
            place = self._caller(error.__traceback__)
            raise UserError(f"{_NO_FIELD}: {place} {error}") from error
        return image

    def _caller(self, trace: TracebackType | None) -> str:
        """The innermost module whose forward is on the stack."""
        names = {id(module): name for name, module in self._model.named_modules()}
        found: nn.Module = self._model
        while trace is not None:
            module = trace.tb_frame.f_locals.get("self")
            if id(module) in names and isinstance(module, nn.Module):
                found = module
            trace = trace.tb_next
        return _place(names[id(found)], found)

    def _refuse_unseen(self, last: Tensor, dominated: _Dominated) -> None:
        """Raises UserError for what was called, or what autograd would do, without a call that was seen."""
        hidden = dominated.hidden
        met: set[Any] = set()
        waiting: list[Any] = [last.grad_fn]
        while waiting:
            step: Any = waiting.pop()
            if step is None or step in met:
                continue
            met.add(step)
            name = step.name()
            if isinstance(step, torch.autograd.function.BackwardCFunction):
                if "acu_active_conv2d" not in name:
                    own = name.removesuffix("Backward")
                    raise UserError(
                        f"{_NO_FIELD}: {own} is an autograd function of its own, for which no bound is known here"
                    )
            elif step not in dominated.steps and name.rstrip("0123456789") not in _MADE_BY_AUTOGRAD:
                hidden = hidden or name
            waiting += [before for before, _ in step.next_functions]
        if hidden is not None:
            raise UserError(
                f"{_NO_FIELD}: {type(self._model).__name__} calls {hidden} where it cannot be seen here (in "
                "TorchScript, another thread or an extension)"
            )


class _Reached(Exception):
    """The last map was computed; what follows does not matter."""


class _Mode(TorchFunctionMode):
    """Sees every function of PyTorch that a network calls; counts those that may be taken of its last map."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.inside = 0
        self.hidden: str | None = None
        """A function of the image that was called where this cannot see it."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.inside += 1
        try:
            return self._seen(func, args, kwargs or {})
        finally:
            self.inside -= 1

    def _seen(self, func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        name = function_name(func)
        leaves = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        self.check(name, leaves)
        given = args[0] if args else options.get("input")
        if isinstance(given, Tensor) and given.requires_grad and name in _OVER_THE_IMAGE | _TO_VECTORS:
            self.calls += 1
            return self.candidate(func, given, args, options)
        if not any(depends_on_image(leaf) for leaf in leaves):
            return func(*args, **options)
        return self.called(func, args, options)

    def check(self, name: str, given: list[Tensor]) -> None:
        """Of any call, before it is made."""

    def candidate(self, func: Callable[..., Any], given: Tensor, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A call that may be taken of the last map, `given`."""
        raise NotImplementedError

    def called(self, func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Any other call with something that depends on the image."""
        raise NotImplementedError


class _Unseen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what runs without a call that `_Mode` sees: TorchScript's functions and those of extensions."""

    supports_higher_order_operators = True

    def __init__(self, mode: _Mode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._mode = mode

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # What is called here is not a call of the network.
        with torch._C.DisableTorchFunction():
            if not self._mode.inside and any(depends_on_image(leaf) for leaf in tree_leaves((args, kwargs))):
                self._mode.hidden = self._mode.hidden or str(func)
            return func(*args, **(kwargs or {}))


class _Finder(_Mode):
    """Finds which of the calls takes the last map."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, int] = {}
        self._unrolled: tuple[Tensor, int] | None = None

    @property
    def last(self) -> int | None:
        """The number of that call; None where there is none."""
        return next((self._found[kind] for kind in ("global", "adaptive", "vector") if kind in self._found), None)

    def candidate(self, func: Callable[..., Any], given: Tensor, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        result = func(*args, **options)
        name = function_name(func)
        reduced = next((leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), given)
        if name in _OVER_THE_IMAGE:
            if given.dim() == 4 and given.shape[-2:].numel() > 1 and reduced.numel() == given.shape[:2].numel():
                self._found["global"] = self.calls
            elif self._unrolled and given is self._unrolled[0] and reduced.numel() == given.shape[:2].numel():
                self._found["global"] = self._unrolled[1]
            elif given.dim() == 4 and (name.startswith("adaptive") or (name not in _POOLING and reduced.dim() < 3)):
                self._found["adaptive"] = self.calls
        if given.dim() == 4 and reduced.dim() == 3 and reduced.shape[:2] == given.shape[:2]:
            # One of the two sides is gone, or both are one: what is taken of the rest is taken of the map.
            self._unrolled = reduced, self.calls
        elif name in _TO_VECTORS and given.dim() == 4 and reduced.dim() == 2 and len(reduced) == len(given):
            self._found["vector"] = self.calls
        return result

    def called(self, func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return func(*args, **options)


class _Dominated(_Mode):
    """Calls the dominating functions until the last map is there."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self._last = last
        self.map: Tensor | None = None
        self.steps: set[Any] = set()
        """What autograd does for the calls that were seen."""
        # Kept, so that no other storage takes the place of one that was freed.
        self._written: dict[int, torch.UntypedStorage] = {}
        self._maybe_copied: dict[int, torch.UntypedStorage] = {}

    def check(self, name: str, given: list[Tensor]) -> None:
        for leaf in given:
            if name in _OUT_OF_SIGHT:
                self._maybe_copied |= _storage(leaf)
            if is_functorch_wrapped_tensor(leaf):
                raise NotDominatedError(f"calls {name} in torch.vmap or torch.func, for which no bound is known here")
            if self._written and not leaf.requires_grad and _storage(leaf).keys() & self._written.keys():
                raise NotDominatedError(f"calls {name} on what shares its memory with a map, out of the gradient")

    def _remember(self, changed: list[Any], earlier: set[Any]) -> None:
        waiting = [leaf.grad_fn for leaf in changed if isinstance(leaf, Tensor)]
        while waiting:
            step = waiting.pop()
            if step is not None and step not in earlier and step not in self.steps:
                self.steps.add(step)
                waiting += [before for before, _ in step.next_functions]

    def candidate(self, func: Callable[..., Any], given: Tensor, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if self.calls == self._last:
            self.map = given
            raise _Reached
        return self.called(func, args, options)

    def called(self, func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        name = function_name(func)
        if options.get("out") is not None:
            raise NotDominatedError(f"calls {name} with out=, which is not known here")
        given = [(leaf, _version(leaf)) for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        bases = [leaf._base for leaf, _ in given if leaf._base is not None]
        earlier = {leaf.grad_fn for leaf in (*(leaf for leaf, _ in given), *bases)}
        result = dominating(func)(*args, **options)
        results = tree_leaves(result)
        self._remember([*results, *(leaf for leaf, _ in given), *bases], earlier)
        for leaf, before in given:
            if _version(leaf) != before:
                self._written |= _storage(leaf)
                if _storage(leaf).keys() & self._maybe_copied.keys():
                    raise NotDominatedError(f"changes by {name}, in place, what something else may share")
        if name in MAYBE_COPIES:
            for leaf in (*(leaf for leaf, _ in given), *results):
                self._maybe_copied |= _storage(leaf)
        for leaf in results:
            if isinstance(leaf, Tensor) and leaf.is_complex():
                raise NotDominatedError(f"calls {name} with complex numbers, for which no bound is known here")
            # Its values are not those of the real network.
            lost = isinstance(leaf, Tensor) and not (leaf.requires_grad and torch.is_grad_enabled())
            # What only changes a map returns nothing.
            lost = lost or (leaf is None and not torch.is_grad_enabled())
            if lost and name not in CONSTANT_NAMES:
                raise NotDominatedError(f"takes what {name} returns out of the gradient, for which no bound is known")
        return result


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _storage(value: Any) -> dict[int, torch.UntypedStorage]:
    """By its place in memory; nothing of what has none."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or not value.numel():
        return {}
    storage = value.untyped_storage()
    return {storage.data_ptr(): storage}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    before = [(module, module.training) for module in model.modules()]
    operators = [(layer, layer.__dict__.get("operator"), layer.operator) for layer in active_layers(model).values()]
    model.eval()
    try:
        for layer, _, operator in operators:
            # Spread bilinearly on the pixels, weights of both signs would cancel.
            layer.operator = lambda batch, weight, *others, by=operator: by(batch, weight.abs(), *others)
        yield
    finally:
        for layer, own, _ in operators:
            if own is None:
                del layer.operator
            else:
                layer.operator = own
        for module, training in before:
            module.training = training


def _place(name: str, module: nn.Module) -> str:
    return f"{name} ({type(module).__name__})" if name else type(module).__name__
