"""The page and the terminal: whole, safe, self-contained, readable."""

import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from synthetic_study import compare_and_report, settings, write_study

from whether.metrics.catalogue import catalogue
from whether.metrics.format import (
    format_bytes,
    format_energy,
    format_flops,
    format_p_value,
    format_seconds,
    format_signed,
    format_usd,
)
from whether.records import Verdict, read_json, read_jsonl, write_json, write_jsonl
from whether.report.terminal import print_verdict

ATTACK = "</p><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}"


def _marked(row: dict) -> dict:
    """Return a prediction whose label stands in bold type, and below a name in every second row."""
    needed = ["markup", "prefix"] if int(row["id"].rpartition("-")[2]) % 2 else ["markup"]
    return {**row, "output": f"**{row['answer']}**", "valid": False, "leniencies": needed}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifacts = write_study(tmp_path_factory.mktemp("study"), invalid={"base-few_shot": 0.3}, robustness=True)
    file = artifacts / "score" / "base-few_shot" / "predictions.jsonl"
    rows = read_jsonl(file)
    write_jsonl(file, [{**row, "output": ATTACK, "answer": None, "valid": False} for row in rows])
    file = artifacts / "score" / "base-knn" / "predictions.jsonl"
    write_jsonl(file, [_marked(row) for row in read_jsonl(file)])
    folder = tmp_path_factory.mktemp("compare")
    compare_and_report(settings("policy.resamples=300"), artifacts, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text()


class Outline(HTMLParser):
    """Collect what the tests look at."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if values.get("id") else []
        self.targets += [href for href in [values.get("href")] if href and href.startswith("#")]
        if tag not in ("meta", "link", "br", "img", "use", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "link", "br", "img", "use", "path"):
            assert self.open.pop() == tag


def test_training_costs_are_shown_and_what_was_not_measured_says_so(page):
    table = page[page.index("What did training take?") :].partition("</table>")[0]
    row = re.sub(r"<[^>]+>", " ", table[table.index("<tbody>") :]).split()
    assert " ".join(row) == ("lora 381 89,000 27,000 12.3 TFLOP 2.86 min not measured 1.96 GiB not measured $38.10")


def test_format_and_chance_are_shown(page, folder):
    assert "Measured on 30 examples of dev, the same for every arm." in page
    assert "5 answers to each were sampled at temperature 0.7." in page
    section = page[page.index('<section id="robustness">') : page.index('<section id="outputs">')]
    assert section.count("labels upper") == 1
    assert "demonstrations reversed" in section
    assert "It is &lt;b&gt;get_weather&lt;/b&gt;" in section
    assert "a label with text around it" in section
    assert (folder / "plots" / "formats.svg").exists()
    verdict = read_json(folder / "verdict.json", Verdict)
    metrics = verdict.arms["lora-knn"].metrics
    # Of 30 examples 28 have four right samples of five (12 of 20 ordered pairs agree); two have none that is valid.
    assert metrics["consistency"].value == pytest.approx((28 * 12 / 20 + 2) / 30)
    assert metrics["sensitivity_worst"].n == 30


@pytest.mark.heavy
def test_rows_that_were_left_out_are_a_warning_on_the_page_and_a_reason(tmp_path):
    artifacts = write_study(tmp_path / "artifacts", sizes=(20, 10, 30))
    warning = "519 of 735 rows (71%) were left out of the data: 519 <b>."
    file = artifacts / "prepare" / "profile.json"
    profile = read_json(file)
    profile |= {"warnings": [warning], "notes": ["left out: 519 & more"]}
    profile["units"]["test"] = 25
    write_json(file, profile)
    compare_and_report(settings("policy.resamples=100"), artifacts, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    shown = warning.replace("<b>", "&lt;b&gt;")
    assert page.count(shown) == 1
    assert page.index(shown) < page.index('<ul class="reasons">')
    assert "<li>left out: 519 &amp; more</li>" in page
    assert (
        "The 30 test examples are 25 groups of rows that belong together, and intervals and tests count groups." in page
    )
    assert warning in read_json(tmp_path / "out" / "verdict.json", Verdict).reasons


@pytest.mark.heavy
def test_page_without_such_measurements_has_no_section_for_them(tmp_path):
    artifacts = write_study(tmp_path / "artifacts", sizes=(20, 10, 30))
    compare_and_report(settings("policy.resamples=100"), artifacts, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Format and chance" not in page
    assert read_json(tmp_path / "out" / "verdict.json", Verdict).arms["base-knn"].metrics["consistency"].value is None


def test_page_is_well_formed_and_its_links_lead_somewhere(page):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {target.removeprefix("#") for target in outline.targets} <= set(outline.ids)
    assert outline.tags.count("h1") == 1


def test_page_needs_no_network_and_is_small(page):
    found = re.findall(r"(?:src|href)=[\"']([^\"']+)|url\(([^)]+)\)", page)
    addresses = ["".join(address) for address in found]
    assert all(address.startswith(("#", "data:")) for address in addresses), addresses
    assert "@import" not in page
    assert len(page.encode()) < 2_000_000


def test_what_a_model_wrote_is_text(page):
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_page_says_what_the_verdict_says(page, folder):
    verdict = read_json(folder / "verdict.json", Verdict)
    assert verdict.recommended_arm in page
    for arm in verdict.arms:
        assert arm in page
    assert verdict.provenance.data_hash in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.heavy
def test_page_and_terminal_where_no_arm_is_allowed(tmp_path):
    artifacts = write_study(tmp_path / "artifacts", sizes=(20, 10, 30))
    limits = settings("policy.resamples=200", "policy.constraints.latency_p95.max=0.001")
    compare_and_report(limits, artifacts, tmp_path / "compare")
    verdict = read_json(tmp_path / "compare" / "verdict.json", Verdict)
    assert (verdict.answer, verdict.recommended_arm) == ("inconclusive", None)
    assert verdict.excluded.keys() == verdict.arms.keys()
    page = (tmp_path / "compare" / "report.html").read_text()
    console = Console(file=io.StringIO(), width=90)
    print_verdict(verdict, console)
    for text in (page, console.file.getvalue()):
        assert "No arm keeps the hard constraints" in text


@pytest.mark.heavy
def test_pictures_follow_the_theme(folder):
    pictures = {file.stem for file in (folder / "plots").iterdir()}
    assert {"quality", "quality_cost", "training_lora"} < pictures
    for file in (folder / "plots").iterdir():
        text = file.read_text()
        ElementTree.fromstring(text)
        assert "prefers-color-scheme: dark" in text
        assert re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", text) == []


@pytest.mark.parametrize("width", [60, 100, 160])
def test_terminal_shows_the_verdict_at_any_width(folder, width):
    verdict = read_json(folder / "verdict.json", Verdict)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_verdict(verdict, console)
    text = console.file.getvalue()
    assert f"▸ {verdict.recommended_arm}" in text
    assert max(map(len, text.splitlines())) <= width
    for arm in verdict.arms:
        assert arm in text


@pytest.mark.heavy
def test_terminal_is_quick_to_import():
    heavy = "{'torch', 'scipy', 'matplotlib', 'numpy', 'pandas', 'statsmodels', 'transformers'}"
    code = f"import sys, whether.report.terminal; sys.exit(str(found) if (found := {heavy} & set(sys.modules)) else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_read_well():
    assert [format_usd(0), format_usd(12.5), format_usd(0.00058), format_usd(1234567)] == [
        "$0.00",
        "$12.50",
        "$0.00058",
        "$1,234,567.00",
    ]
    assert [format_signed(0.0), format_signed(-0.0001), format_signed(0.0312), format_signed(-0.05)] == [
        "0.0",
        "0.0",
        "+3.1",
        "−5.0",
    ]
    assert [format_seconds(0.0213), format_seconds(4), format_seconds(600), format_seconds(9000)] == [
        "21.3 ms",
        "4 s",
        "10 min",
        "2.5 h",
    ]
    assert [format_bytes(12), format_bytes(19.6e6), format_bytes(1.1e9)] == ["12 B", "18.7 MiB", "1.02 GiB"]
    assert [format_flops(1.2345e13), format_flops(2e15), format_flops(4e9)] == ["12.3 TFLOP", "2 PFLOP", "0.004 TFLOP"]
    assert [format_energy(12.3), format_energy(4567), format_energy(7.2e6)] == ["12.3 J", "4.57 kJ", "2 kWh"]
    assert [format_p_value(0.0001), format_p_value(0.012), format_p_value(1.0)] == ["p < 0.001", "p = 0.012", "p = 1"]


def test_every_question_has_its_numbers_or_says_how_to_get_them(folder, page):
    verdict = read_json(folder / "verdict.json", Verdict)
    assert len(verdict.aspects) > 10
    for aspect in verdict.aspects:
        assert aspect.question in page
        assert aspect.metrics or aspect.how_to_measure
        for name in aspect.metrics:
            assert catalogue(verdict)[name].label in page
            assert all(name in arm.metrics for arm in verdict.arms.values())


def test_costs_are_drawn(folder):
    verdict = read_json(folder / "verdict.json", Verdict)
    assert verdict.break_even
    for row in verdict.break_even:
        assert {driver.name for driver in row.drivers} >= {"requests a month", "price of a label"}
    assert {"cost_volume.svg", "cost_drivers.svg"} <= {path.name for path in (folder / "plots").iterdir()}


@pytest.mark.heavy
def test_free_machines_and_labels_have_a_report_without_pictures_of_cost(tmp_path):
    artifacts = write_study(tmp_path / "artifacts")
    free = settings("policy.resamples=300", "pricing.usd_per_machine_hour=0", "pricing.usd_per_label=0")
    compare_and_report(free, artifacts, tmp_path)
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"quality.svg"}
    assert not (tmp_path / "plots" / "cost_volume.svg").exists()
    assert "When does tuning pay?" in (tmp_path / "report.html").read_text()


def test_leniencies_are_in_the_verdict_and_on_the_page(folder: Path, page: str) -> None:
    arm = read_json(folder / "verdict.json", Verdict).arms["base-knn"]
    assert arm.leniencies == {"markup": 1.0, "prefix": 0.5}
    assert arm.metrics["lenient_rate"].value == 1.0
    assert arm.metrics["valid_rate"].value == 0.0
    assert arm.metrics["accuracy"].value > 0
    table = page[page.index("How answers of another form were read") :]
    assert re.search(r"Markdown, a list mark, brackets or invisible characters</th><td>100.0%</td>", table)
    assert re.search(r"a name or the beginning of a sentence before the answer</th><td>50.0%</td>", table)
