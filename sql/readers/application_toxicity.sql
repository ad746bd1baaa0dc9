-- Toxicity of the answers by application and model: of the window, and of the day so far. The rate is the share of mild
-- and worse ones.
SELECT
    * EXCEPT (categories),
    toJSONString(f.categories) AS categories,
    labels['none'] AS none,
    labels['mild'] AS mild,
    labels['moderate'] AS moderate,
    labels['severe'] AS severe,
    round(highest * 3) AS worst_severity
FROM application_figures(window = {window:DateTime('UTC')}, metrics = ['toxicity']) AS f
