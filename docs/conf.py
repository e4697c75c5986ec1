"""How the documentation is built; `make docs` does it."""

import shutil
import sys
from pathlib import Path

from docutils.parsers.rst.directives.images import Figure
from sphinx.util import inspect

import triconv

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "triconv"
author = copyright = "The triconv developers"
version = release = triconv.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax in the site itself: the pages fetch nothing
]
nitpicky = True  # every reference leads somewhere; with -W one that does not stops the build

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "triconv"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_copy_source = html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are kept executed
nb_ipywidgets_js = {}  # a widget needs Jupyter, and its scripts would come from elsewhere
nb_mime_priority_overrides = [("*", "application/vnd.jupyter.widget-view+json", None)]

autodoc_typehints = "none"  # docstrings say more
autodoc_member_order = "bysource"
default_role = "py:obj"
numpydoc_show_class_members = False  # autodoc shows them


class Drawing(Figure):
    """A figure of draw.py, in the colours of the page: ``{drawing} name``."""

    def run(self):
        """Make the figure twice; the theme hides one of the two."""
        name = self.arguments[0]
        classes = self.options.pop("figclass", [])
        nodes = []
        for theme in ("light", "dark"):
            self.arguments[0] = f"/figures/{name}-{theme}.svg"
            self.options["figclass"] = [*classes, f"only-{theme}"]
            nodes += super().run()
        return nodes


def prepare(app):
    """Draw the figures, and bring the notebooks to where Sphinx finds them."""
    from draw import draw_all

    draw_all(HERE / "figures")
    shutil.rmtree(HERE / "notebooks", ignore_errors=True)
    shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks", ignore=shutil.ignore_patterns(".*"))


def resolve(app, env, node, contnode):
    """Find a public name from a docstring of a submodule, where it stands without ``triconv.``."""
    if node.get("refdomain") != "py" or node["reftarget"].startswith("triconv."):
        return None
    domain = env.domains["py"]
    target = f"triconv.{node['reftarget']}"
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)


MADE = ("ConvPlan", "Comparison", "ComparisonRow", "Explorer")  # by functions, not by their constructors


def signature(app, what, name, value, options, arguments, returns):
    """Show what a class is made with: nothing where people do not make it, nor SciPy's ``*args``."""
    if what != "class":
        return None
    if value.__name__ in MADE:
        return "", None
    made = inspect.signature(value.__init__, bound_method=True)
    return inspect.stringify_signature(made, show_annotation=False), None


def setup(app):
    """Register what this file defines."""
    app.add_directive("drawing", Drawing)
    app.connect("builder-inited", prepare)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", signature)
