"""Files of this machine as source and sink."""

from dataferry.mechanisms.base import Mechanism
from dataferry.mechanisms.file.mechanism import FileMechanism

MECHANISM: Mechanism = FileMechanism()
