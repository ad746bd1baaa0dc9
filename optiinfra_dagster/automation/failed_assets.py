"""The checks of an asset that failed. Dagster runs none of them, and would say "Execution failed" without a name."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets.collection_assets import UPSTREAM
from optiinfra_dagster.automation.checks import EVERY_CUSTOMER_PUBLISHED, LONGEST_ERROR, Check, CheckRequest, all_checks
from optiinfra_dagster.automation.dagster_internals import AssetCheckEvaluationTargetMaterializationData
from optiinfra_dagster.automation.run_tags import windows_of_run
from optiinfra_dagster.model import markdown, windows
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.model.text import shortened
from optiinfra_dagster.storage.slice_report import EVERY_SLICE_FAILED

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings


def build(provider: str, family: str, settings: "Settings") -> dg.HookDefinition:
    """The hook of a collection asset: when it fails, its checks are judged, and those of what needs it."""

    def judge_checks(context: dg.HookContext) -> None:
        run = context.instance.get_run_by_id(context.run_id)
        span = windows_of_run(run) if run else None
        if run is None or span is None:
            return
        left_out = [one for one, needs in UPSTREAM.items() if family in needs and _asks_for(run, provider, one)]
        failed = f"{provider}/{family}"
        for check in all_checks(settings):
            of_provider, of_family = check.asset
            if of_provider != provider or of_family not in {family, *left_out}:
                continue
            request = CheckRequest(
                run.run_id,
                windows.span(*span),
                context.resources.scope,
                context.resources.clickhouse,
                why_not_tried=""
                if of_family == family
                else f"{failed} failed, which it needs: the check there says why.",
            )
            if result := _judged(check, request, context.op_exception):
                _report(context, run, check, result, windows.key(span[0]) if span[0] == span[1] else None)

    name = f"judge_checks_of_{provider}_{family}"
    as_hook: Any = dg.failure_hook(name=name, required_resource_keys={"scope", "clickhouse"})
    hook: dg.HookDefinition = as_hook(judge_checks)
    return hook


def _asks_for(run: dg.DagsterRun, provider: str, family: str) -> bool:
    return run.asset_selection is None or dg.AssetKey([provider, family]) in run.asset_selection


def _judged(check: Check, request: CheckRequest, failure: BaseException | None) -> dg.AssetCheckResult | None:
    """What a check says; of an asset that failed before it asked for a customer, what the failure says."""
    if isinstance(failure, dg.Failure) and EVERY_SLICE_FAILED in failure.metadata:
        try:
            return check.judge(request)
        except OptiInfraError as error:
            failure = error
    if check.name != EVERY_CUSTOMER_PUBLISHED or request.why_not_tried or failure is None:
        return None
    said = str(failure.description if isinstance(failure, dg.Failure) else failure)
    return dg.AssetCheckResult(
        passed=False, description=f"Nothing was collected. {markdown.escaped(shortened(said, LONGEST_ERROR))}"
    )


def _report(
    context: dg.HookContext, run: dg.DagsterRun, check: Check, result: dg.AssetCheckResult, partition: str | None
) -> None:
    """Store what a check says as an event of the run, as Dagster does after a step of the check."""
    asset = dg.AssetKey(list(check.asset))
    evaluation = dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=check.name,
        passed=result.passed,
        metadata=result.metadata,
        target_materialization_data=_newest_materialization(context.instance, asset),
        severity=result.severity,
        description=result.description,
        blocking=False,
        partition=partition,
    )
    event: Any = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name=run.job_name,
        step_key=context.step_key,
        event_specific_data=evaluation,
        message=f"Asset check '{check.name}' on '{asset.to_user_string()}' was judged after its asset had failed.",
    )
    context.instance.report_dagster_event(event, run_id=run.run_id)


def _newest_materialization(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Any:
    """What an evaluation is of; without it Dagster's UI takes it for older than the asset's last materialization."""
    records = instance.fetch_materializations(asset, limit=1).records
    if not records:
        return None
    (newest,) = records
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=newest.storage_id, run_id=newest.event_log_entry.run_id, timestamp=newest.timestamp
    )
