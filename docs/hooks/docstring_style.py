# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""An extension of griffe, which reads the docstrings: it turns those in the style of transformers into Google's."""

import ast
import re
from typing import Any

import griffe


_ITEM = re.compile(r"^( *)(\w+) \((.+)\):$", re.MULTILINE)
_DEFAULT = re.compile(r", \*optional\*(, defaults to .+)?\):$", re.MULTILINE)
_LINK = re.compile(r"\[`~?([\w.]+)`\](?!\()")
_MARKUP = re.compile(r"\[`~?(?:\w+\.)*(\w+)`\]|[`*]")
_AUTO = "auto_docstring"


class TransformersStyle(griffe.Extension):
    """
    - The text of a class with `@auto_docstring(custom_intro=...)` is that introduction, or the docstring below it.
    - What a function with `@auto_docstring` says first is its arguments, and what an output says is its attributes.
    - Types are plain text: `str, optional`. Defaults are left to the signature, if there is one.
    """

    def on_instance(self, *, node: Any, obj: griffe.Object, agent: Any, **kwargs: Any) -> None:
        text = obj.docstring.value if obj.docstring else ""
        decorator = auto_docstring_of(node)
        if decorator is not None:
            text = as_section("Args" if obj.is_function else "Attributes", text)
            text = f"{introduction(decorator)}\n\n{text}".strip()
        if has_signature(node):
            text = _DEFAULT.sub("):", text)
        text = _LINK.sub(r"`\1`", _ITEM.sub(plain_type, text))
        if obj.docstring:
            obj.docstring.value = text
        elif text:
            parser = {"parser": agent.docstring_parser, "parser_options": agent.docstring_options}
            obj.docstring = griffe.Docstring(text, parent=obj, **parser)


def auto_docstring_of(node: Any) -> ast.expr | None:
    """The decorator `auto_docstring` of a class or function, called or not."""
    for decorator in getattr(node, "decorator_list", []):
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(name, ast.Name) and name.id == _AUTO:
            return decorator
    return None


def has_signature(node: Any) -> bool:
    """Whether a node is a function, or a class with an initialiser of its own."""
    return isinstance(node, ast.FunctionDef) or any(
        isinstance(one, ast.FunctionDef) and one.name == "__init__" for one in getattr(node, "body", [])
    )


def introduction(decorator: ast.expr) -> str:
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    texts = [
        word.value.value for word in keywords if word.arg == "custom_intro" and isinstance(word.value, ast.Constant)
    ]
    return "\n".join(line.strip() for line in texts[0].strip().splitlines()) if texts else ""


def as_section(title: str, text: str) -> str:
    """The items at the start of a docstring as a section, which ends where something else than items begins."""
    if not _ITEM.match(text):
        return text
    items, blank, rest = text.partition("\n\n")
    lines = "\n".join(f"    {line}" for line in items.splitlines())
    return f"{title}:\n{lines}{blank}{rest}"


def plain_type(item: re.Match) -> str:
    return f"{item[1]}{item[2]} ({_MARKUP.sub(plain_word, item[3])}):"


def plain_word(markup: re.Match) -> str:
    return markup[1] or ""
