"""The behaviour suite that every mechanism runs.

A mechanism's test file makes a rig and hands it over::

    class TestMine(MechanismSuite):
        @pytest.fixture
        def rig(self, tmp_path: Path) -> MechanismRig:
            return MyRig(tmp_path)

What the mechanism declares must work; what it does not declare must be refused, and cases here prove it.
A case about a fault that the rig can't bring about is skipped, and says so.
See docs/howto/write-a-mechanism.md.
"""

from __future__ import annotations

from dataferry.testing.copying_cases import CopyingCases
from dataferry.testing.fault_cases import FaultCases
from dataferry.testing.grant_cases import GrantCases
from dataferry.testing.mechanism_rig import Fault, MechanismRig, Quirk
from dataferry.testing.multipart_cases import MultipartCases
from dataferry.testing.readback_cases import ReadBackCases
from dataferry.testing.reading_cases import ReadingCases
from dataferry.testing.writing_cases import WritingCases

__all__ = ["Fault", "MechanismRig", "MechanismSuite", "Quirk"]


class MechanismSuite(
    ReadingCases, WritingCases, MultipartCases, CopyingCases, ReadBackCases, FaultCases, GrantCases
):
    """All cases. Subclass it as ``Test…`` and override the fixture ``rig``."""
