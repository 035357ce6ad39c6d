"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx.util.nodes import make_refnode

DOCS = Path(__file__).resolve().parent
TOP = DOCS.parent
GENERATED = DOCS / "generated"
"""Pages and pictures that are made from the source for each build; nothing in it is committed."""

sys.path.insert(0, str(TOP / "tools"))
import pictures  # noqa: E402
import reference_pages  # noqa: E402

# What has moved leaves nothing.
shutil.rmtree(GENERATED, ignore_errors=True)
pictures.write(GENERATED)
reference_pages.write(GENERATED)

# The width of the help of commands, wherever it is built.
os.environ["COLUMNS"] = "100"

package = tomllib.loads((TOP / "files/butler_replica/pyproject.toml").read_text(encoding="utf-8"))["project"]
project = "dc2-replica"
author = "the authors of dc2-replica"
version = release = package["version"]

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx_click",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
# A signature is as long as a line of the source.
maximum_signature_line_length = 88

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# A name in backticks is one of Python's, as in the docstrings of lsst-daf-butler.
default_role = "py:obj"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "none"
apidoc_modules = [
    {
        "path": "../files/butler_replica/src/butler_replica",
        "destination": "generated/api",
        # Commands are described as commands; __main__ runs them.
        "exclude_patterns": ["**/cli/*", "**/cli", "**/__main__.py"],
        "separate_modules": False,
        "module_first": True,
        "max_depth": 2,
    }
]

# Every name in backticks leads somewhere; those of other packages, whose documentation may be out of reach, stay names.
nitpicky = True
_OTHERS = {
    "astropy",
    "click",
    "lsst",
    "numpy",
    "pyarrow",
    "pydantic",
    "rich",
    "sqlalchemy",
    "yaml",
} | sys.stdlib_module_names
nitpick_ignore_regex = [
    ("py:.*", rf"(?:{'|'.join(sorted(_OTHERS))})(?:\..*)?"),
    ("py:.*", r"ConfigDict|DatasetRef|FileDatastore|ResourcePath"),
    ("py:class", r".*\._\w+"),
]

numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# Left out: what lsst-daf-butler does otherwise (named return values), attributes described in one line below them,
# and what need not be there: extended summaries, "See Also" and examples.
numpydoc_validation_checks = {"all", "ES01", "EX01", "GL02", "GL08", "RT02", "SA01", "SS06", "YD01"}
# A docstring has sections or none (a property, a dataclass whose fields are described where they stand); what has
# some has them whole.
_WITHOUT_SECTIONS = r"\A(?:(?!----)[\s\S])*\Z"
numpydoc_validation_overrides = {
    **{check: [_WITHOUT_SECTIONS] for check in ("PR01", "RT01")},
    "SS03": [r"\AAlias for field number"],
}

# `make docs-links` asks these; examples lead nowhere.
linkcheck_ignore = [r"https?://[^/]*example\.org.*", r"https?://localhost.*"]
linkcheck_timeout = 10


def skip_what_lies_elsewhere(app: Any, what: str, _name: str, found: object, *_: Any) -> bool | None:
    """Describe what a package hands on from its modules with those modules, and only there."""
    module = getattr(found, "__module__", None) or ""
    here = app.env.current_document.autodoc_module
    return True if what == "module" and module.startswith("butler_replica") and module != here else None


def find_by_last_name(app: Any, env: Any, node: Any, shown: Any) -> Any:
    """Find what a docstring calls by its last name, or by the package that hands it on."""
    target = node["reftarget"]
    if node.get("refdomain") != "py" or ("." in target and not target.startswith("butler_replica.")):
        return None
    found = env.domains["py"].find_obj(env, None, None, target.rpartition(".")[2], None, 1)
    if len(found) > 1:
        # Those of the same room go before others.
        room = (node.get("py:module") or "").rpartition(".")[0]
        found = [one for one in found if one[0].startswith(f"{room}.")]
    if len(found) != 1:
        return None
    name, entry = found[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, [shown], name)


def setup(app: Any) -> None:
    """Connect what Sphinx calls."""
    app.connect("missing-reference", find_by_last_name)
    app.connect("autodoc-skip-member", skip_what_lies_elsewhere)
