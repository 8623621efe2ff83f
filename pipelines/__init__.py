"""Where catalogs, domainssl and reports meet: recipes, run folders, steps and the command line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.run import Run

__all__ = ["Run"]


def __getattr__(name: str) -> object:
    if name == "Run":  # imported late: pandas takes a second that `domainssl --help` need not wait for
        from pipelines.run import Run

        return Run
    raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
