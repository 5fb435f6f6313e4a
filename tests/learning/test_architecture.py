"""An architecture has one encoding, bounded sizes, and arithmetic that provably cannot overflow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.architecture import (
    ACCUMULATOR_MAX,
    PARAMETER_MAX,
    Architecture,
    DenseLayer,
    InvalidArchitecture,
)

CANONICAL = b'{"activation_exponent":9,"input_exponent":4,"kind":"mlp","layers":[64,32,10],"loss":"cross_entropy"}'
FIELDS = json.loads(CANONICAL)


def encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def test_canonical_json_is_the_architecture():
    architecture = Architecture.from_json(CANONICAL)
    assert architecture == Architecture(layers=(64, 32, 10), input_exponent=4)
    assert architecture.to_json() == CANONICAL
    assert architecture.tensors == (
        ("layers.0.weight", (32, 64)),
        ("layers.0.bias", (32,)),
        ("layers.1.weight", (10, 32)),
        ("layers.1.bias", (10,)),
    )
    assert architecture.parameters == 64 * 32 + 32 + 32 * 10 + 10
    assert (architecture.input_width, architecture.classes, architecture.logit_exponent) == (64, 10, 21)


def test_layers_lie_one_after_the_other_and_rescale_to_the_activations():
    assert Architecture(layers=(3, 4, 2), input_exponent=4).dense_layers == (
        DenseLayer(fan_in=3, fan_out=4, input_max=255, input_exponent=4, shift=7, weight_start=0, bias_start=12),
        DenseLayer(fan_in=4, fan_out=2, input_max=32767, input_exponent=9, shift=0, weight_start=16, bias_start=24),
    )


@pytest.mark.parametrize(
    "encoded",
    [
        CANONICAL + b"\n",
        CANONICAL.replace(b":4", b": 4"),
        CANONICAL.replace(b":4", b":4.0"),
        CANONICAL.replace(b":4", b":04"),
        CANONICAL.replace(b":4", b":true"),
        CANONICAL.replace(b'"mlp"', b'"ml\\u0070"'),
        CANONICAL.replace(b'"input_exponent":4,', b'"input_exponent":5,"input_exponent":4,'),
        encode(dict(reversed(FIELDS.items()))).replace(b"layers", b"loss", 1),
        json.dumps(dict(reversed(FIELDS.items())), separators=(",", ":")).encode(),
        encode({**FIELDS, "note": 1}),
        encode({name: value for name, value in FIELDS.items() if name != "loss"}),
        encode({**FIELDS, "kind": "cnn"}),
        encode({**FIELDS, "loss": "hinge"}),
        encode({**FIELDS, "layers": [64]}),
        encode({**FIELDS, "layers": [64, 0, 10]}),
        encode({**FIELDS, "layers": [64, -1, 10]}),
        encode({**FIELDS, "layers": [64, "32", 10]}),
        encode({**FIELDS, "layers": [64, 1]}),
        encode({**FIELDS, "layers": [64, 4097, 10]}),
        encode({**FIELDS, "layers": [4, 4, 4, 4, 4, 4, 4, 4, 4, 4]}),
        encode({**FIELDS, "layers": [2048, 2048, 10]}),
        encode({**FIELDS, "layers": [10**400, 10]}),
        encode({**FIELDS, "input_exponent": 9}),
        encode({**FIELDS, "input_exponent": -1}),
        encode({**FIELDS, "activation_exponent": 15}),
        encode({**FIELDS, "activation_exponent": 12, "input_exponent": 0}),
        encode([FIELDS]),
        b"null",
        b"",
        b"\xff",
        b"[" * 900,
        b"[" * 5000,
        b'{"layers":' + b"9" * 900 + b"}",
    ],
)
def test_anything_but_the_canonical_json_is_refused(encoded):
    assert encoded != CANONICAL
    with pytest.raises(InvalidArchitecture):
        Architecture.from_json(encoded)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode) | st.integers(0, len(CANONICAL) - 1))
@settings(deadline=None, max_examples=200)
def test_no_bytes_but_an_encoding_decode(given_bytes):
    if isinstance(given_bytes, int):
        given_bytes = CANONICAL[:given_bytes] + CANONICAL[given_bytes + 1 :]
    try:
        architecture = Architecture.from_json(given_bytes)
    except InvalidArchitecture:
        return
    assert architecture.to_json() == given_bytes


@given(
    st.lists(st.integers(1, 300), min_size=2, max_size=9).filter(lambda widths: widths[-1] >= 2),
    st.integers(0, 8),
    st.integers(0, 14),
)
@settings(deadline=None, max_examples=200)
def test_encoding_is_reversible_and_no_layer_can_overflow(widths, input_exponent, activation_exponent):
    try:
        architecture = Architecture(
            layers=tuple(widths), input_exponent=input_exponent, activation_exponent=activation_exponent
        )
    except InvalidArchitecture:
        assert activation_exponent > 11 + input_exponent
        return
    assert Architecture.from_json(architecture.to_json()) == architecture
    for layer in architecture.dense_layers:
        rounding = 2 ** (layer.shift - 1) if layer.shift else 0
        bias = max(PARAMETER_MAX, PARAMETER_MAX * 2**layer.bias_shift)
        assert layer.input_max * 32767 * layer.fan_in + bias + rounding <= layer.sum_max < ACCUMULATOR_MAX


def test_a_layer_that_could_overflow_is_refused(monkeypatch):
    monkeypatch.setattr("learning.architecture.ACCUMULATOR_MAX", 255 * 32767 * 64 + PARAMETER_MAX + 2**6)
    with pytest.raises(InvalidArchitecture, match="sums of layer 0 reach"):
        Architecture.from_json(CANONICAL)
