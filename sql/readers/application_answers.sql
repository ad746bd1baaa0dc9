-- What plain rules find in answers, by application and model: refusals, personal data and keys, empty and overlong ones,
-- and another language than the prompt's. Rates are of the sampled answers, and stand for all.
--
-- A rule that the customers file switches off has no rate. Rules are conservative: a number is a card only with the right
-- check digit, and a language is told only where it is sure.
--
-- shows: window_start period provider application_id model_name n population refusal_rate refusal_low refusal_high
--   pii_rate pii_low pii_high pii_kinds empty_rate too_long_rate other_language_rate languages judged_refusals
--   cannot_tell as_of complete
-- empty without: application_metrics
-- reads: application since day - 7 days
-- kept: 90 days
-- key: customer_id provider application_id model_name judge_version period
-- types: population UInt64, n UInt64, judged_refusals UInt64, cannot_tell UInt64, pii_kinds String, languages String
SELECT
    period,   -- the window, the hour so far, or the day so far
    customer_id,
    provider,
    application_id,
    any(f.application_name) AS application_name,
    model_name,
    judge_model,
    judge_version,
    any(f.population) AS population,
    any(f.sampled) AS sampled,
    max(f.n) AS n,   -- how many answers were looked at
    anyIf(f.rate, metric_type = 'refusal') AS refusal_rate,   -- the share of answers that decline, by the API or in words
    anyIf(f.rate_low, metric_type = 'refusal') AS refusal_low,   -- the lower end of its 95 % interval
    anyIf(f.rate_high, metric_type = 'refusal') AS refusal_high,   -- the upper end of its 95 % interval
    anyIf(f.rate, metric_type = 'pii') AS pii_rate,   -- the share of answers with personal data or keys in them
    anyIf(f.rate_low, metric_type = 'pii') AS pii_low,   -- the lower end of its 95 % interval
    anyIf(f.rate_high, metric_type = 'pii') AS pii_high,   -- the upper end of its 95 % interval
    toJSONString(anyIf(f.categories, metric_type = 'pii')) AS pii_kinds,   -- answers by the kinds in them, a JSON object
    anyIf(f.rate, metric_type = 'empty') AS empty_rate,   -- the share of answers without a letter or digit
    anyIf(f.rate, metric_type = 'too_long') AS too_long_rate,   -- the share of answers longer than `longest_answer`
    anyIf(f.rate, metric_type = 'language') AS other_language_rate,   -- the share in another language than wished or asked in
    toJSONString(mapFilter((k, v) -> k != '', anyIf(f.labels, metric_type = 'language'))) AS languages,   -- answers by language, a JSON object
    anyIf(f.labels['refusal'], metric_type = 'relevance') AS judged_refusals,   -- answers that the judge calls refusals
    anyIf(f.labels['cannot_tell'], metric_type = 'accuracy') AS cannot_tell,   -- answers whose accuracy the judge cannot tell
    any(f.as_of) AS as_of,
    any(f.complete) AS complete
FROM application_figures(
    window = {window:DateTime('UTC')},
    metrics = ['refusal', 'pii', 'empty', 'too_long', 'language', 'relevance', 'accuracy']) AS f
GROUP BY period, customer_id, provider, application_id, model_name, judge_model, judge_version
