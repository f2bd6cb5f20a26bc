"""The README's picture: the shipped retina model on the first test photographs with masks, in their own order.

``python benchmarks/picture.py IDRID`` writes ``benchmarks/results/lesions.png``. Nothing is chosen: the first five
photographs of part A's test set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from reporting import HERE, RESULTS, shown

from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.data.idrid import segmentation_items
from monai_cavga.handlers.files import save_png
from monai_cavga.handlers.panels import contact_sheet, panel
from monai_cavga.transforms import LoadMaskd

COUNT, TILE = 5, 220
MAPS = ["fused", "class", "latent_distance"]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="IDRiD folder")
    args = parser.parse_args()
    items = [dict(item) for item in segmentation_items(args.data, "test")[:COUNT]]
    workflow = BundleDirectoryWorkflow(
        HERE.parent / "bundles" / "idrid", run_id="inference", logging_file=False, dataset_dir=str(args.data)
    )
    workflow.initialize()
    get = workflow.parser.get_parsed_content
    get("load_model"), get("load_calibration")
    network, preprocessing, postprocessing = get("network").eval(), get("preprocessing"), get("postprocessing")
    panels = []
    for item in items:
        ready = preprocessing({key: value for key, value in item.items() if key != "mask_files"})
        with torch.no_grad():
            ready["pred"] = get("inferer")(ready["image"][None], network)[0]
        done = LoadMaskd(reference_key="fused")(postprocessing(ready) | {"mask_files": item["mask_files"]})
        panels.append(panel(done, name=item["name"], primary="fused", attends="anomalous", tile=TILE))
    path = RESULTS / "lesions.png"
    save_png(path, np.asarray(contact_sheet(panels)))
    print(f"wrote {shown(path)}")


if __name__ == "__main__":
    main()
