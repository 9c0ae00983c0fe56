"""What README.md, CONTRIBUTING.md and docs/ tell users to type is there, and their Python runs.

A command line is held against the parser of its command, a `make` target against the Makefile, and a link against the
files and headings. Nothing of that is run: training, pre-training and downloads would take hours.

The Python blocks of a page run one after the other, in a folder with a tiny model and a few clips. A block behind the
comment `<!-- illustration -->` needs the Hub or a long run: it is compiled and its imports are looked up.
"""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from command_lines import Parsed, calls_of, parser_of
from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification
from polyaudio.scripts.__main__ import COMMANDS


ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PAGES}
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str
    is_illustration: bool


BLOCKS = [
    Block(page, language, text, bool(mark))
    for page, content in TEXTS.items()
    for mark, language, text in re.findall(
        r"^(<!-- illustration -->\n)?```(\w*)\n(.*?)^```$", content, re.MULTILINE | re.DOTALL
    )
]
SHELL = "\n".join(block.text for block in BLOCKS if block.language == "bash")
PROSE = {page: _FENCED.sub("", content) for page, content in TEXTS.items()}
INLINE = [" ".join(code.split()) for prose in PROSE.values() for code in re.findall(r"`([^`]+)`", prose)]
LINES = [line.strip() for line in SHELL.replace("\\\n", " ").splitlines() if line.strip()]
PYTHON = [block for block in BLOCKS if block.language == "python"]
# What only extras of polyaudio install
OF_EXTRAS = {"gradio_client", "onnxruntime"}
ALL = "\n".join(TEXTS.values())


CALLS = calls_of(LINES)
# In the text, where what does not matter may be left out; COMMAND stands for any
MENTIONS = [call for call in calls_of(INLINE) if call[0] != "COMMAND"]


@pytest.fixture
def parse(monkeypatch):
    return parser_of(monkeypatch)


def test_the_pages_are_read():
    assert len(PAGES) >= 10
    assert len(CALLS) >= 50
    assert len(MENTIONS) >= 10
    assert {call[0] for call in CALLS} == set(COMMANDS)
    assert calls_of(["torchrun --nnodes 2 -m polyaudio.scripts.train --bf16  # comment"]) == [["train", "--bf16"]]
    assert calls_of(["polyaudio predict a.wav --model m > labels.json"]) == [["predict", "a.wav", "--model", "m"]]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_command_line_is_understood(call, parse):
    assert call[0] in COMMANDS
    with pytest.raises(Parsed):
        parse(call)


def test_a_command_line_that_is_wrong_is_found(parse):
    assert parse(["train", "--dataset", "x", "--no-such-flag"]) == 2
    for call in (["embed", "x"], ["dataset", "chek", "x"]):
        with pytest.raises(SystemExit, match="2"):
            parse(call)


@pytest.mark.parametrize("call", MENTIONS, ids=" ".join)
def test_a_command_that_is_mentioned_has_the_flags(call, parse, capsys):
    assert call[0] in COMMANDS
    command = call[:2] if call[0] == "dataset" else call[:1]
    with pytest.raises(SystemExit, match="0"):
        parse([*command, "--help-all" if call[0] in ("train", "pretrain") else "--help"])
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: polyaudio", *command]))
    assert {word for word in call if word.startswith("--")} <= set(re.findall(r"(?<![\w-])--[\w-]+", text))


def test_recipes_that_are_named_are_there(project_root):
    recipes = {path.stem for path in project_root.glob("recipes/*.yaml")}
    named = {call[call.index("--config") + 1] for call in CALLS + MENTIONS if "--config" in call}
    tables = [prose.partition("| recipe | ")[2] for prose in PROSE.values()]
    named |= set(re.findall(r"^\| `([a-z0-9_]+)`(?:, `\w+`)* \|", "\n".join(tables), re.MULTILINE))
    named |= set(re.findall(r'read_recipe\("(\w+)"\)', ALL))
    assert len(named) >= 5
    assert {name for name in named if not name.endswith(".yaml") and name.isidentifier()} <= recipes


def test_targets_of_make_are_there(project_root):
    makefile = (project_root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"^make ([\w-]+)", SHELL, re.MULTILINE))
    named |= {code.split()[1] for code in INLINE if code.startswith("make ") and len(code.split()) == 2}
    assert named >= {"demo", "test"}
    assert named <= targets


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=list(TEXTS))
def test_links_lead_to_files_and_headings_that_are_there(page):
    links = re.findall(r"\]\(([^)]+)\)", PROSE[str(page.relative_to(ROOT))])
    for link in links:
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_files_and_folders_that_are_named_are_there(project_root):
    assert "](recipes)" in TEXTS["README.md"]
    scripts = re.findall(r"python ((?:benchmarks|docs)/[\w/]+\.py)", ALL)
    assert scripts
    for name in scripts:
        assert (project_root / name).exists(), name


@pytest.mark.parametrize("script", sorted(set(re.findall(r"python (benchmarks/\w+\.py)((?: --[\w-]+)?)", ALL))))
def test_flags_of_scripts_are_there(project_root, script):
    name, flag = script
    assert flag.strip() in (project_root / name).read_text(encoding="utf-8")


def test_every_page_of_docs_is_linked():
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", TEXTS["docs/index.md"]))
    assert linked == {name.removeprefix("docs/") for name in TEXTS if name.startswith("docs/")} - {"index.md"}


@pytest.mark.parametrize("page", TEXTS)
def test_a_page_has_one_title(page):
    assert len(re.findall(r"^# ", PROSE[page], re.MULTILINE)) == 1
    assert PROSE[page].startswith("# ")


@pytest.mark.parametrize("page", TEXTS)
def test_a_page_says_dataset(page):
    assert not re.search(r"\bdata sets?\b", " ".join(TEXTS[page].split()), re.IGNORECASE)


_NO_SENTENCES = re.compile(r"^([|#<>].*|\[[^\n]*·.*)$", re.MULTILINE)  # tables, headings, comments, lists of links
_FILLERS = r"basically|easily|e\.g\.|etc\.|i\.e\.|in order to|leverag\w+|obviously|please|simply|utili[sz]\w+|very"


def sentences(prose: str) -> list[list[str]]:
    """The words of each sentence; code counts as one, and links as their text."""
    prose = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", _NO_SENTENCES.sub("", prose)))
    blocks = re.split(r"\n\s*\n|\n\s*(?=- |\d+\. )", prose)
    return [one.split() for block in blocks for one in re.split(r"(?<=[.:;!?])[)*\]]*\s", block)]


@pytest.mark.parametrize("page", TEXTS)
def test_a_page_needs_no_second_reading(page):
    assert [" ".join(words) for words in sentences(PROSE[page]) if len(words) > 40] == []
    assert re.findall(rf"\b(?:{_FILLERS})(?!\w)", PROSE[page], re.IGNORECASE) == []


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.page)
def test_python_compiles_and_what_it_imports_is_there(block):
    compile(block.text, block.page, "exec")
    imports = [line for line in block.text.splitlines() if re.match(r"(import|from) ", line)]
    for package in OF_EXTRAS.intersection(line.split()[1] for line in imports):
        pytest.importorskip(package, reason=f"{package} is not installed; an extra of polyaudio installs it")
    names = re.findall(r"\bpolyaudio\.([A-Za-z]\w*)", block.text)
    assert imports or not block.is_illustration
    exec("\n".join([*imports, "import polyaudio", *(f"polyaudio.{name}" for name in names)]), {})


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """The folders that the pages name: a classifier of ragas with a clip, and recordings of three classes."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    names = ["Hamsanadam", "Kharaharapriya", "Mayamalavagowla"]
    config = SAMAudioConfig(
        frontend="tonic_chroma",
        conv_dim=[16, 32],
        conv_kernel=[3, 3],
        conv_stride=[2, 2],
        num_segments=4,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    SAMAudioForAudioClassification(config).save_pretrained(folder / "runs" / "demo")
    SAMAudioFeatureExtractor("tonic_chroma").save_pretrained(folder / "runs" / "demo")
    soundfile.write(folder / "runs" / "demo" / "Hamsanadam.wav", 0.1 * rng.standard_normal(32000), 16000)
    for name in ("my-recordings", "other-recordings"):
        for kind in ("bell", "drum", "voice"):
            (folder / name / kind).mkdir(parents=True)
            for number in range(4):
                clip = 0.1 * rng.standard_normal(16000)
                soundfile.write(folder / name / kind / f"{kind}{number}.wav", clip, 16000)
    return folder


RUNNABLE = {block.page for block in PYTHON if not block.is_illustration}


@pytest.mark.parametrize("page", sorted(RUNNABLE))
def test_the_python_of_a_page_runs(page, workplace, tmp_path, monkeypatch):
    blocks = [block.text for block in PYTHON if block.page == page and not block.is_illustration]
    if any("export_model(" in text for text in blocks):
        pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
        pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install polyaudio[export]")
    monkeypatch.chdir(shutil.copytree(workplace, tmp_path / "here"))
    names = {"__name__": "__main__"}
    for text in blocks:
        exec(compile(text, page, "exec"), names)
    assert len(names) > 2


def test_every_block_is_of_a_known_kind():
    assert {block.language for block in BLOCKS} <= {"bash", "python", "text", ""}
    assert {"README.md", "docs/guides/classify.md", "docs/guides/fine-tune.md", "docs/reference/python.md"} <= RUNNABLE
