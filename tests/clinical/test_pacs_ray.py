"""Studies on a Ray cluster of this machine: a lost task is one failure, and the next run completes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dicom_files import dicom_image
from orthanc import orthanc
from pacs_fakes import encoded, fails_on_study_1, work

from monai_cavga.clinical.pacs.archive import Query
from monai_cavga.clinical.pacs.options import Connection
from monai_cavga.clinical.pacs.run import run_pacs

DAY = Query(dates="20250317")


@pytest.mark.slow
def test_a_local_cluster(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed (the [ray] extra)")
    with orthanc(tmp_path / "pacs") as server:
        for number in range(2):
            server.put(encoded(dicom_image(study=str(number))))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # of pacs_fakes, for the cluster's processes
        monkeypatch.setenv("MONAI_CAVGA_DEBUG", "1")  # so that what a localiser raises is not caught

        def run(cluster, **changed):
            lines: list[str] = []
            options = {"work": work(**changed), "state": tmp_path / "state", "say": lines.append}
            return run_pacs(Connection(url=server.url), DAY, cluster=cluster, **options), lines

        code, lines = run("local", localise=fails_on_study_1)
        assert code == 3, lines
        assert any("failed: the task was lost: ZeroDivisionError" in line for line in lines)
        assert server.count() == 4
        code, lines = run(None)
        assert (code, lines[-1]) == (0, "2 studies: 2 images stored and verified, 0 failures")
        assert sum("(1 done before)" in line for line in lines) == 1
        assert sorted(each.Modality for each in server.objects()) == ["OP", "OP", "SEG", "SEG", "SR", "SR"]


def test_without_ray_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        orthanc(tmp_path / "pacs") as server,
        pytest.raises(ModuleNotFoundError, match=r"--ray needs ray: pip install"),
    ):
        run_pacs(Connection(url=server.url), DAY, work=work(), state=tmp_path, say=print, cluster="local")
