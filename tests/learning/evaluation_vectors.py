"""Writes tests/vectors/evaluation.json: models whose logits are computed in Python integers.

Run as `python -m tests.learning.evaluation_vectors`. Losses come from the reference, whose error the tests bound.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from learning.architecture import PARAMETER_MAX, Architecture
from learning.reference import cross_entropy
from tests.learning.models import parameters_of
from tests.learning.plain_model import PlainModel

ARCHITECTURES = [
    Architecture(layers=(3, 2), input_exponent=0),
    Architecture(layers=(4, 5, 3), input_exponent=4),
    Architecture(layers=(5, 7, 6, 4), input_exponent=8),
    Architecture(layers=(2, 9, 3), input_exponent=6, activation_exponent=14),
]
KINDS = [("uniform", 2**19), ("uniform", PARAMETER_MAX), ("extreme", 0), ("constant", -PARAMETER_MAX)]


def vector(architecture: Architecture, kind: str, magnitude: int, seed: int) -> dict[str, object]:
    generator = np.random.default_rng(seed)
    weights = parameters_of(generator, architecture.parameters, kind, magnitude)
    inputs = generator.integers(0, 256, (3, architecture.input_width)).tolist()
    labels = generator.integers(0, architecture.classes, 3)
    plain = PlainModel(architecture.to_json())
    logits = [plain.logits(weights.tolist(), row)[0] for row in inputs]
    return {
        "architecture": architecture.to_json().decode(),
        "weights": weights.tolist(),
        "inputs": inputs,
        "labels": labels.tolist(),
        "logits": logits,
        "losses": cross_entropy(np.array(logits), architecture.logit_exponent, labels).tolist(),
        "predictions": [row.index(max(row)) for row in logits],
    }


def main() -> None:
    vectors = [
        vector(architecture, kind, magnitude, seed=10 * place + number)
        for place, architecture in enumerate(ARCHITECTURES)
        for number, (kind, magnitude) in enumerate(KINDS)
    ]
    lines = ",\n".join(json.dumps(entry) for entry in vectors)
    path = Path(__file__).parents[1] / "vectors" / "evaluation.json"
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
