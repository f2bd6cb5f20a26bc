"""From files to maps: the same as `run inference`, every outcome told, earlier results kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom_image
from PIL import Image
from pydicom import dcmread
from tiny_bundle import PHOTO_SIZE, photo, run_inference, write_bundle, write_photo

from monai_cavga.__main__ import main
from monai_cavga.clinical.find import find_images
from monai_cavga.clinical.identity import percentile
from monai_cavga.clinical.localize import Localizer
from monai_cavga.clinical.model import ModelError, load_model
from monai_cavga.clinical.outcome import Outcome, exit_code, summary
from monai_cavga.clinical.read import Reader
from monai_cavga.clinical.records import Source


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def model(bundle):
    return load_model(bundle)


@pytest.fixture(scope="module")
def reader():
    with Reader() as one:
        yield one


def sources(number: int) -> list[Source]:
    return [
        Source(path=Path(f"{n}.png"), pixels=photo(n).astype(np.float32) / 255, sha256=f"{n:064x}")
        for n in range(number)
    ]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_map_is_that_of_run_inference(bundle, model, reader, tmp_path):
    for seed in (1, 2):
        write_photo(tmp_path / "photos" / f"{seed}.png", seed)
    run_inference(bundle, tmp_path / "photos", tmp_path / "theirs")
    index = json.loads((tmp_path / "theirs" / "maps.json").read_text())
    outcomes = Localizer(model, reader, kinds=["map"]).run(
        [tmp_path / "photos" / f"{seed}.png" for seed in (1, 2)], tmp_path / "ours"
    )
    for outcome, entry in zip(outcomes, index["images"], strict=True):
        ours = np.asarray(Image.open(tmp_path / "ours" / outcome.record["files"]["map"])).astype(int)
        theirs = np.asarray(Image.open(tmp_path / "theirs" / entry["maps"]["fused"]["file"])).astype(int)
        inside = ours > 0
        assert ours.shape == PHOTO_SIZE
        assert inside.mean() > 0.5
        assert np.ptp(ours[inside]) > 1000  # no constant that would be equal to anything
        assert abs(ours - theirs)[inside].max() <= 2  # of 65535: the engine's batch of two rounds otherwise
        assert outcome.record["score"] == pytest.approx(entry["score"], abs=1e-5)


def test_a_map_is_the_same_alone_and_in_company(model):
    alone = [model.localise([source])[0] for source in sources(3)]
    together = model.localise(sources(3))
    turned = model.localise(sources(3)[::-1])[::-1]
    for one, two, three in zip(alone, together, turned, strict=True):
        assert (one.map == two.map).all()
        assert (one.map == three.map).all()
        assert one.score == two.score == three.score


def test_outside_the_field_of_view_is_zero_and_the_score_is_ranked(model):
    (found,) = model.localise(sources(1))
    assert found.map.dtype == np.float32
    assert not found.map[~found.fov].any()
    assert 0 < found.fov.mean() < 1
    assert found.percentile == pytest.approx(10 * np.ceil(10 * found.score), abs=10)  # normals at 0.0, 0.1, ... 0.9
    assert (found.model.name, found.model.normals, found.model.false_positive_rate) == ("tiny", 10, 0.01)
    assert len(found.model.model_sha256) == len(found.model.calibration_sha256) == 64


def test_a_percentile_counts_lower_scores():
    assert percentile(0.5, [0.1, 0.4, 0.5, 0.9]) == 50.0
    assert np.isnan(percentile(0.5, []))


@pytest.mark.parametrize("change", [{"image_scores_of_normals": []}, {"score_rule": 0.9}])
def test_without_scores_of_normals_by_the_same_rule_the_percentile_is_unknown(tmp_path, change):
    bundle = write_bundle(tmp_path / "b")
    described = bundle / "models" / "calibration.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), **change}))
    before = load_model(write_bundle(tmp_path / "other")).identity
    (found,) = load_model(bundle).localise(sources(1))
    assert np.isnan(found.percentile)
    assert found.model.calibration_sha256 != before.calibration_sha256  # other objects, so other UIDs
    assert found.model.model_sha256 == before.model_sha256


def test_a_bundle_without_calibration_and_gate(tmp_path):
    """MVTec AD's: grey, its first map made a plain attention map; no field of view, no calibration."""
    bundle = write_bundle(
        tmp_path / "b", bundle="mvtad", maps=["attention"], calibration_file="none", head="none", stages=2
    )
    model = load_model(bundle, model_file=bundle / "models" / "model.pt")
    assert not model.fundus
    (found,) = model.localise(sources(1))
    assert found.map.shape == PHOTO_SIZE
    assert found.fov.all()
    assert found.model.calibration_sha256 == ""


def test_every_outcome_is_told_and_kept(bundle, tmp_path, capsys):
    write_photo(tmp_path / "in" / "good.png", 1)
    write_photo(tmp_path / "in" / "deep" / "also good.tif", 2)
    Image.fromarray(photo(3) // 12).save(tmp_path / "in" / "dark.png")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    dicom_image("OP8", pixels=photo(4), laterality="L").save_as(tmp_path / "in" / "eye.dcm", enforce_file_format=True)
    command = ["localize", str(tmp_path / "in"), "--bundle", str(bundle), "--output", str(tmp_path / "out")]
    assert main(command) == 3
    printed = capsys.readouterr()
    assert "5 images: 3 ok, 1 cannot assess, 1 refused; see" in printed.out
    assert "cannot assess" in printed.err
    assert "too dark" in printed.err
    first = tree(tmp_path / "out")
    results = json.loads(first["results.json"])
    states = {Path(each["path"]).name: each["state"] for each in results["images"]}
    assert states == {
        "bad.jpg": "refused",
        "dark.png": "cannot assess",
        "eye.dcm": "ok",
        "good.png": "ok",
        "also good.tif": "ok",
    }
    sides = {Path(each["path"]).name: each.get("laterality") for each in results["images"]}
    assert sides["eye.dcm"] == "L"
    assert main(command) == 3
    assert "(4 kept from an earlier run)" in capsys.readouterr().out
    assert tree(tmp_path / "out") == first
    next((tmp_path / "out").glob("good-*_map.png")).unlink()
    assert main(command) == 3
    assert "(3 kept from an earlier run)" in capsys.readouterr().out
    assert tree(tmp_path / "out") == first


def test_exit_codes_of_a_whole_and_of_a_lost_run(bundle, tmp_path, capsys):
    good, bad = write_photo(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    assert main(["localize", str(good), "--bundle", str(bundle), "--output", str(tmp_path / "a")]) == 0
    assert main(["localize", str(bad), "--bundle", str(bundle), "--output", str(tmp_path / "b")]) == 1
    assert main(["localize", str(tmp_path / "absent"), "--bundle", str(bundle), "--output", str(tmp_path / "c")]) == 2
    assert "no such file, folder or pattern" in capsys.readouterr().err


def test_other_weights_and_other_kinds_are_computed_anew(bundle, reader, tmp_path):
    path = write_photo(tmp_path / "a.png")
    one, two = load_model(bundle), load_model(write_bundle(tmp_path / "other", seed=5))
    assert not Localizer(one, reader, kinds=["map"]).run([path], tmp_path / "out")[0].kept
    assert Localizer(one, reader, kinds=["map"]).run([path], tmp_path / "out")[0].kept
    assert not Localizer(two, reader, kinds=["map"]).run([path], tmp_path / "out")[0].kept
    assert not Localizer(two, reader, kinds=["map", "nifti"]).run([path], tmp_path / "out")[0].kept


def test_another_config_gives_other_objects_and_keeps_nothing(model, reader, tmp_path):
    """Another score rule, the same weights and calibration: another score in the report, so another UID."""
    pytest.importorskip("highdicom", reason="writing DICOM objects needs highdicom")
    image = tmp_path / "eye.dcm"
    dicom_image("OP8", pixels=photo(1)).save_as(image, enforce_file_format=True)
    same, other = load_model(write_bundle(tmp_path / "b")), write_bundle(tmp_path / "c")
    config = other / "configs" / "inference.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "score_rule": 0.9}))

    def made(by, folder="out"):
        (outcome,) = Localizer(by, reader, kinds=["seg", "sr"]).run([image], tmp_path / folder)
        files = [dcmread(tmp_path / folder / outcome.record["files"][kind]) for kind in ("seg", "sr")]
        return outcome.kept, [each.SOPInstanceUID for each in files], outcome.record["score"]

    kept, uids, score = made(model)
    assert not kept
    assert made(same) == (True, uids, score)
    assert made(same, "elsewhere") == (False, uids, score)
    kept, others, another_score = made(load_model(other))
    assert not kept
    assert not set(uids) & set(others)
    assert another_score != score


def test_a_damaged_record_is_no_result(model, reader, tmp_path):
    path = write_photo(tmp_path / "a.png")
    (outcome,) = Localizer(model, reader, kinds=["map"]).run([path], tmp_path / "out")
    (tmp_path / "out" / outcome.record["files"]["json"]).write_text("[]")
    assert not Localizer(model, reader, kinds=["map"]).run([path], tmp_path / "out")[0].kept


class Breaking:
    """A model that fails on one image."""

    def __init__(self, model, name):
        self.identity, self.fundus = model.identity, model.fundus
        self.model, self.name = model, name

    def localise(self, given):
        if any(each.path.name == self.name for each in given):
            raise RuntimeError("of a patient")
        return self.model.localise(given)


def test_one_failing_image_takes_no_other_with_it(model, reader, tmp_path):
    paths = [write_photo(tmp_path / f"{n}.png", n) for n in range(3)]
    outcomes = Localizer(Breaking(model, "1.png"), reader, batch_size=3).run(paths, tmp_path / "out")
    assert [each.state for each in outcomes] == ["ok", "failed", "ok"]
    assert outcomes[1].reason == "cannot be localised: RuntimeError (MONAI_CAVGA_DEBUG=1 shows where)"


def test_what_cannot_be_written_is_a_failure_of_its_image(model, reader, tmp_path, monkeypatch):
    paths = [write_photo(tmp_path / f"{n}.png", n) for n in range(2)]

    def full(found, folder, stem, *, kinds):
        if stem.startswith("0"):
            raise OSError(28, "No space left on device")
        return {}, []

    monkeypatch.setattr("monai_cavga.clinical.localize.write_kinds", full)
    outcomes = Localizer(model, reader).run(paths, tmp_path / "out")
    assert [each.state for each in outcomes] == ["failed", "ok"]
    assert outcomes[0].reason == "cannot be written: No space left on device"


def test_images_that_no_gate_is_needed_for(model, reader, tmp_path):
    Image.new("RGB", (60, 50), (90, 60, 30)).save(tmp_path / "blank.png")
    Image.fromarray(photo(0)[:20]).save(tmp_path / "small.png")
    paths = [tmp_path / "blank.png", tmp_path / "small.png"]
    reasons = [each.reason for each in Localizer(model, reader).run(paths, tmp_path / "out")]
    assert reasons[0] == "blank: every pixel has the same colour"
    assert reasons[1].startswith("too small: 20 x 176 pixels")


def test_names_come_from_the_path_alone_and_differ(model, reader, tmp_path):
    one = write_photo(tmp_path / "a" / "x y..png", 1)
    two = write_photo(tmp_path / "b" / "x y..png", 2)
    three = write_photo(tmp_path / "c" / "x y..png", 1)
    outcomes = Localizer(model, reader, kinds=["map"]).run([one, two, three], tmp_path / "out")
    names = [each.record["files"]["map"] for each in outcomes]
    assert names[0] != names[1]
    assert names[0] == names[2]  # the same picture of the same name
    assert all(name.startswith("x_y-") for name in names)


def test_kinds_of_dicom_are_left_out_for_a_png(model, reader, tmp_path):
    path = write_photo(tmp_path / "a.png")
    (outcome,) = Localizer(model, reader, kinds=["seg", "sr"]).run([path], tmp_path / "out")
    assert outcome.record["left_out"] == dict.fromkeys(["seg", "sr"], "the source is no DICOM object")


def test_dicom_objects_are_written_for_a_dicom_image(model, reader, tmp_path):
    pytest.importorskip("highdicom", reason="writing DICOM objects needs highdicom")
    dicom_image("VL", pixels=photo(2)).save_as(tmp_path / "eye", enforce_file_format=True)
    kinds = ["seg", "seg_binary", "sr", "capture"]
    (outcome,) = Localizer(model, reader, kinds=kinds).run([tmp_path / "eye"], tmp_path / "out")
    assert outcome.state == "ok", outcome.reason
    assert set(outcome.record["files"]) == {*kinds, "json"}
    assert all((tmp_path / "out" / name).is_file() for name in outcome.record["files"].values())


def test_a_model_that_cannot_be_used_is_one_line(tmp_path, bundle):
    with pytest.raises(FileNotFoundError, match="no bundle for 'inference'"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="backend is 'tpu', expected one of torch"):
        load_model(bundle, backend="tpu")
    with pytest.raises(FileNotFoundError, match=r"model .*absent.pt does not exist: train it, or give --model_file"):
        load_model(bundle, model_file=tmp_path / "absent.pt")
    other = write_bundle(tmp_path / "other")
    (other / "configs" / "metadata.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a JSON list, expected an object"):
        load_model(other)
    (other / "configs" / "metadata.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON: copy the bundle again"):
        load_model(other)
    (other / "configs" / "metadata.json").unlink()
    with pytest.raises(FileNotFoundError, match="every bundle has its name and version there"):
        load_model(other)


def test_a_bundle_of_another_form_is_refused(tmp_path):
    config = json.loads((write_bundle(tmp_path / "a") / "configs" / "inference.json").read_text())
    reading = dict(config["preprocessing"], transforms=config["preprocessing"]["transforms"][1:])
    with pytest.raises(ModelError, match="reads images with Resized, expected LoadRGBd as first transform"):
        load_model(write_bundle(tmp_path / "b", preprocessing=reading))
    bundle = write_bundle(tmp_path / "c")
    del config["calibration_file"], config["load_calibration"]
    config |= {"deployed": "$[@load_model, @network_def][-1]", "inference": ["@load_model", "$@evaluator.run()"]}
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="knows no calibration_file"):
        load_model(bundle, calibration_file=tmp_path / "x.safetensors")
    distance = load_model(write_bundle(tmp_path / "d", maps=["latent_distance"], far=100.0))
    with pytest.raises(ModelError, match="name a calibrated map, such as 'fused', first in the bundle's maps"):
        distance.localise(sources(1))


def test_localizer_checks_its_batch_size(model, reader):
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        Localizer(model, reader, batch_size=0)


def test_images_are_found_in_folders_and_by_patterns(tmp_path):
    for name in ("a10.png", "a2.png", "sub/b.nii.gz", ".hidden.png", "note.txt", "out/mine.png", "out.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "sub" / "IM1").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "link.png").symlink_to(tmp_path / "a2.png")

    def names(*inputs: str) -> list[str]:
        found = find_images([str(tmp_path / each) for each in inputs], output=tmp_path / "out")
        return [path.relative_to(tmp_path).as_posix() for path in found]

    assert names("") == ["a2.png", "a10.png", "out.png", "sub/IM1", "sub/b.nii.gz"]
    assert names("a*.png", "sub") == ["a2.png", "a10.png", "sub/IM1", "sub/b.nii.gz"]
    assert names("note.txt", "note.txt") == ["note.txt"]
    with pytest.raises(FileNotFoundError, match="no such file, folder or pattern"):
        names("*.bmp")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no image in"):
        names("empty")


def test_outcomes_add_up():
    ok, bad = Outcome(path=Path("a"), state="ok", kept=True), Outcome(path=Path("b"), state="refused", reason="x")
    assert [exit_code(each) for each in ([ok], [ok, bad], [bad], [])] == [0, 3, 1, 1]
    assert summary([ok, bad]) == "2 images: 1 ok, 1 refused (1 kept from an earlier run)"
