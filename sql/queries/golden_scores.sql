-- The newest figures of versions of the judge on a golden set, a row per metric; none of one that was not scored on it.
SELECT
    metric_type,
    n,
    not_assessable,
    failures,
    weighted_kappa,
    spearman,
    positives,
    sensitivity,
    sensitivity_low,
    sensitivity_high,
    negatives,
    specificity,
    specificity_low,
    specificity_high,
    missed,
    judge_version
FROM application_golden
WHERE judge_version IN {versions:Array(String)} AND golden_set = {digest:String}
ORDER BY scored_at DESC
LIMIT 1 BY judge_version, metric_type
