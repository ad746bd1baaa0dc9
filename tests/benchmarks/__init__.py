"""Benchmarks: what the project costs, as ratios against a plain baseline in the same run. `make bench` runs them."""
