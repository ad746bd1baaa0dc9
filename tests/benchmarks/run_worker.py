"""What Dagster's default launcher starts for a run: a fresh process that loads the definitions and executes one job."""

from __future__ import annotations

import sys


def main(job: str, partition_key: str) -> None:
    """Create the run of `job` for a window and execute it as a run worker does."""
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    from optiinfra_dagster.cli.dagster_runs import prepare_home
    from optiinfra_dagster.config.settings import load_settings

    prepare_home(load_settings())
    repository = ReconstructableRepository.for_module("optiinfra_dagster.definitions", "defs")
    with dg.DagsterInstance.get() as instance:
        result = dg.execute_job(
            repository.get_reconstructable_job(job),
            instance=instance,
            tags={"dagster/partition": partition_key},
            raise_on_error=True,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    sys.exit(0 if result.success else 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
