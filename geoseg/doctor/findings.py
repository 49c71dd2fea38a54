"""What was looked at, and what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

State = Literal["ok", "note", "failed"]
MARKS = {"ok": "OK", "note": "NOTE", "failed": "FAILED"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Args:
        section: what it belongs to.
        name: what was looked at.
        value: what was found.
        state: "note" where geoseg works, but not as well as it could; "failed" where something will not work.
        remedy: what the user can do about it; empty where all is well.
    """

    section: str
    name: str
    value: str
    state: State = "ok"
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found, in the order in which it was looked at."""

    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing failed."""
        return all(f.state != "failed" for f in self.findings)

    def format(self) -> str:
        """A heading a section, a line a finding, remedies beneath, and a last line that says whether all is well."""
        width = max((len(f.name) for f in self.findings), default=0)
        lines = []
        for section, findings in groupby(self.findings, key=lambda f: f.section):
            lines.append(section)
            for f in findings:
                lines.append(f"  {MARKS[f.state]:<6}  {f.name:<{width}}  {f.value}")
                lines += [f"          remedy: {f.remedy}"] * bool(f.remedy)
        failed = sum(f.state == "failed" for f in self.findings)
        return "\n".join([*lines, f"{failed} of {len(self.findings)} FAILED" if failed else "geoseg works here"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"sound": self.is_sound, "findings": [asdict(f) for f in self.findings]}
