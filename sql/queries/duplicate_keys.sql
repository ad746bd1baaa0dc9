-- By customer: how many keys stand more than once among the published rows between two windows. {table} and {keys} are
-- the dataset's, and {unnamed} is what a key may lack, or '': where one row lacks it, another of its key is the same.
--
-- Keys are counted by their hash first, and those alone that stand twice by themselves: for 474,000 rows, the metrics of
-- 1,000 customers in a window, 42 MB and 0.22 CPU-s instead of 280 MB and 0.8 CPU-s.
WITH rows AS
(
    SELECT *, cityHash64({keys}) AS hash
    FROM {table}_current
    WHERE provider = {provider:String}
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
)
SELECT customer_id, count()
FROM
(
    SELECT {keys}, count() AS n
    FROM rows
    WHERE hash IN (SELECT hash FROM rows GROUP BY hash HAVING count() > 1)
    GROUP BY {keys}
    HAVING n > 1 AND (n > uniqUpTo(10)({unnamed}) OR min({unnamed}) = '')
)
GROUP BY customer_id
