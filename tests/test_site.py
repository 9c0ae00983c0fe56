# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The site of docs/ is complete: its menu, its pictures, and what its hooks add from the code.

`make site` builds it with MkDocs, which is not needed here. Links, anchors, command lines and Python blocks of the
pages are tested in test_readme.py.
"""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import polyaudio
from polyaudio.scripts.__main__ import COMMANDS


ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("**/*.md"))}
PICTURES = sorted(path.name for path in (DOCS / "pictures").iterdir() if path.suffix in (".png", ".svg"))
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_hook_{name}", DOCS / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Page:
    """What the hooks see of a page of MkDocs."""

    def __init__(self, name: str):
        self.file = self
        self.src_uri = name
        self.abs_src_path = str(DOCS / name)


class _Config:
    docs_dir = str(DOCS)


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """The content of mkdocs.yml. What names Python functions is left out."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    return yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


def entries(nav: Any) -> list[str]:
    """The pages and addresses of a menu, in its order."""
    if isinstance(nav, str):
        return [nav]
    return [entry for item in nav for entry in entries(item if not isinstance(item, dict) else [*item.values()])]


def test_every_page_is_in_the_menu_once_and_every_entry_is_there(settings):
    in_menu = [entry for entry in entries(settings["nav"]) if not entry.startswith("https://")]
    docstrings = hook("docstrings")
    generated = [f"{docstrings.FOLDER}/{stem}.md" for stem in docstrings.PAGES]
    assert sorted(in_menu) == sorted([*PAGES, *generated])


def test_nothing_comes_from_another_host(settings):
    assert settings["theme"]["font"] is False
    assert not any("//" in one for key in ("extra_css", "extra_javascript") for one in settings.get(key, []))
    # With an address of a repository on GitHub, the theme asks GitHub for the number of stars
    assert "repo_url" not in settings


def test_the_hooks_and_style_sheets_are_there(settings):
    assert all((ROOT / name).exists() for name in settings["hooks"])
    assert all((DOCS / name).exists() for name in settings["extra_css"])


@pytest.mark.parametrize("page", PAGES)
def test_lists_follow_an_empty_line(page):
    """GitHub needs none, but Python-Markdown takes the list for a part of the paragraph."""
    prose = _FENCED.sub("", PAGES[page])
    items = re.findall(r"^(?![-*>|#]|\d+\. | ).+\n(?:- |\d+\. )[^\n]+", prose, re.MULTILINE)
    assert items == []


@pytest.mark.parametrize("page", PAGES)
def test_pictures_in_html_are_there(page):
    for name in re.findall(r'<img src="([^"]+)"', PAGES[page]):
        assert (DOCS / page).parent.joinpath(name).exists(), name


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_shown_and_has_its_source(name):
    texts = [(ROOT / "README.md").read_text(encoding="utf-8"), *PAGES.values()]
    assert any(f"pictures/{name}" in text for text in texts)
    if name.endswith(".png"):
        scripts = [path.read_text(encoding="utf-8") for path in DOCS.glob("pictures/*.py")]
        assert any(name in text for text in scripts)


@pytest.mark.parametrize("name", [name for name in PICTURES if name.endswith(".svg")])
def test_a_drawing_can_be_read_on_a_telephone(name):
    root = ElementTree.parse(DOCS / "pictures" / name).getroot()
    _, _, width, height = (float(value) for value in root.get("viewBox").split())
    assert width <= 480
    background = next(child for child in root if child.tag.endswith("}rect"))  # readable on light and on dark pages
    assert (float(background.get("width")), float(background.get("height"))) == (width, height)
    assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]


def test_links_out_of_the_site_lead_to_github():
    links = hook("links")
    github = "https://github.com/polyaudio/polyaudio"

    def on_site(text: str) -> str:
        return links.on_page_markdown(text, _Page("guides/fine-tune.md"), _Config, None)

    assert on_site("[a](../../recipes).") == f"[a]({github}/tree/main/recipes)."
    assert on_site("[a](../../README.md#fine-tune)") == f"[a]({github}/blob/main/README.md#fine-tune)"
    assert on_site("![a](../pictures/app.py)") == f"![a]({github}/blob/main/docs/pictures/app.py)"
    for kept in (
        "[a](splits.md#x)",
        "[a](#labels)",
        "[a](https://x.org/y)",
        "[a](../../no-such.md)",
        "```\n](../..)\n```",
    ):
        assert on_site(kept) == kept


def test_short_flags_stay_on_one_line():
    flags = hook("flags")
    html = "<p><code>--folds 5</code> <code>fold</code> <code>--model-name-or-path ta012/SSLAM_pretrain</code></p>"
    marked = html.replace("<code>--folds", '<code class="flag">--folds')
    assert flags.on_page_content(html, _Page("a.md"), _Config, None) == marked


def test_requests_to_other_hosts_are_found(caplog):
    links = hook("links")
    links.on_post_page(
        '<a href="https://x.org"><img src="a.png"><link rel=stylesheet href=a.css>', _Page("a.md"), _Config
    )
    assert caplog.messages == []
    links.on_post_page('<script src="https://x.org/a.js"><link href=//x.org/b rel=a>', _Page("a.md"), _Config)
    links.on_post_page('<link rel="stylesheet" href="https://x.org/b.css">', _Page("b.md"), _Config)
    assert [message.split()[0] for message in caplog.messages] == ["a.md", "b.md"]


def test_the_reference_ends_each_command_with_its_help():
    commands = hook("commands")
    page = _Page(commands.PAGE)
    text = commands.on_page_markdown(PAGES[commands.PAGE], page, _Config, None)
    sections = {section.split()[1]: section for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]}
    assert {*COMMANDS} <= {*sections}
    for command in COMMANDS:
        assert f"    usage: polyaudio {command}" in sections[command]
    assert "    usage: polyaudio dataset mix" in sections["dataset"]
    assert commands.on_page_markdown("## polyaudio train\n", _Page("a.md"), _Config, None) == "## polyaudio train\n"


def test_every_public_name_has_a_page_for_its_docstring():
    docstrings = hook("docstrings")
    names = docstrings.public_names()
    assert {*names} == {*polyaudio.__all__} - {"__version__"}
    assert {docstrings.page_of(name) for name in names} == {*docstrings.PAGES}
    text = docstrings.on_page_markdown("## predict\n\nx\n\n## Models\n", _Page("reference/python.md"), _Config, None)
    assert "(docstrings/use.md#polyaudio.inference.prediction.predict)" in text
    assert text.endswith("\n## Models\n")


MODEL = '''
@auto_docstring(
    custom_intro="""
    A model.
    """
)
class Model:
    @auto_docstring
    def forward(self, x, mask=None):
        r"""
        x (`torch.Tensor` of shape `(batch,)`):
            Input of [`Model`].
        mask (`torch.Tensor`, *optional*, defaults to `None`):
            Padding.

        Example:

        ```python
        >>> 1
        1
        ```"""


class Config:
    """
    Settings.

    Args:
        size (`int`, *optional*, defaults to 3):
            Width.
    """
'''


def test_docstrings_in_the_style_of_transformers_are_read():
    griffe = pytest.importorskip("griffe", reason="polyaudio[docs] is not installed; it needs Python 3.11")
    style = hook("docstring_style")
    extensions = griffe.load_extensions(style.TransformersStyle())
    module = griffe.visit("m", Path("m.py"), MODEL, extensions=extensions, docstring_parser="google")

    def arguments_of(name: str) -> list[tuple[str, str, str]]:
        sections = module[name].docstring.parsed
        (arguments,) = (one.value for one in sections if one.kind is griffe.DocstringSectionKind.parameters)
        return [(argument.name, str(argument.annotation), argument.description.strip()) for argument in arguments]

    assert module["Model"].docstring.value == "A model."
    assert arguments_of("Model.forward") == [
        ("x", "torch.Tensor of shape (batch,)", "Input of `Model`."),
        ("mask", "torch.Tensor", "Padding."),
    ]
    assert module["Model.forward"].docstring.value.endswith("```")
    assert arguments_of("Config") == [("size", "int, optional, defaults to 3", "Width.")]
