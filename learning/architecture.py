"""Home of architectures: what a flat vector of integers is a model of, and the proof that its arithmetic is exact."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

PARAMETER_EXPONENT = 20  # a parameter W stands for W * 2^-20
PARAMETER_MAX = 2**23 - 1  # |W| is at most this
WEIGHT_EXPONENT = 12  # an evaluation weight w stands for w * 2^-12
WEIGHT_MAX = 32_767  # |w| is at most this
ACTIVATION_MAX = 32_767  # of a hidden activation
INPUT_MAX = 255  # of an input byte
ACCUMULATOR_MAX = 2**47  # no sum inside a layer reaches this

LAYERS_MAX = 8
WIDTH_MAX = 4_096
PARAMETERS_MAX = 2**22
INPUT_EXPONENT_MAX = 8
ACTIVATION_EXPONENT_MAX = 14
JSON_BYTES_MAX = 1_024

_FIELDS = {"activation_exponent": int, "input_exponent": int, "kind": str, "layers": list, "loss": str}
_LOSSES = ("cross_entropy",)


class InvalidArchitecture(ValueError):
    """An architecture from outside that is malformed, not canonical, out of bounds, or could overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseLayer:
    """The arithmetic of one layer: out = (A w + bias) at 2^-accumulator_exponent, then rescaled unless it is last.

    A is [B, fan_in] at 2^-input_exponent with |A| <= input_max; its weight is tensor (fan_out, fan_in) of the flat
    vector from `weight_start`, its bias (fan_out,) from `bias_start`.
    """

    fan_in: int
    fan_out: int
    input_max: int
    input_exponent: int
    shift: int  # of the rescale to the next layer's exponent; 0 for the last layer, whose sums are the logits
    weight_start: int
    bias_start: int

    @property
    def accumulator_exponent(self) -> int:
        """Sums of products stand for multiples of 2^-this."""
        return WEIGHT_EXPONENT + self.input_exponent

    @property
    def bias_shift(self) -> int:
        """How far a bias at 2^-20 is shifted left to the accumulator's scale; where negative, right and rounded."""
        return self.accumulator_exponent - PARAMETER_EXPONENT

    @property
    def sum_max(self) -> int:
        """A bound on the magnitude of every value in the layer: max|A| max|w| K + |bias| + 2^(s-1)."""
        bias = PARAMETER_MAX << self.bias_shift if self.bias_shift > 0 else PARAMETER_MAX
        rounding = 1 << (self.shift - 1) if self.shift else 0
        return self.input_max * WEIGHT_MAX * self.fan_in + bias + rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a task's models have in common; its canonical JSON is its identity.

    Raises InvalidArchitecture on construction where a number is out of bounds or a layer could overflow.
    """

    layers: tuple[int, ...]  # widths, input first
    kind: str = "mlp"
    input_exponent: int = 8  # an input byte v stands for v * 2^-input_exponent
    activation_exponent: int = 9  # a hidden activation a stands for a * 2^-activation_exponent
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        _check_bounds(self)
        expanded = self.dense_layers
        if self.parameters > PARAMETERS_MAX:
            raise InvalidArchitecture(f"{self.parameters} parameters: use narrower layers, at most {PARAMETERS_MAX}")
        for place, layer in enumerate(expanded):
            if layer.sum_max >= ACCUMULATOR_MAX:
                raise InvalidArchitecture(f"sums of layer {place} reach {layer.sum_max}: keep below {ACCUMULATOR_MAX}")

    @classmethod
    def from_json(cls, encoded: bytes) -> Architecture:
        """The architecture of canonical JSON; raises InvalidArchitecture on anything else, however near."""
        if len(encoded) > JSON_BYTES_MAX:
            raise InvalidArchitecture(f"{len(encoded)} bytes of JSON: an architecture has at most {JSON_BYTES_MAX}")
        try:
            value = json.loads(encoded.decode("ascii"))
        except (ValueError, RecursionError) as error:
            raise InvalidArchitecture(f"not ASCII JSON ({error}): send the canonical encoding") from error
        architecture = cls(**_checked_fields(value))
        if architecture.to_json() != encoded:
            raise InvalidArchitecture(f"{encoded!r} is not canonical: send {architecture.to_json()!r}")
        return architecture

    def to_json(self) -> bytes:
        """The canonical JSON: keys sorted, no spaces, every field there."""
        value = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")

    @property
    def dense_layers(self) -> tuple[DenseLayer, ...]:
        """The layers' arithmetic, in order of evaluation."""
        return _KINDS[self.kind](self)

    @property
    def tensors(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of every tensor, in the order in which the flat vector holds them (row-major)."""
        named: list[tuple[str, tuple[int, ...]]] = []
        for place, layer in enumerate(self.dense_layers):
            named.append((f"layers.{place}.weight", (layer.fan_out, layer.fan_in)))
            named.append((f"layers.{place}.bias", (layer.fan_out,)))
        return tuple(named)

    @property
    def parameters(self) -> int:
        """P: how many integers a model is."""
        last = self.dense_layers[-1]
        return last.bias_start + last.fan_out

    @property
    def input_width(self) -> int:
        """How many bytes one sample has."""
        return self.dense_layers[0].fan_in

    @property
    def classes(self) -> int:
        """How many logits a sample gets; labels are 0 to classes - 1."""
        return self.dense_layers[-1].fan_out

    @property
    def logit_exponent(self) -> int:
        """Logits stand for multiples of 2^-this."""
        return self.dense_layers[-1].accumulator_exponent


def _checked_fields(value: object) -> dict[str, Any]:
    """The constructor's arguments from parsed JSON, each of the type it must have (a bool is no int)."""
    if not isinstance(value, dict) or value.keys() != _FIELDS.keys():
        raise InvalidArchitecture(f"an architecture has exactly the fields {sorted(_FIELDS)}: got {value!r}")
    for name, expected in _FIELDS.items():
        if type(value[name]) is not expected:
            raise InvalidArchitecture(f"{name} is {value[name]!r}: it must be a JSON {expected.__name__}")
    if not all(type(width) is int for width in value["layers"]):
        raise InvalidArchitecture(f"layers are {value['layers']!r}: each must be an integer")
    return {**value, "layers": tuple(value["layers"])}


def _check_bounds(architecture: Architecture) -> None:
    """Everything that can be said without expanding the layers."""
    widths, exponent = architecture.layers, architecture.activation_exponent
    if architecture.kind not in _KINDS:
        raise InvalidArchitecture(f"kind {architecture.kind!r}: known are {sorted(_KINDS)}")
    if architecture.loss not in _LOSSES:
        raise InvalidArchitecture(f"loss {architecture.loss!r}: known are {list(_LOSSES)}")
    if not 2 <= len(widths) <= LAYERS_MAX + 1:
        raise InvalidArchitecture(
            f"{len(widths)} widths: one for the input and one for each of 1 to {LAYERS_MAX} layers"
        )
    if not all(1 <= width <= WIDTH_MAX for width in widths) or widths[-1] < 2:
        raise InvalidArchitecture(f"widths {widths}: from 1 to {WIDTH_MAX}, and at least 2 classes")
    if not 0 <= architecture.input_exponent <= INPUT_EXPONENT_MAX:
        raise InvalidArchitecture(f"input_exponent {architecture.input_exponent}: from 0 to {INPUT_EXPONENT_MAX}")
    # The rescale after the first layer must be a shift to the right, by one bit at least, for rounding to be defined.
    highest = min(ACTIVATION_EXPONENT_MAX, WEIGHT_EXPONENT + architecture.input_exponent - 1)
    if not 0 <= exponent <= highest:
        raise InvalidArchitecture(f"activation_exponent {exponent}: from 0 to {highest} after such an input")


def _expand_mlp(architecture: Architecture) -> tuple[DenseLayer, ...]:
    """Dense layers with ReLU between them."""
    layers: list[DenseLayer] = []
    start, last = 0, len(architecture.layers) - 2
    for place, (fan_in, fan_out) in enumerate(pairwise(architecture.layers)):
        exponent = architecture.activation_exponent if place else architecture.input_exponent
        layer = DenseLayer(
            fan_in=fan_in,
            fan_out=fan_out,
            input_max=ACTIVATION_MAX if place else INPUT_MAX,
            input_exponent=exponent,
            shift=WEIGHT_EXPONENT + exponent - architecture.activation_exponent if place < last else 0,
            weight_start=start,
            bias_start=start + fan_in * fan_out,
        )
        layers.append(layer)
        start = layer.bias_start + fan_out
    return tuple(layers)


# Every kind, and how it becomes layers. Another kind is another entry, its layers' arithmetic beside the dense ones.
_KINDS: Mapping[str, Callable[[Architecture], tuple[DenseLayer, ...]]] = {"mlp": _expand_mlp}
