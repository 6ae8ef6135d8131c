"""From snapshots to pictures: how the shapes of a run's layers changed."""

from __future__ import annotations

from acu_core.render.animation import RenderReport, default_output, render_animation

__all__ = ["RenderReport", "default_output", "render_animation"]
