"""What Dagster's own tools load: `defs`.

The command line and the tests take `build_defs` from `assembly`: to load this module is to build everything, 1 CPU-s.
"""

from __future__ import annotations

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.config.settings import load_settings

defs = build_defs(load_settings())
