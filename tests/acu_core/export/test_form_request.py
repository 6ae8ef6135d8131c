from __future__ import annotations

import pytest

from acu_core.errors import UserError
from acu_core.export.form_request import AUTO, FormRequest

NAMES = ("conv1_1", "conv2_1", "conv2_2")
ALL = ("dense", "shifts", "custom")


def test_a_form_for_all_and_others_for_some() -> None:
    assert FormRequest.of([]).for_layers(NAMES, ALL) == dict.fromkeys(NAMES, AUTO)
    request = FormRequest.of(["conv2_*=shifts", "dense", "conv2_2=custom"])
    assert request.for_layers(NAMES, ALL) == {"conv1_1": "dense", "conv2_1": "shifts", "conv2_2": "custom"}
    assert FormRequest.of(["a=b=dense"]).layers == (("a=b", "dense"),)


@pytest.mark.parametrize("word", ["fast", "conv1_1=fast", "=dense", "conv1_1=", ""])
def test_words_that_say_no_form(word: str) -> None:
    with pytest.raises(UserError, match=f"{word!r} is no form: say one of auto, dense, shifts, custom for all layers"):
        FormRequest.of([word])


def test_two_forms_for_all_contradict_each_other() -> None:
    with pytest.raises(UserError, match="both dense and shifts are asked for all layers"):
        FormRequest.of(["dense", "shifts"])


def test_what_is_not_there() -> None:
    with pytest.raises(UserError, match=r"no active layer is called 'conv3\*': there are conv1_1, conv2_1, conv2_2"):
        FormRequest.of(["conv3*=dense"]).for_layers(NAMES, ALL)
    with pytest.raises(UserError, match="no active layer is called 'x': there are none"):
        FormRequest.of(["x=dense"]).for_layers((), ALL)
    with pytest.raises(UserError, match="the form custom does not fit this format, which can hold dense and shifts"):
        FormRequest.of(["conv1_1=custom"]).for_layers(NAMES, ALL[:2])
