"""Configuration of the site: `make docs` builds it, and needs no network."""

import importlib.util
import re
import sys
import warnings
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

import skvae

project = "skvae"
author = copyright = "The skvae developers"
release = skvae.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "literal"
nitpicky = True

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["math"]  # as GitHub writes formulas

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

# Small inventories of what our pages refer to, as text: the name, the kind and the page of each.
SITES = {
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "python": "https://docs.python.org/3/",
    "sklearn": "https://scikit-learn.org/stable/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
intersphinx_mapping = {
    name: (address, f"inventories/{name}.inv") for name, address in SITES.items()
}

sys.path.append(str(Path(__file__).parent))  # for `_gallery.py`
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^_",
    "doc_module": ("skvae",),
    "backreferences_dir": "generated/backreferences",
    "reset_argv": "_gallery.arguments",
    "inspect_global_variables": False,
    "abort_on_example_error": True,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "copyfile_regex": r"_datasets\.py",
    "within_subsection_order": "_gallery.ReadingOrder",
    "matplotlib_animations": False,
    # Some examples read data of their folder.
    "first_notebook_cell": (
        "# Run this notebook in the folder `examples` of the repository.\n%matplotlib inline"
    ),
}
# An example that warns is not finished.
warnings.filterwarnings("error", module=r"skvae|__main__")

html_theme = "pydata_sphinx_theme"
html_title = "skvae"
# MathJax in one file, which draws its letters itself and so fetches no fonts.
MATHJAX = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax"
html_static_path = ["_static", str(MATHJAX / "tex-svg.js")]
html_css_files = ["site.css"]
mathjax_path = "tex-svg.js"
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
# Pages without pages below them need no list of these.
html_sidebars = {
    page: []
    for page in (
        "benchmarks",
        "changelog",
        "contributing",
        "file-format",
        "reliability",
        "start",
        "theory",
    )
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"


def mend_roles(app, page, template, context, doctree):
    """Replace the role of references, which accessibility standards have given up."""
    if "body" in context:
        context["body"] = context["body"].replace("doc-biblioentry", "listitem")


class ApiLinks(SphinxTransform):
    """Link the first mention of each public name on a page to the API reference."""

    default_priority = 400

    def apply(self):
        """Called by Sphinx."""
        if self.env.doc2path(self.env.docname).suffix != ".md":
            return
        seen = set()
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext().removeprefix("skvae.")
            public = re.fullmatch(r"\w+(\.[a-z_]+)?", name) and name.split(".")[0] in skvae.__all__
            linked = isinstance(literal.parent, (nodes.reference, pending_xref))
            if not public or linked or name in seen:
                continue
            seen.add(name)
            target = {"reftarget": f"skvae.{name}", "refdoc": self.env.docname}
            link = pending_xref("", refdomain="py", reftype="obj", refexplicit=True, **target)
            literal.replace_self(link)
            link += literal


def mend_markdown(app, name, source):
    """Point links to examples at the gallery, and make a table of contents of a list of pages."""
    text = source[0]
    text = re.sub(r"\]\((?:\.\./)+examples/(plot_\w+)\.py\)", r"](/auto_examples/\1.rst)", text)
    if name == "guide/index":
        pages = "\n".join(re.findall(r"^- \[[^]]*\]\((\w+)\.md\)", text, re.M))
        text += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
    source[0] = text


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", mend_markdown)
    app.add_transform(ApiLinks)
    app.connect("html-page-context", mend_roles)
