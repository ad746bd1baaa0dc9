"""What Dagster's own tools load: `defs`.

The command line and the tests take `build_defs` from `assembly`: to load this module is to build everything, 1 CPU-s.
"""

from __future__ import annotations

import gc

gc.disable()  # nothing becomes garbage here: to look for it while all is loaded takes 0.1 of 0.9 CPU-s

from optiinfra_dagster.assembly import build_defs  # noqa: E402 - see the line above
from optiinfra_dagster.config.settings import load_settings  # noqa: E402

try:
    defs = build_defs(load_settings())
finally:
    # What is loaded stays for the life of the process. Python would walk all of it again and again, and when the
    # process ends: for that alone, 0.4 CPU-s of each run.
    gc.freeze()
    gc.enable()
