"""The report page in headless Chromium: evidence without a mouse, a review that survives a reload, and its signature.

Debian's Chromium is used by its path; where there is none, these tests are skipped and say so.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from riskscribe import reporting
from riskscribe.case import Case
from riskscribe.cli import main
from riskscribe.evaluate.score import constant_report
from riskscribe.files import read_lines
from riskscribe.page.words import WORDS
from riskscribe.report import Report
from riskscribe.review import KEY

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; apt-get install chromium")
ROWS = read_lines(Path(__file__).parents[2] / "datasets/risk_report/v1/val.jsonl")
SECRET = "a-signing-key-that-only-this-test-knows"


def bridged(language):
    """A case of a day sequence with a hard breach and a bridge, and its gold report."""
    row = next(
        one
        for one in ROWS
        if one["language"] == language and one["level"] == "critical" and '"kind":"change"' in one["case"]
    )
    return Case.model_validate_json(row["case"]), Report.model_validate_json(row["report"])


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        found = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield found
        found.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a report page from its file; a message on the console or a request for anything else fails the test."""
    wrong = []

    def open_page(folder, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True, **options)
        page = context.new_page()
        page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
        page.on("console", lambda one: wrong.append(one.text))
        page.on("pageerror", lambda one: wrong.append(str(one)))
        page.on("request", lambda one: None if one.url.startswith(("file:", "blob:")) else wrong.append(one.url))
        page.goto((folder / "report.html").as_uri())
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    assert wrong == []


def run(*arguments):
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def save(page, status, to):
    with page.expect_download() as download:
        page.locator(f"[data-save={status}]").click()
    assert download.value.suggested_filename == "review.json"
    download.value.save_as(to)
    return json.loads(to.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_review_from_the_page_to_an_approved_and_signed_version(opened, tmp_path, monkeypatch, language):
    case, report = bridged(language)
    words = WORDS[language]["review"]
    wrong = report.model_copy(update={"risk_level": "low", "escalate": False, "recommended_actions": []})
    reporting.write_verified(tmp_path / "draft", case, wrong.to_json(), {"name": "test"})
    page = opened(tmp_path / "draft")
    assert page.evaluate("document.documentElement.lang") == WORDS[language]["lang"]

    # nothing can be saved without a name, nothing approved before all is decided
    page.locator("[data-save=approved]").click()
    assert words["need_name"] in page.locator("#told").inner_text()
    page.locator("#reviewer").fill("A. Reviewer 复核")
    page.locator("[data-save=approved]").click()
    due = int(page.locator("#meter").get_attribute("max"))
    assert words["need_all"].format(left=due) in page.locator("#told").inner_text()

    # accept every sentence, edit one, reject one, take the policy's judgements, add the action that is missing
    sentences = page.locator(".decide:has([data-do=edit][aria-pressed])").filter(has=page.locator("[data-do=accept]"))
    count = sentences.count()
    for i in range(count):
        sentences.nth(i).locator("[data-do=accept]").click()
    for field in ("risk_level", "escalate"):
        page.locator(f'.decide[data-item="{field}"] [data-do=accept]').click()
    assert page.locator("#done").inner_text() == words["progress"].format(done=due, all=due)
    driver = page.locator('.decide[data-item="key_drivers.0.statement#0"]')
    driver.locator("[data-do=edit]").click()
    box = driver.locator("xpath=following-sibling::label[1]//textarea")
    assert box.input_value() == page.locator('.sentence[data-item="key_drivers.0.statement#0"]').inner_text()
    component = report.key_drivers[0].evidence[0]
    edited = {"en": f"{report.key_drivers[0].driver} leads VaR [{component}].", "zh": f"首要因素 [{component}]。"}[
        language
    ]
    box.fill(edited)
    page.locator('.decide[data-item="key_drivers.1.statement#0"] [data-do=reject]').click()
    additions = page.locator('.decide[data-item^="recommended_actions+"] [data-do=edit]')
    for i in range(additions.count()):
        additions.nth(i).click()
    page.locator("#comment").fill("</script><script>alert(1)</script>")

    # a reload loses nothing
    page.reload()
    expect = playwright.expect
    # assertions that wait: the fields are there before the page's script has filled them
    expect(page.locator("#reviewer")).to_have_value("A. Reviewer 复核", timeout=60_000)
    expect(page.locator("#done")).to_have_text(words["progress"].format(done=due, all=due))
    expect(box).to_have_value(edited)
    review = save(page, "approved", tmp_path / "review.json")
    assert review["status"] == "approved" and len(review["decisions"]) == due

    monkeypatch.delenv(KEY, raising=False)
    code, _, err = run("review", tmp_path / "draft/report.json", tmp_path / "review.json", "--out", tmp_path / "v1")
    assert code == 2 and f"{KEY} is not set" in err
    monkeypatch.setenv(KEY, SECRET)
    code, out, err = run("review", tmp_path / "draft/report.json", tmp_path / "review.json", "--out", tmp_path / "v1")
    assert code == 0, (out, err)
    code, out, _ = run("review", "verify", tmp_path / "v1/report.json")
    assert code == 0 and "approved by A. Reviewer 复核" in out
    record = json.loads((tmp_path / "v1/report.json").read_text(encoding="utf-8"))
    assert record["model"]["risk_level"] == "critical" and record["model"]["escalate"] is True
    assert record["model"]["key_drivers"][0]["statement"] == edited
    assert len(record["model"]["key_drivers"]) == len(report.key_drivers) - 1
    assert len(record["model"]["recommended_actions"]) == additions.count()
    assert {one["change"] for one in record["envelope"]["edits"]} == {"edited", "rejected", "policy", "added"}
    assert SECRET not in (tmp_path / "v1/report.json").read_text() + (tmp_path / "v1/report.html").read_text()
    version = opened(tmp_path / "v1")
    assert WORDS[language]["states"]["approved"] in version.locator(".stamp").inner_text()
    assert version.locator(".decide").count() == 0 and edited in version.locator("#edits + table").inner_text()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_evidence_shows_on_hover_click_and_focus(opened, tmp_path, language):
    case, report = bridged(language)
    reporting.write_verified(tmp_path, case, report.to_json(), {"name": "test"})
    page = opened(tmp_path)
    sentence = page.locator('.sentence[data-item="key_drivers.0.statement#0"]')
    component = report.key_drivers[0].evidence[0]
    shown = page.locator("#lines")
    hint = WORDS[language]["review"]["hint"]
    assert shown.inner_text() == hint
    sentence.hover()
    assert component in shown.inner_text() and f"{report.key_drivers[0].driver} |" in shown.inner_text()
    page.locator("h1").hover()
    assert shown.inner_text() == hint
    sentence.click(position={"x": 2, "y": 8})
    page.locator("h1").hover()
    assert component in shown.inner_text()
    page.keyboard.press("Escape")
    assert shown.inner_text() == hint or sentence.evaluate("one => one === document.activeElement")
    # without a mouse: Tab comes to every sentence, and an id alone shows its line
    page.evaluate("document.activeElement.blur()")
    sentence.focus()
    assert component in shown.inner_text()
    limit = page.locator(".limits a.id").first
    limit.focus()
    assert limit.inner_text() in shown.inner_text()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == ""


def test_every_sentence_and_button_can_be_reached_with_the_keyboard_and_has_a_name(opened, tmp_path):
    case, report = bridged("en")
    reporting.write_verified(tmp_path, case, report.to_json(), {"name": "test"})
    page = opened(tmp_path)
    reached = set()
    page.keyboard.press("Tab")
    for _ in range(600):
        found = page.evaluate(
            "(() => { const at = document.activeElement; return at === document.body ? null :"
            " [at.dataset.item ?? at.parentElement.dataset.item ?? '', at.dataset.do ?? '',"
            " at.getAttribute('aria-label') || at.innerText || at.labels?.[0]?.innerText || '']; })()"
        )
        if found is None:
            break
        assert found[2].strip(), found
        reached.add((found[0], found[1]))
        page.keyboard.press("Tab")
    wanted = {(one.get_attribute("data-item"), "") for one in page.locator(".sentence").all()}
    wanted |= {(item, action) for item, _ in wanted for action in ("accept", "edit", "reject")}
    assert wanted <= reached
    for picture in page.locator("main svg[role=img]").all():
        assert picture.get_attribute("aria-label")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["gold", "spoiled", "unreadable"])
def test_pages_fit_a_telephone_and_a_screen_light_and_dark(opened, tmp_path, language, kind):
    case, report = bridged(language)
    spoiled = constant_report("low").model_copy(update={"summary": "VaR 99.9m [VAR-ZZ]. " * 12})
    answer = {"gold": report.to_json(), "spoiled": spoiled.to_json(), "unreadable": "x" * 500}[kind]
    reporting.write_verified(tmp_path, case, answer, {"name": "test"})
    for width, scheme in ((390, "light"), (1280, "dark")):
        page = opened(tmp_path, width, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink, paper = page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        assert (sum(map(int, paper[4:-1].split(", "))) < 200) is (scheme == "dark") and ink != paper
    page.emulate_media(media="print")
    for hidden in ("#panel", "#review", ".decide"):
        assert all(not one.is_visible() for one in page.locator(hidden).all())
    assert page.locator(".sentence").count() == 0 or page.locator(".sentence").first.is_visible()


def test_a_text_that_would_leave_its_script_element_stays_text(opened, tmp_path):
    case, report = bridged("en")
    hostile = (
        "</script><script>document.title='taken'</script>\u2028<!-- <img src=x onerror=\"document.title='taken'\">."
    )
    broken = report.model_copy(update={"limitations": [hostile], "summary": hostile})
    reporting.write_verified(tmp_path, case, broken.to_json(), {"name": hostile})
    page = opened(tmp_path)
    assert "taken" not in page.title()
    page.locator('.sentence[data-item="summary#0"]').hover()
    assert "document.title='taken'" in page.locator("#lines").inner_text()
    # what was decided on is the text itself, not what the page shows of it
    page.locator("#reviewer").fill("R")
    for button in page.locator('.decide[data-item^="limitations.0#"] [data-do=reject]').all():
        button.click()
    review = save(page, "reviewed", tmp_path / "review.json")
    assert "".join(one["before"] for one in review["decisions"]).replace("\u2028", "") in hostile.replace("\u2028", "")
