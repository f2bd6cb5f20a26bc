"""`python -m monai.bundle run training --config bundles/lag`: a bundle folder where MONAI expects its files.

MONAI's `run` takes `--config_file`, not a folder. A `.pth` that is installed beside the package calls :func:`install`
while the interpreter starts; it rewrites the arguments of that one command to `--config_file ... --bundle_root ...`
before MONAI is imported. MONAI is not patched. `MONAI_CAVGA_CLI=0` switches it off. Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from monai_cavga.bundle.directory import (
    TRACKING_IDS,
    WORKFLOW_ARGUMENTS,
    config_files,
    data_problem,
    folder_problem,
    key_problem,
    read_configs,
    run_id_problem,
)
from monai_cavga.bundle.words import Word, as_fire_word, fire_flags, split_words

SWITCH = "MONAI_CAVGA_CLI"
# The parameters of MONAI's `run`, in its order: config_file can also be the fifth positional.
_RUN_PARAMETERS = (
    "run_id",
    "init_id",
    "final_id",
    "meta_file",
    "config_file",
    "logging_file",
    "tracking",
    "args_file",
)


class RefusedCommandError(ValueError):
    """A command that MONAI would run, but not as it was meant; the text is one line for the user."""


def rewrite(argv: Sequence[str], env: Mapping[str, str], *, orig_argv: Sequence[str]) -> tuple[list[str], str]:
    """Rewrite the arguments of `python -m monai.bundle run [RUN_ID] --config DIR ...`; leave all others alone.

    Args:
        argv: `sys.argv` as it is while the interpreter starts: "-m", then the module's arguments.
        env: the environment.
        orig_argv: `sys.orig_argv`.

    Returns:
        The new arguments (the same as `argv` if the command is another one or not for us) and a line for the user,
        "" if there is nothing to say.

    Raises:
        RefusedCommandError: for an override or run id that the bundle does not have, for a config file that is not
            JSON, and for a data set that is not there.
    """
    same = list(argv)
    if env.get(SWITCH) == "0" or not _is_bundle_run(argv, orig_argv):
        return same, ""
    words = split_words(argv[2:], parameters=_RUN_PARAMETERS)
    flags = {word.key: word.value for word in words if word.key}
    positionals = [word.value for word in words if not word.key]
    if "config" not in flags or not flags.keys().isdisjoint(("config_file", "args_file", "workflow_name")):
        return same, ""
    if len(positionals) > _RUN_PARAMETERS.index("config_file"):
        return same, ""

    folder = Path(flags["config"])
    run_id = flags.get("run_id") or next(iter(positionals), "run")
    problem = folder_problem(folder, run_id)
    if problem:
        return same, f"{problem}; the arguments go to MONAI as typed"
    check(folder, run_id, flags)

    files = [str(file) for file in config_files(folder, run_id)]
    new = ["--config_file", as_fire_word(files[0]) if len(files) == 1 else str(files)]
    if "bundle_root" not in flags:
        new += ["--bundle_root", as_fire_word(str(folder))]
    # In place: moved elsewhere, a flag without a value could swallow the word that then follows it.
    put = [raw for word in words for raw in (new if word.key == "config" else _keep_none(word))]
    return [*argv[:2], *put, *fire_flags(argv[2:])], f"--config {folder} is read as {' '.join(new)}"


def _keep_none(word: Word) -> tuple[str, ...]:
    """MONAI drops an override whose value is None, silently; the expression "$None" arrives."""
    if word.value == "None" and word.key and word.key not in _RUN_PARAMETERS:
        return (f"--{word.key}", "$None")
    return word.raw


def check(folder: Path, run_id: str, overrides: Mapping[str, object]) -> None:
    """Refuse what MONAI would accept and not do.

    Args:
        folder: the bundle; its config files exist.
        run_id: the id to run.
        overrides: the command's keys and values, the command's own options among them.

    Raises:
        RefusedCommandError: see :func:`rewrite`.
    """
    try:
        config = read_configs(config_files(folder, run_id))
    except ValueError as err:
        raise RefusedCommandError(str(err)) from err
    arguments = {*_RUN_PARAMETERS, *WORKFLOW_ARGUMENTS, "config", "bundle_root"}
    if "tracking" in overrides:
        arguments.update(TRACKING_IDS)
    problem = (
        run_id_problem(config, run_id)
        or key_problem(config, overrides, arguments=arguments)
        or data_problem({**config, **overrides}, overrides.get("dataset_dir"), folder=folder, run_id=run_id)
    )
    if problem:
        raise RefusedCommandError(problem)


def _is_bundle_run(argv: Sequence[str], orig_argv: Sequence[str]) -> bool:
    """Whether the interpreter was started as `python [options] -m monai.bundle run ...`."""
    if argv[:2] != ["-m", "run"]:
        return False
    at = len(orig_argv) - len(argv)  # the word before the module's arguments: the module
    if at < 1 or list(orig_argv[at + 1 :]) != list(argv[1:]):
        return False
    module, option = orig_argv[at], orig_argv[at - 1]
    apart = module == "monai.bundle" and option.startswith("-") and option.endswith("m")
    return apart or (module.startswith("-") and module.endswith("mmonai.bundle"))


def install() -> None:
    """Rewrite `sys.argv` in place; called by the `.pth`, perhaps twice. Never raises.

    A refused command ends here, with exit code 2: an exception would be swallowed, or called a fatal error of the
    interpreter, because `site` is still at work.
    """
    try:
        argv, note = rewrite(sys.argv, os.environ, orig_argv=sys.orig_argv)
        sys.argv[:] = argv
        _say(note)
    except RefusedCommandError as err:
        _say(str(err))
        os._exit(2)
    except Exception as err:
        # A convenience must not break a command that MONAI can run without it.
        _say(f"--config was left to MONAI ({type(err).__name__}: {err})")


def _say(line: str) -> None:
    if line and os.environ.get("RANK", "0") == "0":  # one of torchrun's processes is enough
        print(f"monai_cavga: {line}", file=sys.stderr, flush=True)
