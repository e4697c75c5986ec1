"""Every script in `examples` runs, reaches what it claims, and draws a picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import triconv

pytestmark = pytest.mark.slow

SCRIPTS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
SECONDS = 300  # an example takes under a minute; a busy machine, and kernels to compile, more

# For each script, patterns of the figures that it prints, and the least that each may be.
REACHES = {
    "deblur": {r"least squares .*, (.*) dB in": 3, r"total variation .*, (.*) dB in": 7},
    "digits": {r"^test accuracy (.*) % of 450": 97},
    "singular_values": {r"^circular over true: (.*)$": 1, r"^zero padding, stride 2 .*: (.*)$": 0.5},
    "super_resolution": {r"^gain over the best interpolation: (.*) dB$": 4},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run a script once; what it printed, and the picture that it drew."""
    done = {}

    def run(path):
        if path.stem == "digits":
            pytest.importorskip(
                "sklearn", reason="the extra `test` brings scikit-learn, whose digits these are"
            )
        if path.stem not in done:
            picture = tmp_path_factory.mktemp(path.stem) / "picture.png"
            packages = os.pathsep.join(
                [str(Path(triconv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            )
            result = subprocess.run(
                [sys.executable, str(path), str(picture)],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                cwd=picture.parent,
                env=os.environ | {"PYTHONPATH": packages},
            )
            assert result.returncode == 0, result.stderr
            done[path.stem] = result.stdout, picture
        return done[path.stem]

    return run


def test_there_are_scripts_and_a_claim_for_each():
    assert {path.stem for path in SCRIPTS} == set(REACHES)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_reaches_what_it_claims(path, ran):
    printed, _ = ran(path)
    for pattern, least in REACHES[path.stem].items():
        (figure,) = re.findall(pattern, printed, re.MULTILINE)
        assert float(figure) >= least, printed


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_draws_a_picture(path, ran):
    image = pytest.importorskip("PIL.Image", reason="the extra `plot` brings Pillow")
    printed, picture = ran(path)
    assert printed.endswith(f"picture: {picture}\n")
    assert list(picture.parent.iterdir()) == [picture]
    assert 20_000 < picture.stat().st_size < 2_000_000
    with image.open(picture) as drawn:
        assert drawn.format == "PNG"
        assert min(drawn.size) >= 500
        assert np.ptp(np.asarray(drawn.convert("L"))) > 200


def test_the_singular_values_are_those_of_the_matrix(ran):
    """Even those of circular padding, for which the script uses a Fourier transform."""
    (path,) = (path for path in SCRIPTS if path.stem == "singular_values")
    printed = dict(re.findall(r"^(.*): ([\d.]+)$", ran(path)[0], re.MULTILINE))
    weight = triconv.Conv2d(8, 8, 3, dtype="float64", rng=0).weight
    for name, keywords in {
        "zero padding (true)": {},
        "zero padding, stride 2 (true)": {"stride": 2},
        "circular padding, by FFT": {"padding_mode": "circular"},
    }.items():
        W = triconv.conv_matrix(weight, (12, 12, 8), padding="same", **keywords)
        assert float(printed[name]) == pytest.approx(np.linalg.norm(W.toarray(), 2), abs=1e-4)
