"""The documentation as a site: `make docs` builds it with Sphinx from the Markdown files of the repository."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAVIGATION = {
    "Start": ["README", "docs/life_of_a_row", "docs/architecture"],
    "How it decides": ["docs/statistics", "docs/learning_curve", "docs/robustness", "docs/over_time"],
    "Guides": [
        "docs/data",
        "docs/extending",
        "docs/duplicates",
        "docs/prompts",
        "docs/baselines",
        "docs/optimise",
        "docs/tuners",
        "docs/finetuning",
        "docs/search",
        "docs/export",
        "docs/served",
        "docs/mlflow",
        "server/README",
        "docs/retraining",
        "schedules/README",
    ],
    "Reference": ["docs/commands", "docs/engine", "docs/decoding", "docs/finetuning_speed"],
    "Project": ["CONTRIBUTING", "AGENTS", "docs/testing", "docs/reliability", "CHANGELOG"],
}
"""Heading in the sidebar → pages, without `.md`, in the order in which a newcomer needs them."""
START = "README"

project = "whether"
root_doc = START
# The root of the repository is the source, so that links in the files hold here as they do in a checkout.
include_patterns = [f"{page}.md" for pages in NAVIGATION.values() for page in pages] + ["docs/*.md"]
exclude_patterns = [".*", "artifacts", "build", "data", "mlartifacts", "src", "tests"]  # are not even looked through
extensions = ["myst_parser"]
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = "whether"
html_copy_source = False
html_static_path = html_css_files = ["site.css"]
html_show_copyright = False


def setup(app: "Sphinx") -> None:
    """Put the navigation under the start page, and the start page at index.html."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", copy_start_page)


def add_navigation(_: "Sphinx", page: str, source: list[str]) -> None:
    """Append the sidebar's sections to the start page: in README.md itself they would be shown as code."""
    if page == START:
        for heading, pages in NAVIGATION.items():
            names = "\n".join("Overview <self>" if name == START else name for name in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{names}\n```\n"


def copy_start_page(app: "Sphinx", error: Exception | None) -> None:
    """Answer at the address of the folder."""
    if error is None:
        shutil.copyfile(Path(app.outdir) / f"{START}.html", Path(app.outdir) / "index.html")
