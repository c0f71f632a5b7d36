"""A real JupyterLab in Chromium, and what axe-core and a measure of contrast say of its outputs.

Needs jupyterlab, ipykernel and selenium, Chromium with its driver, and a folder in which
``npm install axe-core`` was run: ``nox -s notebook`` brings all but Chromium.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

THEMES = ("JupyterLab Light", "JupyterLab Dark")
PATIENCE_S = 120
WIDTH = 1100
VIEW_HEIGHT = 1500
LEAST_CONTRAST = 4.5
"""What WCAG 1.4.3 asks for texts of usual size."""
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
"""No news from the network, and every cell is in the page, also when it is not in view."""
IS_READY = """
const lab = window.jupyterapp;
const panel = lab && lab.shell.currentWidget;
const context = panel && panel.sessionContext;
const kernel = context && context.session && context.session.kernel;
return Boolean(kernel && kernel.status === 'idle' && panel.content.widgets.length);
"""
COMMAND = """
const done = arguments[arguments.length - 1];
jupyterapp.commands.execute(arguments[0], arguments[1]).then(() => done(''), e => done(String(e)));
"""
ERRORS = """
return jupyterapp.shell.currentWidget.content.widgets.filter(cell => cell.model.outputs)
    .flatMap(cell => cell.model.outputs.toJSON().filter(each => each.output_type === 'error')
        .map(error => `${cell.model.sharedModel.source}: ${error.ename}: ${error.evalue}`));
"""
SHOW_ALL = """
for (const output of document.querySelectorAll('.jp-OutputArea-output'))
    for (let node = output; node && node !== document.documentElement; node = node.parentElement)
        if (getComputedStyle(node).overflow !== 'visible')
            node.style.setProperty('overflow', 'visible', 'important');
"""
"""JupyterLab's body has no height and hides what flows over it: axe takes all of it for hidden."""
JUDGE = """
const done = arguments[arguments.length - 1];
const outputs = Array.from(document.querySelectorAll('.jp-OutputArea-output'));
axe.run(outputs, {resultTypes: ['violations', 'incomplete', 'passes']}).then(
    report => done({
        violations: report.violations,
        incomplete: report.incomplete,
        passes: report.passes.map(rule => [rule.id, rule.nodes.length]),
    }),
    error => done({violations: [{id: String(error), nodes: []}], incomplete: [], passes: []}));
"""
LETTERS_IN_DRAWINGS = """
const parsed = color => {
    const parts = color.match(/[\\d.]+/g).map(Number);
    return {rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1};
};
const ground = node => {
    for (let each = node; each; each = each.parentElement) {
        const color = parsed(getComputedStyle(each).backgroundColor);
        if (color.alpha === 1) return color.rgb;
    }
    return [255, 255, 255];
};
return Array.from(document.querySelectorAll('.jp-OutputArea-output svg text')).map(text => {
    const fill = parsed(getComputedStyle(text).fill);
    let alpha = fill.alpha;
    for (let each = text; each && each.tagName !== 'DIV'; each = each.parentElement)
        alpha *= Number(getComputedStyle(each).opacity);
    return {text: text.textContent, rgb: fill.rgb, alpha, ground: ground(text.ownerSVGElement)};
});
"""
"""axe looks at the colour of HTML, not at what letters of a drawing are filled with."""
TO_TOP = "document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0;"
HEIGHT = """
const cells = Array.from(document.querySelectorAll('.jp-Notebook .jp-Cell'));
return Math.ceil(cells.reduce((sum, cell) => sum + cell.getBoundingClientRect().height, 200));
"""


def notebook(*cells):
    """Return a notebook with these cells of code."""
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for number, source in enumerate(cells)
        ],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@contextmanager
def jupyterlab(folder):
    """Start JupyterLab with settings of its own; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config"
    (config / "labconfig").mkdir(parents=True)
    overrides = config / "labconfig" / "default_setting_overrides.json"
    overrides.write_text(json.dumps(SETTINGS), "utf-8")
    (folder / "work").mkdir()
    own = {
        "HOME": str(folder),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "VESPERA_ORCHESTRATOR_EMBEDDER": "none",
    }
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--IdentityProvider.token=tour",
        f"--ServerApp.root_dir={folder / 'work'}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with (folder / "lab.log").open("w", encoding="utf-8") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/api")
            yield address
        finally:
            server.terminate()
            server.wait()


def _wait_for(address):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < end, "JupyterLab did not start"
        time.sleep(0.2)


class Page:
    """A notebook that was run, open in Chromium.

    Args:
        address: Where JupyterLab is.
        folder: The folder that it was started in.
        content: The notebook.
        axe: The folder with axe-core.
    """

    def __init__(self, address, folder, content, axe):
        name = f"{id(content)}.ipynb"
        (folder / "work" / name).write_text(json.dumps(content), "utf-8")
        source = axe / "node_modules" / "axe-core" / "axe.min.js"
        self._axe = source.read_text("utf-8")
        self.driver = _browser(folder / f"chromium-{id(content)}")
        try:
            self._run(f"{address}/doc/tree/{name}?token=tour")
        except BaseException:
            self.close()
            raise

    def _run(self, address):
        self.driver.get(address)
        patience = WebDriverWait(self.driver, PATIENCE_S)
        patience.until(lambda page: page.execute_script(IS_READY))
        self._do("notebook:run-all-cells")
        self.errors = self.driver.execute_script(ERRORS)

    def close(self):
        """End the browser."""
        self.driver.quit()

    def _do(self, name, **arguments):
        error = self.driver.execute_async_script(COMMAND, name, arguments)
        assert not error, f"{name}: {error}"

    def show(self, theme, picture=None):
        """Change the theme, show every cell at once, and take a picture."""
        self._do("apputils:change-theme", theme=theme)
        time.sleep(2)  # the theme is there when its style sheet is
        size = {"width": WIDTH, "height": self.driver.execute_script(HEIGHT)}
        metrics = {**size, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_script(TO_TOP)
        if picture is not None:
            self._take(picture, size["height"])

    def _take(self, picture, height):
        """Take pictures of the page, one below the other, each as large as a person looks at."""
        for number, y in enumerate(range(0, height, VIEW_HEIGHT)):
            clip = {"x": 0, "y": y, "width": WIDTH, "height": VIEW_HEIGHT, "scale": 1}
            what = {"format": "png", "clip": clip}
            shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", what)
            file = picture.with_stem(f"{picture.stem}-{number}")
            file.write_bytes(base64.b64decode(shot["data"]))

    def judge(self):
        """Return what is wrong with the outputs, a line each, and how many texts axe measured."""
        self.driver.execute_script(SHOW_ALL)
        self.driver.execute_script(self._axe)
        report = self.driver.execute_async_script(JUDGE)
        lines = [line for each in report["violations"] for line in _worded(each)]
        for rule in report["incomplete"]:
            # Of drawings it cannot tell what lies under the letters: they are measured below.
            lines += [line for line in _worded(rule) if "<text " not in line and "<svg" not in line]
        letters = self.driver.execute_script(LETTERS_IN_DRAWINGS)
        pale = [each for each in letters if contrast(each) < LEAST_CONTRAST]
        lines += [f"drawing: {each['text']!r} has {contrast(each):.1f}" for each in pale]
        measured = dict(map(tuple, report["passes"])).get("color-contrast", 0)
        return lines, measured + len(letters)


def _browser(profile):
    options = Options()
    for word in ("headless", "no-sandbox", "disable-gpu", f"window-size={WIDTH},1400"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={profile}")
    options.binary_location = str(shutil.which("chromium"))
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(PATIENCE_S)
    return driver


def _worded(violation):
    for node in violation["nodes"]:
        summary = " ".join((node.get("failureSummary") or "").split())
        yield f"{violation['id']}: {node['html'][:160]}: {summary[:200]}"
    if not violation["nodes"]:
        yield violation["id"]


def contrast(letters):
    """Return the contrast of letters with their ground, as WCAG 2 defines it."""
    alpha = letters["alpha"]
    seen = [
        alpha * color + (1 - alpha) * below
        for color, below in zip(letters["rgb"], letters["ground"], strict=True)
    ]
    bright, dark = sorted((_luminance(seen), _luminance(letters["ground"])), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(rgb):
    parts = [color / 255 for color in rgb]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
