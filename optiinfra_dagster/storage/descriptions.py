"""Descriptions of the columns of tables, for people: in Dagster's UI and its catalogue.

A reader's own columns are described by the comments in its SELECT, columns of the schema by those behind them there.
The rest is here: the files of `sql/schema/` that installations have applied cannot be edited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.storage.sql import columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optiinfra_dagster.storage.sql import Reader

# The same in every table that has it.
_SHARED: Mapping[str, str] = {
    "customer_id": "the customer's id, as in the customers file",
    "provider": "the cloud, as in the customers file",
    "window_start": "the start of the 15-minute window, or of the hour or day, that the row belongs to; UTC",
    "timestamp": "the time that the row is of; UTC",
    "collected_at": "when it was collected; UTC",
    "account_id": "the account, project or subscription that has the resource",
    "sub_account_id": "the account, project or subscription that is charged",
    "region": "the cloud's region, or its word for none",
    "region_id": "the cloud's region; empty where the charge names none",
    "kind": "the cloud's own kind of resource, e.g. ec2:instance",
    "resource_id": "the cloud's full, stable id of the resource (ARN, self link, ARM id, UUID)",
    "resource_name": "the resource's name, else the end of its id",
    "instance_uid": "the cloud's own id of this one thing, where another may be made later under the same resource_id",
    "resource_type": "compute, volume, snapshot, database, object_storage, serverless, load_balancer, network, address "
    "or kubernetes",
    "status": "the resource's status in one vocabulary for all clouds",
    "cloud_status": "the resource's status in the cloud's own word",
    "created_at": "when the resource was created; null where the cloud does not tell",
    "utilization": "the share of the capacity in use, 0 to 1; null where the listing does not tell it",
    "capacity": "how big the resource is, in `unit`; null where the listing does not tell it",
    "unit": "what the figures are measured in",
    "tags": "the resource's tags or labels, a JSON object",
    "metadata": "further facts, a JSON object",
    "metric_type": "the group that a metric belongs to",
    "metric_name": "the metric, in one vocabulary for all clouds, e.g. cpu_utilization",
    "statistic": "how the cloud aggregated the points: average, sum, maximum, ...",
    "metric_value": "the value of the point",
    "period_seconds": "how long a point covers",
    "points": "how many points there are",
    "n": "how many points or scores the figures are of",
    "minimum": "the lowest value",
    "maximum": "the highest value",
    "resources": "how many resources",
    "currency": "the currency of the amounts; nothing is converted",
    "cost_type": "the type of resource that is charged for; other: none of them, or several",
    "billed": "the part of the amount that a bill says",
    "estimated": "the part of the amount that is estimated by list prices",
    "amount": "what it costs: the bill where a day has settled, else the estimate; null where neither is known",
    "effective": "the amount with commitments spread over what they cover; null where the bill does not tell it",
    "arriving": "what the bill says so far of days that have not settled; no part of the amount",
    "usage": "the part of the amount that is for use",
    "purchases": "the part of the amount that was paid in advance, such as a reservation",
    "taxes": "the part of the amount that is tax",
    "credits": "the part of the amount that is credits, negative",
    "adjustments": "the part of the amount that is refunds, corrections and rounding",
    "provisional": "of what is billed, the part that the cloud may still restate",
    "estimated_share": "the share of the amount that is estimated, 0 to 1; null where there is none",
    "days": "how many days are known: 1 where a settled bill has the day, 1/96 for each window of an estimate",
    "listed": "the amount by the public prices; null where the bill does not tell it",
    "contracted": "the amount by the agreed prices, commitments apart; null where the bill does not tell it",
    "charge_category": "ChargeCategory of FOCUS: Usage, Purchase, Tax, Credit or Adjustment",
    "charge_class": "Correction where it corrects an earlier bill, else empty",
    "service_name": "the service that the bill charges under",
    "tags_from": "where the tags are from: line, the bill's own; inventory; empty for none",
    "until": "the end of the newest window or day that it is of; UTC",
    "matched": "true: the resource is in the inventory",
    "as_of": "the newest window that the row tells of, which may be older than its own",
    "complete": "false: some of what it is computed from could not be collected",
    "application_id": "the LLM application",
    "application_name": "the LLM application's name",
    "model_name": "the model that answered",
    "judge_model": "the model that judged",
    "judge_version": "the version of the judge: model, prompts and settings; scores of two are not comparable",
    "effective_n": "n, less what it takes that the scores stand for different numbers of interactions",
    "population": "how many interactions there were, of which the sample was drawn",
    "sampled": "how many interactions were drawn to be judged",
    "low": "the lower end of the 95 % interval of the mean",
    "high": "the upper end of the 95 % interval of the mean",
    "rate_low": "the lower end of the 95 % interval of the rate",
    "rate_high": "the upper end of the 95 % interval of the rate",
    "last_week_mean": "the mean over the seven whole days before",
    "last_week_rate": "the rate over the seven whole days before",
    "last_week_low": "the lower end of the 95 % interval of last week's figure",
    "last_week_high": "the upper end of the 95 % interval of last week's figure",
    "not_assessable": "answers that lack the context or reference to be judged by",
    "failures": "answers that the judge failed to judge",
    "over_budget": "answers that the budget did not suffice for",
    "claims_checked": "claims in the answers that were compared with the context",
    "unsupported_claims": "claims that the context does not support",
    "sensitivity": "the share of what people call bad that the judge calls bad",
    "specificity": "the share of what people call good that the judge calls good",
    "sensitivity_low": "the lower end of the 95 % interval of the sensitivity",
    "sensitivity_high": "the upper end of the 95 % interval of the sensitivity",
    "specificity_low": "the lower end of the 95 % interval of the specificity",
    "specificity_high": "the upper end of the 95 % interval of the specificity",
    "corrected_rate": "the rate, corrected for how often the judge erred on the golden set (Rogan and Gladen)",
    "corrected_low": "the lower end of the 95 % interval of the corrected rate, the golden set's uncertainty included",
    "corrected_high": "the upper end of the 95 % interval of the corrected rate, the golden set's uncertainty included",
    "not_corrected_because": "why there is no corrected rate; empty where there is one",
    "evidence": "what shows it, in words",
    "run_id": "the Dagster run that wrote it",
}

_OF_QUALITY = {
    "period": "window, hour or day: the hour and the day so far, this window included",
    "mean": "the mean of all interactions' scores, as far as the judged ones tell; null where n is 0",
    "n": "how many answers were judged and scored",
    "last_week_n": "how many scores last week's figure is of: of the seven whole days before, by the same judge",
    "worse_than_last_week": "always null: application/alarms has the verdict",
}

_OF_TABLE: Mapping[str, Mapping[str, str]] = {
    "application_quality": _OF_QUALITY,
    "application_hallucinations": _OF_QUALITY,
    "application_toxicity": _OF_QUALITY,
    "application_summary": _OF_QUALITY,
    "performance_metrics": {
        "metadata": "what the cloud calls the metric, a JSON object: api_metric, namespace",
        "workload_type": "the resource's tag `workload_type`",
    },
    "resource_metrics": {
        "attachable": "true: it is of a kind that costs money while it is attached to nothing",
        "silent_when_idle": "true: the cloud writes no point of its metrics while nothing passes",
    },
    "metric_batches": {
        "scope": "where an inventory looked: by account its regions, or none for all of them; empty: not known",
    },
    "prices": {
        "listed_in": "the currency, as part of the table's key; empty in rows of before it was",
    },
    "cost_metrics": {
        "instance_id": "the same as resource_id, for readers of the earlier system",
        "estimated_by": "the rule that the estimate was made by; empty for what is billed",
        "is_final": "true: the cloud does not restate the charge any more",
        "amount": "what is charged, or estimated to be, in `currency`",
        "billed_cost": "BilledCost of FOCUS: what the invoice says; null for estimates",
        "effective_cost": "EffectiveCost of FOCUS: with commitments spread over their use; null where unknown",
        "list_cost": "ListCost of FOCUS: by the public price; null where unknown",
        "charge_period_start": "the start of the time that is charged for; UTC",
        "charge_period_end": "the end of the time that is charged for; UTC",
        "charge_category": "ChargeCategory of FOCUS: Usage, Purchase, Tax, Credit or Adjustment",
        "charge_description": "the bill's own words for the charge; why a sum was left out",
        "charge_frequency": "ChargeFrequency of FOCUS; empty where the bill does not tell it",
        "billing_account_id": "the bill that was read: an account, an export's place, a billing table",
        "billing_period": "the first day of the month whose bill has the charge; a correction's is later than its day",
        "is_settled": "false: more of the day is still to come, and its estimate stands",
        "contracted_cost": "ContractedCost of FOCUS; null where unknown",
        "invoice_id": "the number of the invoice; empty before there is one",
        "invoice_issuer": "InvoiceIssuerName of FOCUS",
        "publisher": "PublisherName of FOCUS: who made what was bought",
        "payer_account_id": "BillingAccountId of FOCUS: who is invoiced; empty where the bill does not tell it",
        "payer_account_name": "BillingAccountName of FOCUS",
        "sub_account_name": "SubAccountName of FOCUS",
        "sku_id": "SkuId of FOCUS",
        "sku_price_id": "SkuPriceId of FOCUS",
        "pricing_category": "PricingCategory of FOCUS",
        "pricing_quantity": "PricingQuantity of FOCUS, in `pricing_unit`",
        "pricing_unit": "PricingUnit of FOCUS",
        "consumed_quantity": "ConsumedQuantity of FOCUS, in `consumed_unit`",
        "consumed_unit": "ConsumedUnit of FOCUS",
        "commitment_id": "CommitmentDiscountId of FOCUS: a reservation, savings plan or committed use",
        "commitment_type": "CommitmentDiscountType of FOCUS",
        "commitment_status": "CommitmentDiscountStatus of FOCUS: Used, Unused, or empty",
        "availability_zone": "AvailabilityZone of FOCUS",
        "metadata": "further facts, a JSON object: of an estimate what was priced",
        "first_seen": "when the charge was first collected; UTC",
        "last_changed": "when the charge's amount last changed; UTC",
    },
    "cost_days": {
        "windows": "how many of the day's 96 windows have an estimate",
        "is_final": "true: the bill has settled, and the cloud does not restate it any more",
    },
    "application_metrics": {
        "metric_type": "coherence, relevance, accuracy, hallucination, toxicity; groundedness, context_* of retrieval; "
        "rubric:<name> of the customer; pii, refusal, empty, too_long, language by rules; sample, source of the whole; "
        "second:<metric> of the second judge",
        "interaction_id": "the interaction that was judged",
        "score": "the judge's score, 0 to 1; null where there is none",
        "label": "the score in a word, or why there is none",
        "details": "the judge's reasons and what it took, a JSON object",
        "tokens": "the tokens that judging took",
    },
    "application_golden": {
        "negatives": "how many interactions people call good, and the judge scored",
        "positives": "how many interactions people call bad: what the judge is there to find",
        "missed": "of the positives those that the judge did not score: not found",
        "spearman": "the rank correlation of the judge's scores with people's, -1 to 1",
        "scored_at": "when the judge was scored; UTC",
    },
}


def of(table: str, column: str, reader: Reader | None = None) -> str:
    """The description of a column of a table, or of a reader's; "" where there is none."""
    of_select = reader.columns.get(column) if reader else None
    of_schema = columns().get(table, {}).get(column, ("", ""))[1]
    return of_select or _OF_TABLE.get(table, {}).get(column) or of_schema or _SHARED.get(column, "")
