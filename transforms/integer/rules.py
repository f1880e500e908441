"""The table of all rules by which integers are built."""

from __future__ import annotations

from transforms.integer import combining, decision, layout, macs, pooled_sums, selection
from transforms.integer.graph import Rules

RULES: Rules = {
    **macs.RULES,
    **layout.RULES,
    **combining.RULES,
    **selection.RULES,
    **pooled_sums.RULES,
    **decision.RULES,
}
