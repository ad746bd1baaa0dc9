from __future__ import annotations

import pytest

from optiinfra_dagster.providers.azure.kinds import KINDS, QUERY, to_resource, vcpus


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("Standard_D4s_v5", 4),
        ("Standard_B2ts_v2", 2),
        ("Standard_DS1_v2", 1),
        ("Standard_DS13-2_v2", 2),
        ("Standard_D14_v2", 16),
        ("Standard_D2_v3", 2),
        ("Standard_A2m_v2", 2),
        ("Basic_A3", 4),
        ("Standard_F8s", 8),
        ("Standard_M8-2ms_v3", 2),
        ("Standard_NC24ads_A100_v4", 24),
        ("Standard_HB120-16rs_v3", 16),
        ("Standard_D2_v2_Promo", 2),
        ("standard_e96ias_v4", 96),
        ("Standard_LRS", None),
        ("Experimental", None),
        ("", None),
        (None, None),
    ],
)
def test_the_name_of_a_size_tells_its_virtual_cpus(size: str | None, count: int | None) -> None:
    assert vcpus(size) == count


def test_the_query_names_every_kind_and_pages_stably() -> None:
    assert all(f"'{kind.azure_type}'" in QUERY for kind in KINDS)
    assert QUERY.endswith("| order by id asc")
    assert "project id, " in QUERY
    assert "properties," not in QUERY  # never all of them


def test_what_is_not_of_our_kinds_is_left_out() -> None:
    group = "/subscriptions/s/resourceGroups/g/providers"
    assert to_resource({"id": f"{group}/Microsoft.Web/sites/a", "type": "microsoft.web/sites"}) is None
    master = f"{group}/Microsoft.Sql/servers/s/databases/master"
    assert to_resource({"id": master, "type": "microsoft.sql/servers/databases"}) is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2017-06-07T04:41:33.937Z", "2017-06-07T04:41:33.937000+00:00"),
        ("2019-05-01T22:23:59.3496189+00:00", "2019-05-01T22:23:59.349618+00:00"),
        ("2017-02-10T01:27:21.32", "2017-02-10T01:27:21.320000+00:00"),
        ("2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00+00:00"),
        (None, None),
    ],
)
def test_times_are_zoned_however_they_are_written(written: str | None, read: str | None) -> None:
    disk = to_resource({"id": "/subscriptions/s/d", "type": "microsoft.compute/disks", "created": written})

    assert disk is not None
    assert (disk.created_at and disk.created_at.isoformat()) == read
