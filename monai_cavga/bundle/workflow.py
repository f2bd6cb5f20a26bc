"""A MONAI workflow that takes a bundle folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle.config_parser import ConfigParser
from monai.bundle.workflows import ConfigWorkflow

from monai_cavga.bundle.directory import (
    TRACKING_IDS,
    WORKFLOW_ARGUMENTS,
    config_files,
    data_problem,
    folder_problem,
    key_problem,
    run_id_problem,
)

# MONAI's workflow type "infer": how it looks up a bundle's properties
_INFERRING = ("evaluating", "inference", "synthetic_evaluating")


class BundleDirectoryWorkflow(ConfigWorkflow):
    """MONAI's `ConfigWorkflow` for a bundle folder.

    Adds to it: the config files follow from the folder and the run id; an override that names nothing in the config
    is refused, where MONAI adds it and changes nothing; an absent data set is one line; the `finalize` section also
    runs when the run fails.

    ``python -m monai.bundle run training --workflow_name monai_cavga.bundle.BundleDirectoryWorkflow --config DIR``

    Args:
        config: bundle folder, with its config files in ``configs/``; also the value of ``bundle_root``.
        config_file: config file or files in place of ``config``.
        run_id: one of `RUN_FILES` ("training", "evaluating", "inference", ...) or another id of train.json.
        init_id: id of the section that runs first.
        final_id: id of the section that runs last.
        meta_file: metadata; by default metadata.json beside the first config file.
        logging_file: logging settings; by default logging.conf beside the first config file; False for none.
        tracking: experiment tracking, as in MONAI.
        workflow_type: "train" or "infer"; by default what the run id implies.
        properties_path: JSON file of the workflow's properties, as in MONAI.
        overrides: config ids and their values, such as ``epochs=2`` or ``**{"train::dataloader::batch_size": 4}``.

    Raises:
        ValueError: if neither or both of ``config`` and ``config_file`` are given, or the config has no such run id
            or override.
        FileNotFoundError: if a config file does not exist.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | None = None,
        config_file: str | Sequence[str] | None = None,
        *,
        run_id: str = "run",
        init_id: str = "initialize",
        final_id: str = "finalize",
        meta_file: str | Sequence[str] | None = None,
        logging_file: str | bool | None = None,
        tracking: str | dict[str, Any] | None = None,
        workflow_type: str | None = None,
        properties_path: str | os.PathLike[str] | None = None,
        **overrides: Any,
    ) -> None:
        if config is not None and config_file is None:
            folder = Path(config)
            if problem := folder_problem(folder, run_id):
                raise FileNotFoundError(problem)
            files = [str(file) for file in config_files(folder, run_id)]
        elif config_file is not None and config is None:
            files = [config_file] if isinstance(config_file, str) else [str(file) for file in config_file]
            folder = _bundle_of(files)
        else:
            given = "neither" if config is None else "both"
            raise ValueError(f"got {given} of config and config_file, expected one: a bundle folder or config files")

        content = ConfigParser.load_config_files(files)
        arguments = {*WORKFLOW_ARGUMENTS, "bundle_root", *(TRACKING_IDS if tracking is not None else ())}
        if problem := run_id_problem(content, run_id) or key_problem(content, overrides, arguments=arguments):
            raise ValueError(problem)
        if config is not None:
            overrides.setdefault("bundle_root", str(folder))

        super().__init__(
            config_file=files,
            meta_file=meta_file,
            logging_file=logging_file,
            init_id=init_id,
            run_id=run_id,
            final_id=final_id,
            tracking=tracking,
            workflow_type=workflow_type or ("infer" if run_id in _INFERRING else "train"),
            properties_path=properties_path,
            **overrides,
        )
        self._folder = folder
        self._finalized = False

    def initialize(self) -> Any:
        """Run the `initialize` section."""
        self._finalized = False
        return super().initialize()

    def run(self) -> Any:
        """Run the section of the run id; if it fails, run the `finalize` section before the error goes on.

        Raises:
            FileNotFoundError: if the data set is not there.
        """
        try:
            if problem := data_problem(self.parser.get(), None, folder=self._folder, run_id=self.run_id):
                raise FileNotFoundError(problem)
            return super().run()
        except BaseException:
            self.finalize()
            raise

    def finalize(self) -> Any:
        """Run the `finalize` section, once: a second call does nothing."""
        if self._finalized:
            return []
        self._finalized = True
        return super().finalize()


def _bundle_of(files: Sequence[str]) -> Path:
    folder = Path(files[0]).parent
    return folder.parent if folder.name == "configs" else folder
