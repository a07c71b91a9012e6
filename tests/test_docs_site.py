"""What the documentation site is made of: every page, its links, and each public module."""

import re

import pytest

from docs.site.pages import ROOT, all_pages, api_pages, public_modules, site_links


def test_links_lead_to_the_same_pages_on_the_site():
    text = (
        "[a](docs/attacks.md#towards-a-class), [b](CHANGELOG.md), ![c](docs/images/data_flow.svg)"
    )
    assert site_links(text, "README.md") == (
        "[a](attacks.md#towards-a-class), [b](changelog.md), ![c](images/data_flow.svg)"
    )
    assert site_links("[the rule](../README.md#start)", "docs/a.md") == "[the rule](index.md#start)"


def test_files_that_are_no_pages_are_named_and_code_is_left_alone():
    assert site_links("[it](../tests/oracles.py)", "docs/a.md") == "it (`tests/oracles.py`)"
    assert (
        site_links("[LICENSE](LICENSE) [x](https://a.b)", "README.md") == "LICENSE [x](https://a.b)"
    )
    code = "```python\nf[0](nowhere.md)\n```\n"
    assert site_links(code, "README.md") == code


def test_a_link_to_nowhere_is_an_error_that_names_page_and_target():
    with pytest.raises(ValueError, match=r"docs/a\.md links to nowhere\.md"):
        site_links("[a](nowhere.md)", "docs/a.md")


def test_every_page_is_on_the_site_and_in_its_menu():
    pages = all_pages()
    menu = re.findall(r"^```{toctree}\n.*?\n\n(.*?)\n```$", pages["index.md"], re.M | re.S)
    assert {f"{name}.md" for block in menu for name in block.split()} == set(pages) - {"index.md"}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(pages)


def test_the_api_pages_hold_each_public_module_once():
    modules = list(public_modules())
    assert {"noisestack", "pipeline.chain.haar", "pipeline.stack"} <= set(modules)
    named = [
        name for text in api_pages().values() for name in re.findall(r"automodule:: (\S+)", text)
    ]
    assert sorted(named) == sorted(modules)
