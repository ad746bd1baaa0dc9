-- By customer: how many keys stand more than once among the published rows between two windows. {table} and {keys} are
-- the dataset's, and {unnamed} is what a key may lack, or '': where one row lacks it, another of its key is the same.
SELECT customer_id, count()
FROM
(
    SELECT {keys}, count() AS n
    FROM {table}_current
    WHERE provider = {provider:String}
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
    GROUP BY {keys}
    HAVING n > 1 AND (n > uniqUpTo(10)({unnamed}) OR min({unnamed}) = '')
)
GROUP BY customer_id
