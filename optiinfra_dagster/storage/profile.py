"""Settings of a user's profile with which a server would give other rows, or a part of them: set back, or refused.

A server applies the profile of a user to each statement, so what somebody set there for other programs would change
what ours mean: `join_use_nulls` gives null where a SELECT counts on 0, `result_overflow_mode = 'break'` a part of the
rows without a word. Where the profile has such a value, the client sends the one that the SELECTs are written for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_connect.driver.client import Client

# The engine's own values, which the SELECTs are written for.
RELIED_ON: Mapping[str, str] = {
    # What a SELECT means.
    "aggregate_functions_null_for_empty": "0",
    "any_join_distinct_right_table_keys": "0",
    "asterisk_include_alias_columns": "0",
    "asterisk_include_materialized_columns": "0",
    "cast_keep_nullable": "0",
    "count_distinct_implementation": "uniqExact",
    "empty_result_for_aggregation_by_empty_set": "0",
    "enable_analyzer": "1",
    "enable_positional_arguments": "1",
    "group_by_use_nulls": "0",
    "join_default_strictness": "ALL",
    "join_use_nulls": "0",
    "prefer_column_name_to_alias": "0",
    "session_timezone": "",
    "transform_null_in": "0",
    # Which rows it reads and gives.
    "apply_deleted_mask": "1",
    "final": "0",
    # A part of the rows in place of an error.
    "distinct_overflow_mode": "throw",
    "group_by_overflow_mode": "throw",
    "join_overflow_mode": "throw",
    "read_overflow_mode": "throw",
    "read_overflow_mode_leaf": "throw",
    "result_overflow_mode": "throw",
    "set_overflow_mode": "throw",
    "sort_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
    "timeout_overflow_mode_leaf": "throw",
    "transfer_overflow_mode": "throw",
    # How values are written where a user may not say it (`lines`).
    "output_format_json_quote_denormals": "0",
    "output_format_tsv_crlf_end_of_line": "0",
}


def set_back(client: Client) -> None:
    """Have the client send what is relied on, where the profile of its user says something else.

    Raises:
        StorageError: the user may not change it; it names the setting and its value.
    """
    for name, value in RELIED_ON.items():
        found = client.server_settings.get(name)
        if found is None or found.value == value:
            continue
        if found.readonly:
            wanted = value or "''"
            raise StorageError(
                f"the profile of the user has {name} = {found.value}, with which answers would be others, and the user "
                f"may not change it. Set {name} = {wanted} for this user of OPTIINFRA_CLICKHOUSE_URL."
            )
        client.set_client_setting(name, value)
