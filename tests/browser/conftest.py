"""A notebook in JupyterLab, served on loopback and driven in Chromium."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import triconv
from triconv.runtime import cache

SECONDS = 60


def chromium():
    """Where the browser is."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    return pytest.skip("no Chromium here; Debian's package is `chromium`")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The address of a running JupyterLab, and the folder that it serves."""
    pytest.importorskip("jupyterlab", reason="the extra `notebook` brings JupyterLab")
    home = tmp_path_factory.mktemp("home")
    served = tmp_path_factory.mktemp("served")
    for name, settings in (("themes", {"adaptive-theme": True}), ("notification", {"fetchNews": "false"})):
        file = (
            home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension" / f"{name}.jupyterlab-settings"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        "--port=0",
    ]
    command += ["--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={served}"]
    environment = {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "PYTHONPATH": str(Path(triconv.__file__).parents[1]),
        "TRICONV_CACHE_DIR": str(cache.folder().resolve()),
    }
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        yield address(server, home), served
    finally:
        server.terminate()
        server.wait()


def address(server, home):
    """Where it listens, as its runtime folder says once it does."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, (home / "log").read_text()
        for file in (home / "runtime").glob("jpserver-*.json"):
            url = json.loads(file.read_text())["url"]
            try:
                urllib.request.urlopen(f"{url}api").read()
            except OSError:
                continue
            return url
        time.sleep(0.2)
    raise TimeoutError((home / "log").read_text())


@pytest.fixture(scope="session")
def browser():
    """A browser without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` brings Playwright")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield made
        made.close()
