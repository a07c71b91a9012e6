"""Builds the site: `python -m docs.site`. Any link that leads nowhere ends it with exit code 1."""

import shutil
import sys
from pathlib import Path

from docs.site.pages import ROOT, all_pages


def main() -> int:
    """Gather the pages into build/docs and let Sphinx make build/site of them."""
    from sphinx.cmd.build import build_main

    source, site = ROOT / "build" / "docs", ROOT / "build" / "site"
    shutil.rmtree(source, ignore_errors=True)
    for address, text in all_pages().items():
        (source / address).parent.mkdir(parents=True, exist_ok=True)
        (source / address).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", source / "images")
    here = str(Path(__file__).parent)
    failed = build_main(
        ["-q", "-E", "--fail-on-warning", "--keep-going", "-c", here, str(source), str(site)]
    )
    if not failed:
        print(f"site      {site / 'index.html'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
