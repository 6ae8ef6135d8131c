"""What becomes active in each family of timm: `python tests/support/timm_families.py` rewrites docs/networks.md.

A family is a module of timm. It is convolutional when one of its models has at least two convolutions whose windows
overlap: more than the cutting of an image into patches. Nothing is downloaded: all weights are random.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.conversion_rule import active_by_rule
from acu_core.nn.timm_network import convolution_kinds

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
SMALLEST_KERNEL = 3
CLOSE = 1e-11
"""Of the largest value, in float64: rounding gives 1e-15, and 1e-13 where weights are standardised."""


@dataclass(frozen=True)
class Family:
    """A small model of a family, and the images that it is asked about."""

    module: str
    model: str
    size: int = 64
    sized: bool = False
    """Whether the model is built for one size of images."""
    large: bool = False
    """Whether it has 40 million parameters or more: then the test suite leaves it to this command."""


FAMILIES = (
    Family("byoanet", "lambda_resnet26t"),
    Family("byobnet", "mobileone_s1"),
    Family("byobnet", "repvgg_a0"),
    Family("coat", "coat_tiny", sized=True),
    Family("convmixer", "convmixer_768_32"),
    Family("convnext", "convnext_zepto_rms"),
    Family("cpubone", "cpubone_nano"),
    Family("csatv2", "csatv2"),
    Family("cspnet", "cs3darknet_focus_s"),
    Family("cspnext", "cspnext_tiny"),
    Family("davit", "davit_tiny"),
    Family("densenet", "densenet121"),
    Family("dla", "dla46x_c"),
    Family("dpn", "dpn48b"),
    Family("edgenext", "edgenext_xx_small"),
    Family("efficientformer", "efficientformer_l1", size=224),
    Family("efficientformer_v2", "efficientformerv2_s0", sized=True),
    Family("efficientnet", "efficientnet_b0"),
    Family("efficientnet", "tf_efficientnet_b0"),
    Family("efficientnet", "mixnet_s"),
    Family("efficientnet", "efficientnet_cc_b0_4e"),
    Family("efficientvim", "efficientvim_m1"),
    Family("efficientvit_mit", "efficientvit_b0"),
    Family("efficientvit_msra", "efficientvit_m0"),
    Family("fasternet", "fasternet_t0"),
    Family("fastvit", "fastvit_t8"),
    Family("focalnet", "focalnet_tiny_srf"),
    Family("gcvit", "gcvit_xxtiny", sized=True),
    Family("ghostnet", "ghostnet_050"),
    Family("ghostnet", "ghostnetv3_050"),
    Family("hardcorenas", "hardcorenas_b"),
    Family("hgnet", "hgnetv2_b0"),
    Family("hrnet", "hrnet_w18_small"),
    Family("iformer", "iformer_t"),
    Family("inception_next", "inception_next_atto"),
    Family("inception_resnet_v2", "inception_resnet_v2", size=96, large=True),
    Family("inception_v3", "inception_v3", size=96),
    Family("inception_v4", "inception_v4", size=96, large=True),
    Family("lcnetv2", "lcnetv2_small"),
    Family("levit", "levit_128s", sized=True),
    Family("lowformer", "lowformer_b0"),
    Family("mambaout", "test_mambaout"),
    Family("maxxvit", "coatnet_pico_rw_224", sized=True),
    Family("metaformer", "poolformer_s12"),
    Family("metaformer", "convformer_s18"),
    Family("mobilenetv3", "lcnet_035"),
    Family("mobilenetv3", "mobilenetv4_conv_small"),
    Family("mobilenetv5", "mobilenetv5_base", large=True),
    Family("mobilevit", "mobilevit_xxs"),
    Family("mvitv2", "mvitv2_tiny"),
    Family("nasnet", "nasnetalarge", large=True),
    Family("nest", "nest_tiny", sized=True),
    Family("nextvit", "nextvit_small"),
    Family("nfnet", "test_nfnet"),
    Family("nfnet", "nf_regnet_b0"),
    Family("nfnet", "dm_nfnet_f0", large=True),
    Family("pit", "pit_ti_224", sized=True),
    Family("pnasnet", "pnasnet5large", large=True),
    Family("pvt_v2", "pvt_v2_b0"),
    Family("rdnet", "rdnet_tiny"),
    Family("regnet", "regnetx_002"),
    Family("repghost", "repghostnet_050"),
    Family("repvit", "repvit_m1"),
    Family("res2net", "res2next50"),
    Family("resnest", "resnest14d"),
    Family("resnet", "resnet10t"),
    Family("resnetv2", "resnetv2_18"),
    Family("resnetv2", "resnetv2_50x1_bit"),
    Family("rexnet", "rexnet_100"),
    Family("selecsls", "selecsls42"),
    Family("senet", "legacy_seresnet18"),
    Family("shvit", "shvit_s1"),
    Family("sknet", "skresnet18"),
    Family("starnet", "starnet_s050"),
    Family("swiftformer", "swiftformer_xs"),
    Family("tiny_vit", "tiny_vit_5m_224"),
    Family("tresnet", "tresnet_m"),
    Family("twins", "twins_svt_small"),
    Family("vgg", "vgg11", large=True),
    Family("visformer", "visformer_tiny", sized=True),
    Family("vitamin", "vitamin_small_224", sized=True),
    Family("volo", "volo_d1_224", sized=True),
    Family("vovnet", "ese_vovnet19b_slim_dw"),
    Family("xception", "legacy_xception"),
    Family("xception_aligned", "xception41p"),
    Family("xcit", "xcit_nano_12_p8_224"),
)
PATCHES_ONLY = {
    "beit": "beit_base_patch16_224",
    "cait": "cait_xxs24_224",
    "convit": "convit_tiny",
    "crossvit": "crossvit_tiny_240",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "eva": "eva02_tiny_patch14_224",
    "gemma4_vit": "gemma4_vit_167m",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "mlp_mixer": "gmlp_ti16_224",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "qwen3_vit": "qwen3_vit_88m",
    "sequencer": "sequencer2d_s",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tnt": "tnt_s_patch16_224",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16",
}
"""The other families: a model of each, with at most one convolution whose windows overlap."""


@dataclass(frozen=True)
class Measured:
    """What became active in a model, and how far its layers and its output then are from those it had."""

    family: Family
    active: int
    overlapping: int
    one_by_one: int
    narrow: int
    """Convolutions with a side below 3 but not 1x1: ordinary by the rule."""
    kinds: Counter[str]
    """How many of the active ones were another class than Conv2d, by class."""
    others: Counter[str]
    """Convolutions that are no Conv2d, by class: they stay what they are."""
    silent: tuple[str, ...]
    """Active layers that put out nothing but zeros, so that nothing could be compared."""
    difference: float
    """The largest one, of a layer's output or of the network's, relative to the largest value there."""

    @property
    def equal(self) -> bool:
        """Whether the family is active as it should be."""
        return self.difference <= CLOSE and not self.silent and self.overlapping > 1

    def row(self) -> str:
        """A line of the table in Markdown."""
        narrow = f"{self.narrow} with a side below 3" if self.narrow else ""
        others = ", ".join(f"{count} {kind}" for kind, count in sorted(self.others.items()))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        left = "; ".join(part for part in (narrow, others) if part)
        cells = (self.family.module, f"`{self.family.model}`", str(self.active), kinds, str(self.one_by_one), left)
        return f"| {' | '.join(cells)} |"


def overlapping(convs: Iterable[nn.Conv2d]) -> int:
    """How many have windows that overlap."""
    return sum(any(kernel > step for kernel, step in zip(c.kernel_size, c.stride, strict=True)) for c in convs)


def measure(family: Family) -> Measured:
    """Builds the family's model with random weights, converts it, and compares both on the same images, in float64."""
    torch.manual_seed(1)
    sized = {"img_size": family.size} if family.sized else {}
    model = timm.create_model(family.model, num_classes=10, **sized).eval().double()
    for parameter in model.parameters():
        # A layer that starts at 0 would be equal whatever it computed.
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    images = torch.randn(1, 3, family.size, family.size, dtype=torch.float64)
    converted = active_by_rule(model, family.model, SMALLEST_KERNEL, (), convolution_kinds())
    names = list(active_layers(converted))
    expected, actual = _outputs(model, names, images), _outputs(converted, names, images)
    assert expected.keys() == actual.keys() == {*names, ""}, "a layer was not called"
    silent = tuple(name for name in names if not any(bool(value.any()) for value in expected[name]))
    differences = [
        (ours - theirs).abs().max() / theirs.abs().max()
        for name in expected
        if name not in silent
        for theirs, ours in zip(expected[name], actual[name], strict=True)
    ]
    convs = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    small = [conv for name, conv in convs.items() if name not in names]
    pointwise = sum(max(conv.kernel_size) == 1 for conv in small)
    return Measured(
        family,
        active=len(names),
        overlapping=overlapping(convs[name] for name in names),
        one_by_one=pointwise,
        narrow=len(small) - pointwise,
        kinds=Counter(type(convs[name]).__name__ for name in names if type(convs[name]) is not nn.Conv2d),
        others=Counter(
            type(module).__name__
            for module in model.modules()
            if re.search(r"Conv(Transpose)?\dd$", type(module).__name__)
            and not isinstance(module, nn.Conv2d)
            # A convolution itself, not what holds some.
            and next(module.parameters(recurse=False), None) is not None
        ),
        silent=silent,
        # torch's maximum of numbers with NaN among them is NaN.
        difference=float(torch.stack(differences).max()),
    )


@torch.no_grad()
def _outputs(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, list[Tensor]]:
    """What each layer puts out, call by call, and under "" the network's output."""
    found: dict[str, list[Tensor]] = {}

    def keep(name: str) -> None:
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output: found.setdefault(name, []).append(output.clone())
        )

    for name in names:
        keep(name)
    logits = model(images)
    found[""] = list(logits) if isinstance(logits, tuple | list) else [logits]
    return found


def table(measured: Iterable[Measured]) -> str:
    """The table of docs/networks.md."""
    head = "| Family | Model | Active | of these not plain | 1x1 | ordinary otherwise |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(row.row() for row in measured)


def written_rows() -> list[str]:
    """The rows of the page's table."""
    return re.findall(r"^\| \w+ \| `.*\|$", PAGE.read_text(), re.MULTILINE)


def main() -> int:
    """Measures all families and rewrites the page's table; 1 where something is not as the page says."""
    failures = [f"{name}: not listed here" for name in _unlisted()]
    for module, name in PATCHES_ONLY.items():
        with torch.device("meta"):
            model = timm.create_model(name)
        if overlapping(conv for conv in model.modules() if isinstance(conv, nn.Conv2d)) > 1:
            failures.append(f"{module}: {name} is convolutional")
    measured = []
    for family in FAMILIES:
        found = measure(family)
        measured.append(found)
        print(f"{found.row()} {found.difference:.1e}", flush=True)
        if not found.equal:
            failures.append(f"{family.model}: {found}")
    begin, end = "<!-- timm families -->\n", "\n<!-- end -->"
    before, _, rest = PAGE.read_text().partition(begin)
    PAGE.write_text(before + begin + table(measured) + end + rest.partition(end)[2])
    print("\n".join(failures) or f"{len({family.module for family in FAMILIES})} families are active")
    return bool(failures)


def _unlisted() -> list[str]:
    return sorted({*timm.list_modules()} - {*PATCHES_ONLY} - {family.module for family in FAMILIES})


if __name__ == "__main__":
    sys.exit(main())
