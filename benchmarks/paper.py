"""The paper's tables, measured again: one subcommand a table, one module a subcommand.

``python benchmarks/paper.py ablation --data MVTEC --category screw --weights FILE --seeds 0`` trains and evaluates what
is not finished of table 8 (a killed training resumes, a finished cell is kept) and writes one JSON file a cell and the
table into ``benchmarks/results``. ``python benchmarks/paper.py collect ablation --category screw`` makes the table
from those files alone. ``table8`` is another name of ``ablation``; ``table3`` and ``table6`` are the same cells, which
give both; ``table4`` is of frames, ``table7`` of one class against the rest. ``table5`` is of LAG, whose owners do
not let it be passed on: it has no result files here and is for those who have LAG. ``--ray ADDRESS`` runs cells side by
side.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import ablation
import table3
import table4
import table5
import table7
from parallel import add_ray_argument
from reporting import RESULTS

# Each module has HELP, add_run_arguments(parser), add_collect_arguments(parser), run(args) and collect(args).
TABLES = {
    "ablation": ablation,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "table6": table3,
    "table7": table7,
    "table8": ablation,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    collector = commands.add_parser("collect", help="a table from its result files")
    collected = collector.add_subparsers(dest="table", required=True)
    for name, table in TABLES.items():
        runner = commands.add_parser(name, help=table.HELP)
        runner.add_argument("--seeds", nargs="+", type=int, default=[0])
        folder = Path("runs") / table.__name__
        runner.add_argument("--work", type=Path, default=folder, help=f"models and logs ({folder})")
        add_ray_argument(runner)
        table.add_run_arguments(runner)
        runner.set_defaults(run=table.run)
        from_files = collected.add_parser(name, help=table.HELP)
        from_files.set_defaults(run=table.collect)
        for each in (runner, from_files):
            each.add_argument("--output", type=Path, default=RESULTS, help="result files (benchmarks/results)")
            table.add_collect_arguments(each)
    args = parser.parse_args(arguments)
    for key, value in list(vars(args).items()):
        if isinstance(value, Path):
            setattr(args, key, value.absolute())  # a Ray worker may start elsewhere
        elif key == "weights" and value is not None and Path(value).is_file():
            args.weights = str(Path(value).absolute())
    args.run(args)


if __name__ == "__main__":
    main()
