"""CI's workflows call what is there, and each accepted finding of the audit has its reason."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACCEPTED = ROOT / ".github" / "accepted-findings.txt"
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_make_target_of_a_workflow_exists(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = set(re.findall(r"\bmake ([a-z]+)", "\n".join(commands)))
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), target


def test_every_accepted_finding_says_why_and_until_when():
    lines = [line for line in ACCEPTED.read_text().splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        identifier, _, reason = line.partition(" ")
        assert re.fullmatch(r"(CVE|GHSA|PYSEC)-[\w-]+", identifier), line
        assert len(reason) > 50, line
        assert "Ends with " in reason, line


def test_the_audit_passes_every_accepted_finding_on():
    (expression,) = re.findall(r"sed -n '([^']*)' \.github/accepted-findings\.txt", MAKEFILE)
    pattern = expression.split("/")[1].replace(r"\(", "(").replace(r"\)", ")").replace(r"\{", "{").replace(r"\}", "}")
    lines = ACCEPTED.read_text().splitlines()
    found = [match[1] for line in lines if (match := re.match(pattern, line))]
    assert found == [line.split()[0] for line in lines if not line.startswith("#")]


def test_the_audit_fails_where_a_package_could_not_be_audited():
    """Without --strict pip-audit succeeds even if no service could be asked about any package."""
    recipe = MAKEFILE.partition("\naudit:")[2].partition("\n\n")[0]
    assert "pip-audit --strict" in recipe
    assert "--skip-editable" not in recipe  # --strict refuses what that skips
