"""How bytes move: the section ``[engine]``."""

from __future__ import annotations

from pydantic import Field

from dataferry.app.section import Bandwidth, Section, Windows
from dataferry.domain.limits import MAX_PART_BYTES, MAX_WORKERS, MIN_PART_BYTES
from dataferry.engine.transfer import Overwrite, Verify

# Each has threads of its own; beyond, a process has more of them than it gets work done with.
MAX_FLOWS_AT_ONCE = 256


class EngineSettings(Section):
    """``[engine]``: how bytes move."""

    workers: int = Field(
        default=32,
        ge=1,
        le=MAX_WORKERS,
        description="Threads of a transfer at most, 1 to 256, each with a connection to either side and a"
        " 1 MiB buffer. A transfer begins with eight; more join while that makes it faster, as over a long"
        " distance, and rest where it does not. Events of kind `tuned` say why.",
    )
    part_size_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=MIN_PART_BYTES,
        le=MAX_PART_BYTES,
        description="Least size of a part, bytes, 1 MiB to 5 GiB (S3 takes none below 5 MiB: there that is"
        " the least); grows so that no object has more than 9,000. What a kill may cost is `workers` times"
        " this; smaller parts cost a request each. An upload under way keeps the size that it began with.",
    )
    multipart_threshold_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=MIN_PART_BYTES,
        le=MAX_PART_BYTES,
        description="Objects larger than this and than a part are sent in parts, 1 MiB to 5 GiB; below, one"
        " request is quicker than three. The size of a part, so that a kill costs no more than `workers`"
        " parts.",
    )
    stall_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="No byte for this long, in seconds, fails the part, which is then tried again.",
    )
    attempts: int = Field(
        default=6,
        ge=1,
        description="Tries of one part or object before it fails for good; with the back-off, about a"
        " minute.",
    )
    backoff_s: float = Field(
        default=0.2,
        gt=0,
        description="First wait before another try, seconds; doubles each time, with full jitter.",
    )
    max_backoff_s: float = Field(default=20.0, gt=0, description="Longest wait before another try, seconds.")
    bandwidth_bytes_per_s: Bandwidth | None = Field(
        default=None, description="Bound of each transfer, bytes a second, 1 to 2^50. None: no bound."
    )
    max_unknown_length_bytes: int = Field(
        default=64 * 1024**3,
        ge=1024 * 1024,
        le=5 * 1024**4,
        description="The most that is taken of an object whose source does not say its length, bytes; one"
        " that sends more fails, and nothing of it becomes visible. 64 GiB: more than such sources send in"
        " earnest, and all that a stream without an end can cost. Its parts are long enough that 9,000 of"
        " them hold so much.",
    )
    max_received_object_bytes: int = Field(
        default=5 * 1024**4,
        ge=1024 * 1024,
        le=50 * 1024**4,
        description="The largest object that a push to the gateway may bring, bytes; one that says more is"
        " refused before it is read. 5 TiB: what S3 stores take. `max_unknown_length_bytes` bounds one that"
        " does not say its length.",
    )
    spool_bytes: int = Field(
        default=1024**3,
        ge=16 * 1024 * 1024,
        description="What one such object may take of this machine's disk while it moves, bytes: a part, or"
        " the whole object where the destination takes no parts (`http`), which is then its limit. 1 GiB, as"
        " several may be on their way at once.",
    )
    spool_directory: str | None = Field(
        default=None,
        description="Directory for it; the files there have no name and vanish with the process. None: the"
        " system's directory for temporary files. Name another where that one is kept in memory (`tmpfs`).",
    )
    max_objects: int = Field(
        default=10_000_000,
        ge=1,
        description="Objects that one transfer may have; one whose source lists more fails, and goes on from"
        " there once this is raised. Ten million take some 4 GiB of the database: all that a listing without"
        " an end can cost.",
    )
    total_bandwidth_bytes_per_s: Bandwidth | None = Field(
        default=None,
        description="Bound of all transfers of this process together, bytes a second, 1 to 2^50; each has its"
        " fair part. None: no bound.",
    )
    bandwidth_windows: Windows = Field(
        default=(),
        description="Times of the week in which another bound than `total_bandwidth_bytes_per_s` holds; at"
        " most 50. Empty: always that one.",
    )
    max_part_size_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=MIN_PART_BYTES,
        le=MAX_PART_BYTES,
        description="Largest part and multipart threshold that the `metadata` of a message may ask for,"
        " bytes; what is configured may always be. Four times the default part: enough for a long distance,"
        " and little to send again after a kill.",
    )
    flow_concurrency: int = Field(
        default=4,
        ge=1,
        le=MAX_FLOWS_AT_ONCE,
        description="Flows that move bytes at once in this process, 1 to 256; others wait in the queue."
        " Memory is this times `workers` MiB at most, where all of them go a long way.",
    )
    flow_concurrency_per_control_plane: int | None = Field(
        default=None,
        ge=1,
        le=MAX_FLOWS_AT_ONCE,
        description="Of these, how many may be of one control plane, 1 to 256. None: all but"
        " one where there is more than one control plane, so that nobody's long flows keep the others out;"
        " else all.",
    )
    verify: Verify = Field(
        default=Verify.BEST,
        description="How far what is moved is proved. `best`: the best that the pair of stores can give"
        " without moving bytes again. `readback`: what was written is read from the destination and compared,"
        " at the price of a second read.",
    )
    overwrite: Overwrite = Field(
        default=Overwrite.IF_DIFFERENT,
        description="Where the destination has an object of that name: `if-different` skips an equal one (the"
        " default: repeating a flow is cheap), `never` leaves any as it is, `always` writes again.",
    )
    prepare_wait_s: float = Field(
        default=5.0,
        ge=0,
        description="How long prepare or start may take, seconds, before it is answered with 202 and a"
        " callback follows. Well below the time-outs of control planes (EDC: 30 s). 0: always 202.",
    )
    flow_retries: int = Field(
        default=5,
        ge=0,
        description="Further attempts at a flow after temporary failures, before it is reported with"
        " `errored`; five take about ten minutes.",
    )
    grant_ttl_s: int = Field(
        default=3600,
        gt=0,
        description="How long a granted address is good for, seconds, where the mechanism can bound it (S3 by"
        " STS: 900 to 43200). An hour lets most transfers end; a resume grants anew.",
    )
    sweep_interval_s: float = Field(
        default=1.0,
        gt=0,
        description="Seconds between looks for flows that should run and do not: what a lost wake-up costs.",
    )
