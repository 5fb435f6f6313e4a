"""Home of the names of the numbers that a task's specification may choose, beside those of its network."""

from __future__ import annotations

_ROUND_SETTINGS = (
    "cycle_blocks", "reveal_blocks", "open_blocks", "hold_blocks", "settle_grace_cycles", "unsettled_rounds_max",
    "staleness_max", "copy_window_rounds", "updates_per_round", "update_bytes_max", "shards_max",
    "custodians_max",
)  # fmt: skip
_MONEY_COUNTS = (
    "loss_floor", "significance_milli", "charge_milli", "custodian_share_milli", "malformed_cut_milli", "harm_sigma",
    "harm_rounds", "harm_cut_milli", "evaluation_fee_change_divisor", "evaluation_target_milli", "openings_minimum",
)  # fmt: skip
AMOUNT_SETTINGS = (
    "price", "round_cap", "bond_minimum", "evaluation_fee_initial", "evaluation_fee_minimum", "custodian_bond",
    "missed_opening_cut_minimum",
)  # fmt: skip
SETTINGS = (*_ROUND_SETTINGS, *_MONEY_COUNTS, *AMOUNT_SETTINGS)  # what a specification may choose for its task
SETTING_MAXIMA = {  # tighter than the table's, so that a task's state stays small
    "cycle_blocks": 2**20,
    "settle_grace_cycles": 64,
    "unsettled_rounds_max": 64,
    "staleness_max": 64,
    "copy_window_rounds": 64,
}
