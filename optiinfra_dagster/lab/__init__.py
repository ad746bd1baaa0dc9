"""The cloud lab: local clouds that speak the real protocols to the real SDKs, for tests, benchmarks and a first look.

`CloudLab` serves a world in a background thread; `python -m optiinfra_dagster.lab` serves one as a process;
`LabControl` talks to either, to ask what was called and to make things go wrong.
"""

from __future__ import annotations

from optiinfra_dagster.lab.control import CloudLab, LabControl

__all__ = ["CloudLab", "LabControl"]
