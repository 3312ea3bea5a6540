"""Takes configuration out of the pages that tell users about it, so that what is tested is what is told."""

import os
import re

PAGES = os.path.normpath(f"{os.path.dirname(os.path.abspath(__file__))}/../../docs/callers")


def blocks(page):
    """The code blocks of a page as (the paragraph before, text)."""
    with open(f"{PAGES}/{page}") as file:
        text = file.read()
    return re.findall(r"([^\n]*)\n\n```\w+\n(.*?)```", text, re.DOTALL)


def file_of(page, path, containing=""):
    """The text of the file `path`, as the page shows it."""
    for before, text in blocks(page):
        if f"`{path}`" in before and containing in text:
            return text
    raise SystemExit(f"docs/callers/{page} no longer shows a file {path} with {containing!r}")
