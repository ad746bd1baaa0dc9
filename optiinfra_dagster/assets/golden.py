"""The golden set's asset: how well the judge in use agrees with people."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets.columns import described
from optiinfra_dagster.assets.facts import OWNERS, PACKAGE, code_references
from optiinfra_dagster.model.errors import CloudError, OptiInfraError
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.dialects import Dialects

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.quality.golden import GoldenScore

KEY = dg.AssetKey(["application", "golden"])

_SET = "OPTIINFRA_GOLDEN_SET to the path of a JSONL file of labelled interactions"


def build(settings: "Settings") -> dg.AssetsDefinition:
    """The asset. It has no partitions: a version of the judge is scored once, whatever window it is used in."""

    @dg.asset(
        key=KEY,
        group_name="quality",
        kinds={"groq", "clickhouse"},
        description="How well the LLM judge agrees with people on a labelled set (OPTIINFRA_GOLDEN_SET). The set is "
        "judged again when judge_version or the set changes, else nothing is asked.",
        metadata={
            "table": "application_golden",
            **described("application_golden"),
            **code_references(
                (Path(__file__), build.__code__.co_firstlineno, "asset"),
                (PACKAGE / "quality" / "golden.py", 1, "scoring"),
            ),
        },
        owners=OWNERS,
        output_required=False,
        tags={"family": "application"},
    )
    def golden(
        context: dg.AssetExecutionContext, clickhouse: dg.ResourceParam[Any]
    ) -> Iterator[dg.MaterializeResult[None]]:
        from optiinfra_dagster.quality import golden as golden_set
        from optiinfra_dagster.quality.judge import Judge

        judge = Judge.of(settings, Dialects(clickhouse)) if settings.golden_set else None
        if judge is None or settings.golden_set is None:
            lacking = f"{settings.judge_key_variable} to the key of the judge" if settings.golden_set else _SET
            context.log.warning("Nothing was done: set %s.", lacking)
            context.log_event(dg.AssetObservation(KEY, metadata={"status": "not_configured", "set": lacking}))
            return
        try:
            customers = load_customers(settings.customers_path) if settings.customers_path.exists() else ()
            labelled = golden_set.load(settings.golden_set, customers)
            if labelled.left_out:
                left_out = ", ".join(f"{name} ({number})" for name, number in sorted(labelled.left_out.items()))
                context.log.warning("Labels of rubrics that are not in the customers file are left out: %s.", left_out)
            scored = golden_set.score(labelled, judge, clickhouse, run_id=context.run.run_id)
        except OptiInfraError as error:
            passing = isinstance(error, CloudError) and not error.cause.permanent
            raise dg.Failure(str(error), allow_retries=passing) from error
        finally:
            judge.close()
        yield dg.MaterializeResult(metadata=_metadata(scored, judge.model))

    return golden


def _metadata(scored: "GoldenScore", judge_model: str) -> dict[str, Any]:
    """Metadata for the asset's page: the figures, and the number of requests, zero if the figures were known."""
    return {
        "judge_model": judge_model,
        "judge_version": scored.judge_version,
        "requests": scored.requests,
        "agreement": dg.MetadataValue.table([dg.TableRecord(dataclasses.asdict(one)) for one in scored.agreements]),
    }
