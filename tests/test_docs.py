"""Links of the documents lead to files and headings that are there."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@cache
def anchors_of(document):
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document):
    lost = []
    for link in LINK.findall(FENCE.sub("", document.read_text())):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            lost.append(link)
    assert lost == []


def test_documents_that_the_code_names_are_there():
    named = re.compile(r"docs/[\w-]+\.(?:md|png|svg|webp|json)(?:#[\w-]+)?")
    sources = [path for folder in ("clinical_backend", "tests") for path in (ROOT / folder).rglob("*.py")]
    found = {(match, path.name) for path in sources for match in named.findall(path.read_text())}
    assert found
    lost = set()
    for name, source in found:
        path, _, anchor = name.partition("#")
        if not (ROOT / path).exists() or (anchor and anchor not in anchors_of(ROOT / path)):
            lost.add((name, source))
    assert lost == set()
