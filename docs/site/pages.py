"""The pages of the site, as texts by address: docs/, what stands at the top, and the API."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Pages at the top of the repository, by the name that they have on the site.
TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}

# The menu. Pages that are not named here come last, so that a new one is never lost.
MENU = {
    "Use": [
        "own_pictures",
        "text_to_picture",
        "python",
        "attacks",
        "own_models",
        "adversarial_training",
        "boundary",
        "serving",
    ],
    "Run": ["training", "cluster", "scale", "faults", "refused"],
    "Know": ["mathematics", "formats", "results", "glossary", "tree", "testing"],
}

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
_HOLDS_SOMETHING = re.compile(r"^(async def|def|class) [a-zA-Z]", re.MULTILINE)


def all_pages() -> dict[str, str]:
    """{address: text} of every page.

    Raises:
        ValueError: a link leads to a file that is not in the repository.
    """
    sources = {name: address for name, address in TOP.items() if (ROOT / name).exists()}
    sources |= {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    pages = {
        address: site_links((ROOT / source).read_text(encoding="utf-8"), source)
        for source, address in sources.items()
    }
    api = api_pages()
    pages["index.md"] += menu([address.removesuffix(".md") for address in pages], list(api))
    return pages | api


def site_links(markdown: str, source: str) -> str:
    """A page's text with its links made relative to the site; blocks of code are left alone.

    What lies in the repository and not on the site (a test, a config) is named and not linked.

    Args:
        source: the page's path in the repository, to which its links are relative.

    Raises:
        ValueError: a link leads to a file that is not in the repository.
    """

    def rewritten(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path:
            return link[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / place).exists():
            raise ValueError(f"{source} links to {target}, and there is no {place}")
        if place in TOP:
            return f"{mark}[{text}]({TOP[place]}{hash_}{anchor})"
        if re.fullmatch(r"docs/([^/]+\.md|images/.+)", place):
            return f"{mark}[{text}]({place.removeprefix('docs/')}{hash_}{anchor})"
        return text if text == place else f"{text} (`{place}`)"

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(rewritten, part) for part in parts)


def menu(names: list[str], api: list[str]) -> str:
    """The site's menu over the pages that there are, for the end of the front page."""
    listed = {title: [name for name in page if name in names] for title, page in MENU.items()}
    rest = sorted(set(names) - {"index"} - {name for page in listed.values() for name in page})
    listed["Know"] = listed["Know"] + rest
    listed["API"] = [page.removesuffix(".md") for page in api]
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(entries) + "\n```\n"
        for title, entries in listed.items()
    )


def api_pages() -> dict[str, str]:
    """{address: text}: a page for the Python face, and one for each part of `pipeline`."""
    parts: dict[str, list[str]] = {}
    for module in public_modules():
        names = module.split(".")
        parts.setdefault(".".join(names[: 1 if names[0] == "noisestack" else 2]), []).append(module)
    return {f"api/{part}.md": _api_page(part, modules) for part, modules in sorted(parts.items())}


def _api_page(part: str, modules: list[str]) -> str:
    text = f"# {part}\n"
    for module in modules:
        heading = "" if module == part else f"\n## {module}\n"
        text += f"{heading}\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n"
    return text


def public_modules() -> Iterator[str]:
    """The Python face, and the public modules of `pipeline` that define something."""
    for package in ("noisestack", "pipeline"):
        for path in sorted((ROOT / package).rglob("*.py")):
            names = path.relative_to(ROOT).with_suffix("").parts
            if any(name.startswith("_") and name != "__init__" for name in names):
                continue
            if package == "noisestack" and names[1] not in ("__init__", "jobs"):
                continue
            if package == "noisestack" or _HOLDS_SOMETHING.search(path.read_text(encoding="utf-8")):
                yield ".".join(name for name in names if name != "__init__")
