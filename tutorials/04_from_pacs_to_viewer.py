# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. From PACS to viewer
#
# Photographs come out of an archive as DICOM, and what was found must go back as DICOM that any viewer shows: a
# segmentation (SEG), a structured report (SR), a picture with the notice burnt in (secondary capture). Two commands
# do it: `localize` for files and `pacs` for a whole archive. Needs `pip install '.[dicom,plots]'` in the checkout.
#
# **Research use, not for diagnosis**: nothing made here may decide about a patient, and every object says so.
#
# `DATA` is one of three: `None` (made photographs in made-up DICOM files, and an archive in memory), a folder of
# DICOM files, or the address of a DICOMweb service such as `http://localhost:8042/dicom-web` (Orthanc). With an
# address, **the last part stores objects there**: give a test archive.

# %%
# %matplotlib inline
DATA = None
DATES = "20250317"  # of the studies that an archive is asked for

# %%
import json
import shlex
from pathlib import Path

from matplotlib.figure import Figure
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from monai_cavga.__main__ import main
from monai_cavga.data import phantom

BUNDLE = "../bundles/idrid"
AT_AN_ARCHIVE = str(DATA).startswith("http")


def command(line):
    """Run a command of the package here; on a command line, write `python -m monai_cavga` in front of it."""
    print(f"$ python -m monai_cavga {line}")
    print("exit code", main(shlex.split(line)))


# %% [markdown]
# ## Photographs as a camera writes them
#
# The least that an *Ophthalmic Photography* object needs to be read. Patients, studies and eyes are made up.


# %%
def write_photograph(path, number, *, lesions):
    """One phantom as a DICOM file."""
    pixels = phantom(number, size=(208, 320), lesions=lesions)[0]
    image = Dataset()
    image.SOPClassUID, image.Modality = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "OP"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(image, keyword, generate_uid(entropy_srcs=[keyword, str(number)]))
    image.PatientName, image.PatientID = f"Phantom^{number}", f"PHANTOM-{number}"
    image.StudyDate = image.ContentDate = DATES
    image.StudyTime = image.ContentTime = "091500"
    image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.ReferringPhysicianName = ""
    image.StudyID, image.SeriesNumber, image.InstanceNumber, image.ImageLaterality = str(number), 1, 1, "R"
    image.Rows, image.Columns, image.SamplesPerPixel = *pixels.shape[:2], 3
    image.PhotometricInterpretation, image.PlanarConfiguration = "RGB", 0
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.PixelData = pixels.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(exist_ok=True)
    image.save_as(path, enforce_file_format=True)


if DATA is None or AT_AN_ARCHIVE:
    folder = Path("dicom")
    for number in (1, 2):
        write_photograph(folder / f"IM{number:04d}", number, lesions=number == 2)
else:
    folder = Path(DATA)

# %% [markdown]
# ## Files: `localize`
#
# DICOM files need no ending; they are known by their content.

# %%
command(f"localize {folder} --bundle {BUNDLE} --output objects --write seg sr capture page")
found = [each for each in json.loads(Path("objects/results.json").read_text())["images"] if each["state"] == "ok"]
highest = max(found, key=lambda each: each["score"])
print(*highest["files"].values(), sep="\n")

# %% [markdown]
# What a viewer opens, for the photograph with the highest score. The SEG holds the map in 8 bits (a *fractional* one;
# `seg_binary` writes what is above the threshold, for viewers that show no fractions). The capture is for any viewer.

# %%
source = dcmread(highest["path"])
seg = dcmread(Path("objects", highest["files"]["seg"]))
capture = dcmread(Path("objects", highest["files"]["capture"]))
figure = Figure(figsize=(10, 2.6), layout="constrained")
pictures = {
    "the photograph": source,
    f"SEG, {seg.SegmentationFractionalType.lower()}": seg,
    "secondary capture": capture,
}
for axes, (title, each) in zip(figure.subplots(1, 3), pictures.items(), strict=True):
    axes.imshow(each.pixel_array.squeeze(), cmap="gray")
    axes.set(title=title, xticks=[], yticks=[])
figure

# %% [markdown]
# The SEG says which photograph it belongs to, so that a viewer can lay it over, and it carries the photograph's
# patient and study. The report is preliminary and unverified, and holds the numbers with their meaning:

# %%
assert (seg.Rows, seg.StudyInstanceUID) == (source.Rows, source.StudyInstanceUID)
assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID


def tell(item, depth=0):
    """The names and values of a structured report's content."""
    name = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
    value = item.get("TextValue") or ""
    if "MeasuredValueSequence" in item and item.MeasuredValueSequence:
        value = item.MeasuredValueSequence[0].NumericValue
    elif "ConceptCodeSequence" in item:
        value = item.ConceptCodeSequence[0].CodeMeaning
    if value or "ContentSequence" in item:
        print("  " * depth + f"{name}: {value}")
    for part in item.get("ContentSequence", ()):
        tell(part, depth + 1)


report = dcmread(Path("objects", highest["files"]["sr"]))
print(report.CompletionFlag, report.VerificationFlag, report.get("PreliminaryFlag", ""))
tell(report)

# %% [markdown]
# ## An archive: `pacs`
#
# `pacs` asks an archive for studies, fetches the photographs, localises them, stores SEG and SR back, **and reads
# back what it stored to compare it**. For an archive with DICOMweb it is one command:
#
# ```text
# python -m monai_cavga pacs --bundle bundles/idrid --state STATE --url http://localhost:8042/dicom-web --dates 20250317
# ```
#
# With `DATA` an address, that command runs below. Without one, the same run goes against an archive in memory: a
# class with the five things that an archive must do, in place of a network. Everything else is the command's own
# code.

# %%
from monai_cavga.clinical.pacs.archive import ObjectRef, Query
from monai_cavga.clinical.pacs.bundle import BundleLocaliser
from monai_cavga.clinical.pacs.run import run_pacs
from monai_cavga.clinical.pacs.study import Work


class Memory:
    """An archive, and the connection to it."""

    address = "memory"

    def __init__(self, files):
        self.objects = {each.SOPInstanceUID: each for each in map(dcmread, files)}

    def open(self):
        return self

    def studies(self, query):
        return list(dict.fromkeys(each.StudyInstanceUID for each in self.objects.values()))

    def images(self, study, *, modalities):
        of_study = [each for each in self.objects.values() if each.StudyInstanceUID == study]
        return [ObjectRef.of(each) for each in of_study if each.Modality in modalities]

    def holds(self, ref):
        return ref.instance in self.objects

    def retrieve(self, ref):
        return self.objects[ref.instance]

    def store(self, dataset):
        self.objects[dataset.SOPInstanceUID] = dataset


if AT_AN_ARCHIVE:

    def run():
        """The command."""
        command(f"pacs --bundle {BUNDLE} --state state --url {DATA} --dates {DATES}")
else:
    archive = Memory(sorted(path for path in folder.rglob("*") if path.is_file()))
    localiser = BundleLocaliser(bundle=Path(BUNDLE), kinds=("seg", "sr"))

    def run():
        """What the command does, against the archive in memory."""
        work = Work(localise=localiser, recipe=localiser.recipe)
        print("exit code", run_pacs(archive, Query(dates=DATES), work=work, state=Path("state"), say=print))
        print("the archive now holds", sorted(each.Modality for each in archive.objects.values()))


run()

# %% [markdown]
# Studies are named by a hash: no line of the log holds anything of a patient. The same command again does nothing
# twice, whether the first run ended or was killed half-way:

# %%
run()

# %% [markdown]
# ## What to check before a clinic's archive sees it
#
# - **Codes.** Exit code 0: every photograph's objects are in the archive; 3: some are not, each with its reason. A
#   photograph that the quality gate stops is *listed*, never passed over in silence.
# - **Viewers.** Fractional SEG is not shown everywhere: ask for `--write seg_binary sr capture` where yours does not.
# - **Your archive.** Tested against Orthanc over DICOMweb and DIMSE; others are untried (`docs/clinical.md`).
# - **The threshold is another clinic's** until you calibrate on your own normals ([notebook
#   1](01_lesion_screening.ipynb)).
#
# Next: [reading a map](05_reading_a_map.ipynb).
