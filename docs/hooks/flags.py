# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A hook of MkDocs. It marks flags in the text, such as `--folds 5`, which the style sheet keeps on one line."""

import re


_FLAG = re.compile(r"<code>(--[^<]{1,24})</code>")


def on_page_content(html: str, page: object, config: object, files: object) -> str:
    """Called by MkDocs with the HTML of each page. Longer flags may break, so that they fit on a telephone."""
    return _FLAG.sub(r'<code class="flag">\1</code>', html)
