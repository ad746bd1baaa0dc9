"""Which cost people read as the amount: the billed one that readers store under that name, or another beside it."""

from __future__ import annotations

from collections.abc import Mapping

# What a person asks for, and the readers' column that has it. Unknown costs are null there, and stay so.
COSTS: Mapping[str, str] = {"billed": "amount", "effective": "effective", "list": "listed"}

_BEFORE = (
    "lagInFrame({cost}) OVER (PARTITION BY window_start, provider, currency, period ORDER BY period_start "
    "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"
)
_EACH = "OVER (PARTITION BY window_start, currency, period, dimension)"

# Columns that follow from the amount. `change` is there only where the period before is, and is known. A share is
# unknown where a part of its whole is; what is arriving has no amount, and is no part of it.
_FOLLOWING: Mapping[str, str] = {
    "amount": "{cost}",
    "change": f"if(isNull(t.change), NULL, {{cost}} - {_BEFORE})",
    "change_percent": f"if(isNull(t.change) OR {_BEFORE} = 0, NULL, "
    f"100 * toFloat64({{cost}} - {_BEFORE}) / toFloat64(abs({_BEFORE})))",
    "share": f"if(countIf(isNull({{cost}}) AND isNotNull(t.amount)) {_EACH} > 0 OR sum({{cost}}) {_EACH} = 0, NULL, "
    f"toFloat64({{cost}}) / toFloat64(sum({{cost}}) {_EACH}))",
    "shared": "CAST(NULL AS Nullable(Decimal(38, 18)))",  # of what was billed
}


def has(cost: str, types: Mapping[str, str]) -> bool:
    """True if a view of these columns tells a cost of `COSTS`."""
    return {"amount", COSTS[cost]} <= types.keys() if cost != "billed" else True


def instead(cost: str, types: Mapping[str, str]) -> dict[str, str]:
    """What to read in place of columns of a view `t`, so that its amount is the cost that was asked for."""
    if cost == "billed":
        return {}
    return {name: sql.format(cost=f"t.{COSTS[cost]}") for name, sql in _FOLLOWING.items() if name in types}
