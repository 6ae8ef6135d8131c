"""How positions are optimised: parameter groups of their own, and the paper's normalised gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from acu_core.nn.active_conv2d import active_layers


def parameter_groups(
    model: nn.Module, *, lr: float, position_lr: float = 0.001, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Groups for any optimizer, each with a "role": weights, rest, positions. Empty groups are left out.

    Positions are pixels, whatever the scale of the weights and the kind of the optimizer, so that their rate does not
    follow from `lr`. A schedule that changes the "lr" of every group, as torch's do, changes theirs by the same factor.

    Args:
        model: any network, with or without active layers.
        lr: learning rate of weights and rest.
        position_lr: that of the positions, in pixels a step; the paper's 0.1 * 0.01 by default. With SGD and
            `normalize_positions` each synapse moves by it (and with momentum 0.9 by up to ten times as much, once it
            keeps its direction). An optimizer that divides by the size of the gradient, as Adam does, moves a synapse
            about that far along y and along x, normalised or not: the momentum of SGD is not in it, so that 0.003 to
            0.01 goes as far as 0.001 does there. Where such an optimizer's weights learn slowly, give them a head start
            (a warm-up in which the positions' `.grad` is None): positions that outrun them settle in a worse shape.
        weight_decay: of the weights: parameters of two or more dimensions. The rest (biases, scale and shift of
            normalisation) and the positions have none.
    """
    by_id = {id(layer.positions): layer.positions for layer in active_layers(model).values()}
    ids, positions = set(by_id), list(by_id.values())  # two layers may share their shape
    others = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    groups: list[dict[str, Any]] = [
        {"role": "weights", "params": [p for p in others if p.dim() > 1], "lr": lr, "weight_decay": weight_decay},
        {"role": "rest", "params": [p for p in others if p.dim() <= 1], "lr": lr, "weight_decay": 0.0},
        {
            "role": "positions",
            "params": positions,
            "lr": position_lr,
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]


def normalized_gradient(gradient: Tensor) -> Tensor:
    """Each synapse's (dy, dx) divided by its length, so that every synapse moves by the learning rate.

    Args:
        gradient: (..., 2).

    Returns:
        (..., 2) of length 1, or 0 where the gradient is 0 (paper, section 3.3). `hypot`, so that a tiny gradient does
        not underflow when it is squared.
    """
    length = torch.hypot(gradient[..., 0], gradient[..., 1]).unsqueeze(-1)
    # Scaled first: dividing by a subnormal length would overflow.
    scale = torch.where(length > 0, gradient.abs().amax(dim=-1, keepdim=True), torch.ones_like(length))
    scaled = gradient / scale
    return torch.where(length > 0, scaled / torch.hypot(scaled[..., 0], scaled[..., 1]).unsqueeze(-1), gradient)


@torch.no_grad()
def _normalize(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        if group.get("role") != "positions":
            continue
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            parameter.grad.copy_(normalized_gradient(parameter.grad))
            # A fused optimizer divides by GradScaler's factor inside its step, which must not shorten the gradient.
            scale = getattr(optimizer, "grad_scale", None)
            if scale is not None:
                parameter.grad.mul_(scale)


def _before_step(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    # torch hands over what it was called with, the optimizer itself first.
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        _normalize(optimizer)
        return None

    def normalizing_closure() -> Any:
        loss = closure()
        _normalize(optimizer)
        return loss

    return args[:1], {**kwargs, "closure": normalizing_closure}


def _keep_roles(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any] | None:
    # A state saved without roles would take them away from the groups, and the positions would silently no longer be
    # normalised.
    if len(state["param_groups"]) != len(optimizer.param_groups):
        return None  # torch says what is wrong
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
    groups = [{"role": now["role"], **saved} if "role" in now else saved for saved, now in pairs]
    return {**state, "param_groups": groups}


def normalize_positions(optimizer: Optimizer) -> RemovableHandle:
    """Makes `optimizer` normalise the gradient of the group with the role "positions" at each step.

    A step pre-hook: it comes after accumulation, all-reduce, unscaling and clipping, which is the order that the
    normalised gradient needs; a closure given to the step is followed by it. A position whose `.grad` is None (during
    warm-up, say) is left alone.

    Meant for SGD. Adam and its kin divide y and x each by its own average size, so that the direction is no longer the
    gradient's: a synapse moves by up to the rate along both. There, the normalised gradient only makes all batches
    count alike in those averages, which does no harm.

    Returns:
        a handle with `remove()`.

    Raises:
        ValueError: no parameter group has the role "positions"; `parameter_groups` makes one.
    """
    if not any(group.get("role") == "positions" for group in optimizer.param_groups):
        raise ValueError(
            'no parameter group has the role "positions": make the groups with parameter_groups(model, ...)'
        )
    optimizer.register_load_state_dict_pre_hook(_keep_roles)
    return optimizer.register_step_pre_hook(_before_step)
