"""Which form each active layer is to have, as somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from acu_core.errors import UserError

AUTO = "auto"
DENSE, SHIFTS, CUSTOM = "dense", "shifts", "custom"
FORMS = (DENSE, SHIFTS, CUSTOM)
"""Every form, the plainest first."""


@dataclass(frozen=True)
class FormRequest:
    """A form for all layers, and others for some. `AUTO` means the fastest."""

    form: str = AUTO
    layers: tuple[tuple[str, str], ...] = ()
    """Pattern of layers' names and form; the last that fits counts."""

    @classmethod
    def of(cls, words: Iterable[str]) -> FormRequest:
        """From words like `shifts` and `conv2_*=dense`. Raises UserError for one that says nothing of the kind."""
        form, layers = None, []
        for word in words:
            pattern, separator, wanted = word.rpartition("=")
            if wanted not in (AUTO, *FORMS) or (separator and not pattern):
                raise UserError(
                    f"{word[:60]!r} is no form: say one of {', '.join((AUTO, *FORMS))} for all layers, or "
                    "LAYER=FORM for one"
                )
            if separator:
                layers.append((pattern, wanted))
            elif form is not None:
                raise UserError(f"both {form} and {wanted} are asked for all layers: name the layers of one of them")
            else:
                form = wanted
        return cls(form or AUTO, tuple(layers))

    def for_layers(self, names: Sequence[str], offered: Sequence[str]) -> dict[str, str]:
        """The form of each layer, or `AUTO`.

        Raises UserError when a form is asked for that is not `offered`, or for a layer that is not there.
        """
        for wanted in (self.form, *(form for _, form in self.layers)):
            if wanted not in (AUTO, *offered):
                raise UserError(f"the form {wanted} does not fit this format, which can hold {' and '.join(offered)}")
        for pattern, _ in self.layers:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UserError(f"no active layer is called {pattern!r}: there are {', '.join(names) or 'none'}")
        chosen = dict.fromkeys(names, self.form)
        for pattern, form in self.layers:
            chosen.update({name: form for name in names if fnmatchcase(name, pattern)})
        return chosen
