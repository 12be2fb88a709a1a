"""`whether docs`: the documentation's pages, which messages name, in the terminal."""

from whether.errors import UsageError, near_matches
from whether.repository.shipped import shipped


def show_page(name: str | None) -> None:
    """Print a page, or the name and title of each. Raises UsageError for a page that is not there."""
    pages = {file.stem: file for file in sorted((shipped() / "docs").glob("*.md"))}
    if name is None:
        for page, file in pages.items():
            print(f"{page:18} {file.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
        return
    page = name.removeprefix("docs/").removesuffix(".md")
    if page not in pages:
        raise UsageError(f"no page {name!r}{near_matches(page, pages)}")
    print(pages[page].read_text(encoding="utf-8"), end="")
