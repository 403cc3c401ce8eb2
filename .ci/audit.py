"""Known vulnerabilities of what is locked, and licences of what production runs. ``make audit``.

Exit code 1 for a vulnerability that is known and not accepted below, or a licence that is not on the list. Where a
registry does not answer questions about vulnerabilities, that is said, and is no failure: nothing was found out.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".audit" / "bin"
PYTHON = ROOT / ".venv" / "bin" / "python"
LOCKS = ("requirements.lock", "requirements-dev.lock", "bench/requirements.lock")
NPM = ("tests/clients", "bench/peers")

ACCEPTED: dict[str, str] = {}
"""Advisories that do not concern us, by id, with the reason."""

LICENCES = {
    "MIT": ("MIT", "MIT License"),
    "MIT-0": ("MIT-0",),
    "Apache-2.0": ("Apache-2.0", "Apache Software License"),
    "BSD": ("BSD License", "BSD-2-Clause", "BSD-3-Clause", "3-Clause BSD License"),
    "ISC": ("ISC", "ISC License (ISCL)"),
    "PSF-2.0": ("PSF-2.0", "Python Software Foundation License"),
    "CNRI-Python": ("CNRI-Python",),
    "Public domain": ("Public Domain",),
    # Used as libraries, unchanged: whoever runs Flagpost may exchange them.
    "MPL-2.0": ("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"),
    "LGPL-3.0": ("LGPL-3.0-only",),
}
"""What packages that production runs may be under, in the words that they use."""

STATED = {"pyrevm": "MIT"}
"""Packages whose metadata name no licence: as their repositories state it."""


def main() -> int:
    """Run all audits."""
    wrong = [*python_advisories(), *npm_advisories(), *licences()]
    for line in wrong:
        print(f"✗ {line}")
    print("audit: nothing is wrong" if not wrong else f"audit: {len(wrong)} to repair")
    return 1 if wrong else 0


def python_advisories() -> Iterator[str]:
    """Of each lock file."""
    for lock in LOCKS:
        done = subprocess.run(
            [TOOLS / "pip-audit", "--disable-pip", "--require-hashes", "-r", ROOT / lock, "-f", "json"],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            packages = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            print(f"! {lock}: not audited, the index does not answer about vulnerabilities: {said[:160]}")
            continue
        asked = [one for one in packages if "skip_reason" not in one]
        if not asked:
            print(
                f"! {lock}: not audited, the index says nothing of vulnerabilities ({packages[0]['skip_reason'][:99]})"
            )
            continue
        print(f"✓ {lock}: {len(asked)} of {len(packages)} packages audited")
        for one in asked:
            for advisory in one["vulns"]:
                if not ACCEPTED.keys() & {advisory["id"], *advisory["aliases"]}:
                    mended = ", ".join(advisory["fix_versions"]) or "no version yet"
                    yield f"{lock}: {one['name']} {one['version']} has {advisory['id']}; mended in {mended}"


def npm_advisories() -> Iterator[str]:
    """Of each package-lock.json."""
    for place in NPM:
        try:
            done = subprocess.run(
                ["npm", "audit", "--package-lock-only", "--json", "--prefix", ROOT / place],  # noqa: S607
                capture_output=True,
                text=True,
                check=False,
            )
            found = json.loads(done.stdout)
        except (FileNotFoundError, ValueError):
            print(f"! {place}: not audited, npm is not there or gave no answer")
            continue
        if "vulnerabilities" not in found:
            said = str(found.get("message") or found.get("error", "no answer")).splitlines()[0]
            print(f"! {place}: not audited, the registry does not answer about vulnerabilities: {said[:160]}")
            continue
        print(f"✓ {place}: {found['metadata']['dependencies']['total']} packages audited")
        for name, one in found["vulnerabilities"].items():
            ids = {via["url"].rsplit("/", 1)[-1] for via in one["via"] if isinstance(via, dict)}
            if one["severity"] in ("high", "critical") and not ids & ACCEPTED.keys():
                yield f"{place}: {name} has {', '.join(sorted(ids)) or 'a vulnerable dependency'} ({one['severity']})"


def licences() -> Iterator[str]:
    """Of the packages that production installs (requirements.lock)."""
    locked = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    done = subprocess.run(
        [TOOLS / "pip-licenses", "--python", PYTHON, "--from", "mixed", "--format", "json", "--packages", *locked],
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = {word for words in LICENCES.values() for word in words}
    packages = json.loads(done.stdout)
    print(f"✓ licences of {len(packages)} run-time packages looked at")
    for one in packages:
        stated = STATED.get(one["Name"], one["License"])
        parts = re.split(r" AND |; ", stated)
        # Of alternatives one has to be on the list.
        if not all(
            allowed & set(part.removeprefix("(").removesuffix(")").split(" OR ")) | allowed & {part} for part in parts
        ):
            yield f"{one['Name']} {one['Version']} is under {stated!r}, which is not on the list (.ci/audit.py)"


if __name__ == "__main__":
    sys.exit(main())
