"""Logs that real libraries wrote: every call of them comes out once, as what it is, with its texts, model and tokens.

What the libraries wrote is recorded beside this file. Where long tests run, the libraries write anew: they are
installed, pinned, in environments of their own.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.config.application import Application
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.object_storage.folder import Folder
from optiinfra_dagster.quality.files import FileSource
from optiinfra_dagster.quality.interactions import BadLine, Interaction, Item, Reason, SkippedCall
from optiinfra_dagster.quality.logs.reader import read_file
from optiinfra_dagster.quality.window_calls import draw
from tests.quality.real_libraries.calls import PICTURE, THOUGHT
from tests.quality.real_libraries.libraries import WAYS, Way, named
from tests.quality.real_libraries.recording import RECORDED, recording, write

if TYPE_CHECKING:
    from tests.quality.real_libraries.calls import Call

EACH_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


def read(content: bytes) -> list[Item]:
    return list(read_file(io.BufferedReader(io.BytesIO(content))))


def check(way: Way, content: bytes) -> None:
    """Every call is told of once, as what it is."""
    found = read(content)
    interactions = {each.response: each for each in found if isinstance(each, Interaction)}
    told = Counter(each.response for each in found if isinstance(each, Interaction))
    assert told == Counter(way.answer(call) for call in way.interactions())
    assert len({each.interaction_id for each in interactions.values()}) == len(interactions)
    for call in way.interactions():
        _check_interaction(way, call, interactions[way.answer(call)])
    assert Counter(each.kind.value for each in found if isinstance(each, SkippedCall)) == way.others()
    bad = Counter(each.reason for each in found if isinstance(each, BadLine))
    assert bad.keys() <= {Reason.NO_TEXTS, Reason.TEXTS_NOT_LOGGED}
    assert bad.total() == way.without_texts()


def _check_interaction(way: Way, call: Call, found: Interaction) -> None:
    asked = found.prompt
    for text in way.prompt_has(call):
        assert text in asked, f"{call.api}.{call.name}: the prompt {asked!r} lacks {text!r}"
        if text == call.asked:  # asked once, however often the log repeats it
            assert asked.count(text) == 1, f"{call.api}.{call.name}: {asked!r}"
    assert PICTURE[:40] not in asked
    assert THOUGHT not in asked
    assert found.model_name == way.model(call), call.name
    if not named(call, way.miscounted):
        assert (found.prompt_tokens, found.response_tokens) == (call.prompt_tokens, call.response_tokens), call.name
    assert found.latency_ms is not None, call.name
    assert found.latency_ms > 1, call.name
    assert found.application_id == (way.application or found.application_id), call.name
    assert found.provider == way.provider, call.name
    assert not found.is_refusal or call.refused, call.name
    assert found.is_refusal or not named(call, way.refusals) or not call.refused, call.name
    if call.tools and not named(call, way.toolless):
        assert "14.25" in (found.context or ""), f"{call.api}.{call.name}: {found.context!r}"


def recorded(way: Way) -> bytes:
    return gzip.decompress(recording(way).read_bytes())


@EACH_WAY
def test_recording(way: Way) -> None:
    check(way, recorded(way))


OTLP = [way for way in WAYS if not way.name.endswith("_console") and way.name not in {"litellm_s3", "langsmith"}]
IN_OTLP = pytest.mark.parametrize("way", OTLP, ids=lambda way: way.name)
EVENTS = [way for way in WAYS if way.name.endswith(("_event", "_both", "_events"))]
IN_EVENTS = pytest.mark.parametrize("way", EVENTS, ids=lambda way: way.name)
IN_BOTH = pytest.mark.parametrize("way", [way for way in WAYS if way.name.endswith("_both")], ids=lambda way: way.name)


def apart(content: bytes, kinds: tuple[str, ...] = ("Spans", "Logs")) -> list[bytes]:
    """A line for each span and log record, in their order."""
    found = []
    for line in content.splitlines():
        for kind, within in (("Spans", "spans"), ("Logs", "logRecords")):
            for group in json.loads(line).get(f"resource{kind}", ()) if kind in kinds else ():
                for scope in group[f"scope{kind}"]:
                    for each in scope[within]:
                        alone = {**group, f"scope{kind}": [{**scope, within: [each]}]}
                        found.append(json.dumps({f"resource{kind}": [alone]}).encode() + b"\n")
    return found


@IN_OTLP
def test_order_and_number_of_lines_change_nothing(way: Way) -> None:
    """The messages of a call stay in their order; spans end in any, and may come before, after and between them."""
    spans, logs = apart(recorded(way), ("Spans",)), apart(recorded(way), ("Logs",))
    mixed = sorted(spans, key=zlib.crc32)
    for number, line in enumerate(logs):
        mixed.insert(2 * number, line)
    for lines in (spans + logs, logs + spans, logs + spans[::-1], mixed):
        check(way, b"".join(lines))


@IN_OTLP
def test_a_file_that_is_read_twice_over_tells_of_each_call_once(way: Way) -> None:
    check(way, recorded(way) * 2)


@IN_BOTH
def test_span_and_event_in_two_files_know_of_each_other(way: Way) -> None:
    spans, events = (
        {
            each.response: {each.interaction_id, *each.other_ids}
            for each in read(b"".join(apart(recorded(way), (kind,))))
            if isinstance(each, Interaction)
        }
        for kind in ("Spans", "Logs")
    )
    assert spans.keys() == events.keys() == {way.answer(call) for call in way.interactions()}
    assert all(ids & events[response] for response, ids in spans.items())


@IN_EVENTS
def test_spans_in_one_file_and_their_texts_in_another_are_read_as_one(way: Way, tmp_path: Path) -> None:
    """As the collector writes them, one file a signal; the spans alone tell of calls without texts."""
    spans, events = apart(recorded(way), ("Spans",)), apart(recorded(way), ("Logs",))
    times = [item.timestamp for item in read(b"".join(spans)) if item.timestamp is not None]
    (tmp_path / "traces.jsonl").write_bytes(b"".join(spans))
    (tmp_path / "zlogs.jsonl").write_bytes(b"".join(events))
    window = windows.floor(min(times))
    assert windows.floor(max(times)) == window
    source = FileSource(Folder(tmp_path, "interactions"), str(tmp_path), "aws")
    drawn = draw("acme", Application(interactions=str(tmp_path)), "aws", window, source)
    assert sum(drawn.sample.populations.values()) == len(way.interactions())
    assert drawn.counts.bad_lines == way.without_texts()
    assert drawn.counts.first_bad.endswith("traces.jsonl" if way.without_texts() else "")


def test_every_recording_is_read_and_tells_nothing_of_the_machine() -> None:
    assert {file.name.partition("@")[0] for file in RECORDED.iterdir()} == {way.name for way in WAYS}
    for file in RECORDED.iterdir():
        content = gzip.decompress(file.read_bytes())
        assert b"/root" not in content, file
        assert b"/tmp" not in content, file
        assert b"/work" not in content, file
        assert b"/home" not in content, file


@pytest.mark.long
@pytest.mark.timeout(900)  # the first run installs the libraries
@EACH_WAY
def test_library(way: Way, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if way.driver.endswith(".mjs") and shutil.which("npm") is None:
        pytest.skip("npm is not here, which installs what JavaScript writes with")
    version = write(way, tmp_path / "log")
    with capsys.disabled():
        made = sum(1 for _ in way.calls())
        print(f"\n{way.name}: {way.package} {version}, {made} calls, {len(way.interactions())} with texts")
    check(way, (tmp_path / "log").read_bytes())
