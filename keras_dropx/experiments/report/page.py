"""`dropx report`: a page of Markdown and one of HTML from the runs."""

import base64
import io
import re
from pathlib import Path

import markdown

from keras_dropx.errors import UserError
from keras_dropx.experiments.records import Records, write_atomically
from keras_dropx.experiments.report.figures import figure
from keras_dropx.experiments.report.forest import forest
from keras_dropx.experiments.report.paper_page import (
    HOW,
    first_page,
    forest_name,
    paper_page,
    paper_section,
    plan_section,
)
from keras_dropx.experiments.report.scoreboard import (
    claims_of,
    network_of,
    paper_of,
)
from keras_dropx.experiments.report.studies import studies
from keras_dropx.experiments.report.text import markdown_text

# By which a report is known, in Markdown and in HTML.
MADE_BY = b"dropx report"
MAX_HEAD = 4096

CSS = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem;
  vertical-align: top; }
img { max-width: 100%; }
"""


def report(folder):
    """Writes `report.md`, its figures and `report.html` into a folder.

    Of runs of the papers' recipes `report.md` holds the claims, and a page
    beside it for each paper the rest. The HTML page holds all of it.

    Args:
        folder: Folder with the `runs.jsonl` of any command.

    Returns:
        Path of the HTML page.

    Raises:
        UserError: If there are no runs.
    """
    folder = Path(folder)
    if not (folder / "runs.jsonl").is_file():
        raise UserError(f"no runs.jsonl in '{folder}'")
    _check_own(folder, ["report.md", "report.html"])
    records = Records(folder).records
    found = studies(records)
    if not found:
        raise UserError(
            f"'{folder}' holds no runs of a plan as it is now; run it again"
        )
    papers = {paper_of(recipe): None for recipe, *_ in found if recipe}
    _check_own(folder, [f"{paper}.md" for paper in papers])
    sections, images = {}, {}
    for number, (recipe, plan, own) in enumerate(found):
        # The same plan may be there in several precisions, say.
        name = recipe.name if recipe else plan.name
        name = f"{number}-{re.sub(r'[^a-z0-9-]+', '_', name.lower())[:60]}.png"
        title = recipe and (
            f"{recipe.name}, {network_of(recipe, plan)}: {recipe.title}"
        )
        drawn = figure(recipe and recipe.figure, plan, own, title)
        images[name] = png_of(drawn)
        text = (
            paper_section(recipe, plan, own, name)
            if recipe
            else plan_section(plan, own, name)
        )
        sections.setdefault(recipe and paper_of(recipe), []).append(text)
    head, claims = heading(records, found), claims_of(found)
    if papers:
        head = first_page(head, claims, papers)
    pages = {"report": "\n\n".join([head, *sections.pop(None, [])]) + "\n"}
    made = markdown_text(versions_of(records))
    for paper in papers:
        own = [claim for claim in claims if claim.paper == paper]
        if own:
            images[forest_name(paper)] = png_of(forest(own))
        own = [each for each in found if each[0] and paper_of(each[0]) == paper]
        pages[paper] = paper_page(paper, made, sections[paper], own)
    page = html_page(_title(found), _one_page(pages), images)
    for name, image in images.items():
        write_atomically(folder / name, image)
    for name, text in pages.items():
        write_atomically(folder / f"{name}.md", text)
    write_atomically(folder / "report.html", page)
    return folder / "report.html"


def _one_page(pages):
    """Returns pages as one: links to another lead to its place there."""
    text = "\n\n".join(
        f'<a id="{name}"></a>\n\n{page}' if name != "report" else page
        for name, page in pages.items()
    )
    for name in pages:
        target = "" if name == "report" else name
        text = text.replace(f"]({name}.md)", f"](#{target})")
    return text


def html_page(title, text, images):
    """Returns a page of HTML that holds all it shows.

    Its text is Markdown; `images` has their bytes by name.
    """
    body = markdown.markdown(text, extensions=["tables", "md_in_html"])
    for name, image in images.items():
        encoded = base64.b64encode(image).decode()
        body = body.replace(
            f'src="{name}"', f'src="data:image/png;base64,{encoded}"'
        )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>\n{CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def png_of(drawn):
    """Returns the bytes of a `matplotlib.figure.Figure`."""
    buffer = io.BytesIO()
    # The same figure gives the same bytes.
    drawn.savefig(buffer, dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _check_own(folder, names):
    """Refuses a folder in which a page of these names is someone else's."""
    for name in names:
        path = folder / name
        if path.is_symlink() or not path.exists():
            continue  # A link is replaced, and what it leads to stays.
        if not path.is_file() or MADE_BY not in path.read_bytes()[:MAX_HEAD]:
            raise UserError(
                f"dropx report did not write {path}: move it away, or report "
                "on a copy of runs.jsonl in another folder"
            )


def heading(records, found):
    """Returns the head of the page; `found` is what `studies` returns."""
    made = markdown_text(versions_of(records))
    shown = len({id(record) for *_, own in found for record in own})
    left = ""
    if shown < len(records):
        left = (
            f" {len(records) - shown:,} more in the folder are left out: they "
            "are of other settings than the plans have now, or repeated."
        )
    return (
        f"# {_title(found)}\n\n"
        f"Made by `dropx report` from {shown} runs ({made}).{left} {HOW}"
    )


def versions_of(records):
    """Returns the versions that runs were made with, a string."""
    found = [
        ", ".join(f"{name} {version}" for name, version in made.items())
        for record in records
        if isinstance(made := record.get("versions"), dict)
    ]
    return "; ".join(dict.fromkeys(found))


def _title(found):
    if any(recipe is not None for recipe, *_ in found):
        return "Reproductions"
    return "Comparison of methods"
