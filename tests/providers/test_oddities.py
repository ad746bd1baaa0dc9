"""Every oddity is tried on every cloud, or it is said why it cannot be there: provider x oddity, without a gap."""

from __future__ import annotations

import importlib

import pytest

from optiinfra_dagster.providers.registry import PROVIDERS

ODDITIES = (
    "replaced_machine",  # another one under the same name
    "terminated_machine",  # still listed, and no more running
    "agent_dimensions_change",  # a resize or a new image gives the agent's series other names
    "unreachable_host",  # a host that does not answer is given up once
    "tags_not_in_listing",  # tags are another call's
    "session_refused",  # a session that was good until now is opened anew
    "unknown_state",  # a word that no document has
    "doubled_page",  # the same item on two pages
)


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("cloud", PROVIDERS)
def test_an_oddity_is_tried_or_cannot_be(cloud: str, oddity: str) -> None:
    module = importlib.import_module(f"tests.providers.{cloud}.test_oddities")
    tried = callable(getattr(module, f"test_{oddity}", None))
    reason: str = getattr(module, "DOES_NOT_APPLY", {}).get(oddity, "")
    place = f"tests/providers/{cloud}/test_oddities.py"
    assert tried or reason, f"{place}: write test_{oddity}, or say in DOES_NOT_APPLY why there is none"
    assert not (tried and reason), f"{place}: test_{oddity} is there, so DOES_NOT_APPLY must not name it"
    if reason:
        assert reason.endswith("."), f"{place}: {oddity}: write a sentence"
        assert len(reason.split()) >= 6, f"{place}: {oddity}: write a sentence"
