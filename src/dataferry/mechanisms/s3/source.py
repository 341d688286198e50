"""Reading from S3: listing, looking up, and ranges of exactly one version.

Source: Amazon S3 API Reference, "ListObjectsV2", "HeadObject", "GetObject".
"""

from __future__ import annotations

import dataclasses
import http.client
import re
from collections.abc import Iterator

from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    ObjectNotFoundError,
    ProtocolError,
    SourceChangedError,
    WrongRangeError,
)
from dataferry.domain.objects import Capability, ObjectInfo
from dataferry.mechanisms.s3 import replies
from dataferry.mechanisms.s3.address import Place
from dataferry.mechanisms.s3.attributes import (
    CRC_HEADER,
    decode_crc,
    from_headers,
    http_date,
    strong_etag,
    tag_count,
)
from dataferry.mechanisms.s3.calls import Client, true_absence
from dataferry.mechanisms.s3.errors import DeleteMarkerError
from dataferry.mechanisms.s3.versions import Versions, version_query
from dataferry.net.bodies import ReplyBody
from dataferry.net.connections import Network
from dataferry.net.heads import Headers
from dataferry.net.ranges import AskedRange
from dataferry.net.replies import PinnedResponse

SOURCE_CAPABILITIES = frozenset(
    {
        Capability.LIST,
        Capability.RANGES,
        Capability.VALIDATORS,
        Capability.ATTRIBUTES,
        Capability.TAGS,
        Capability.CONTENT_ETAGS,
        Capability.PORTABLE,
        Capability.GRANT,
    }
)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_CHECKSUM_MODE = {"x-amz-checksum-mode": "ENABLED"}
_PAGE = "1000"
# Amazon answers with empty pages while it passes over versions that were deleted.
MAX_EMPTY_PAGES = 10_000


def head(client: Client, info: ObjectInfo) -> ObjectInfo:
    """Look an object up; ``name`` and ``key`` stay as given.

    Raises:
        ObjectNotFoundError, BucketNotFoundError, AccessDeniedError: The true reason, asked for once more.
    """
    query = version_query(info.version_id)
    try:
        reply = client.call("s3.HeadObject", "HEAD", key=info.key, query=query, headers=_CHECKSUM_MODE)
    except DeleteMarkerError:
        raise
    except (ObjectNotFoundError, AccessDeniedError, ProtocolError) as exc:
        true_absence(client, exc.operation, info.key, query)
        raise
    return described(info, reply.headers, size_bytes=replies.content_length(reply.headers))


def described(info: ObjectInfo, headers: Headers, *, size_bytes: int | None) -> ObjectInfo:
    """Return an object as a reply's headers describe it."""
    fields = headers.first
    return ObjectInfo(
        name=info.name,
        key=info.key,
        size_bytes=size_bytes,
        validator=strong_etag(fields.get("etag")),
        version_id=_version(fields.get("x-amz-version-id")),
        crc64nvme=decode_crc(fields.get(CRC_HEADER)),
        modified_at=http_date(fields.get("last-modified")),
        attributes=from_headers(fields),
        tag_count=tag_count(fields),
    )


def _version(text: str | None) -> str | None:
    """Return a version id; ``null`` is what unversioned objects have."""
    return None if text in {None, "", "null"} else text


class S3Source:
    """A bucket, a prefix or one object, to read from.

    Args:
        place: Which.
        network: Dials.
    """

    def __init__(self, place: Place, network: Network) -> None:
        self._place = place
        self._network = network
        self._client = Client(place, network)

    def __reduce__(self) -> tuple[type[S3Source], tuple[Place, Network]]:
        return S3Source, (self._place, self._network)

    @property
    def identity(self) -> str:
        """As of the place."""
        return self._place.identity

    @property
    def place_of_origin(self) -> Place:
        """The place itself, for copies that the store makes."""
        return self._place

    @property
    def is_single(self) -> bool:
        """True if it is one object."""
        return self._place.is_single

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Ranges, validators, attributes, listing; tags unless the place goes without."""
        return SOURCE_CAPABILITIES if self._place.tags else SOURCE_CAPABILITIES - {Capability.TAGS}

    def probe(self) -> None:
        """One HEAD of a single object, one short listing of a prefix; an empty prefix is fine."""
        if self._place.is_single:
            head(self._client, self._single())
        else:
            query = [("list-type", "2"), ("max-keys", "1"), ("prefix", self._place.path)]
            self._client.call("s3.ListObjectsV2", "GET", query=query).xml("s3.ListObjectsV2")

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List in the order of names, page by page; a prefix's own marker object has no name: left out."""
        if self._place.is_single:
            single = self._single()
            if start_after is None or single.name > start_after:
                yield head(self._client, single)
            return
        root = self._place.root
        after = None if start_after is None else root + start_after
        for found in pages(self._client, self._place.path, after=after):
            if not found.key.startswith(self._place.path):
                raise ProtocolError("the listing has a key of another prefix", operation="s3.ListObjectsV2")
            if found.key not in {root, after}:
                yield dataclasses.replace(found, name=found.key[len(root) :]) if root else found

    def reader(self) -> S3Reader:
        """Open a worker's reader, on a connection of its own."""
        return S3Reader(Client(self._place, self._network), Client(self._place, self._network))

    def abort(self) -> None:
        """Make a blocked listing or probe fail at once. Any thread."""
        self._client.abort()

    def close(self) -> None:
        """Close the listing's connection."""
        self._client.drop()

    def named(self, name: str) -> ObjectInfo:
        """Return the object of a name below the prefix; one that is a prefix's marker has none.

        Raises:
            AddressError: It is not below the prefix.
        """
        key = self._place.root + name
        if not name or not key.startswith(self._place.path):
            raise AddressError("there is no object of that name below this prefix")
        return ObjectInfo(name=name, key=key, size_bytes=None)

    def _single(self) -> ObjectInfo:
        """The one object, before it is looked up."""
        key = self._place.path
        version = self._place.version_id
        return ObjectInfo(name=key.rsplit("/", 1)[-1], key=key, size_bytes=None, version_id=version)


def pages(client: Client, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
    """List all objects of a prefix after a key, asking for the next page when it is needed.

    Each key must lead further: what is planned, and where a crash goes on, is told by the last one, so that
    others would be lost; and a server that repeats itself, in circles of whatever length, would be followed
    for ever.

    Raises:
        ProtocolError: A key leads back, or pages nowhere for too long.
    """
    token: str | None = None
    furthest = ""
    empty = 0
    while True:
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", _PAGE), ("prefix", prefix)]
        if token is not None:
            query.append(("continuation-token", token))
        elif after is not None:
            query.append(("start-after", after))
        reply = client.call("s3.ListObjectsV2", "GET", query=query)
        page = replies.listing(reply.xml("s3.ListObjectsV2"))
        empty = 0 if page.objects else empty + 1
        for found in page.objects:
            if found.key <= furthest:
                raise ProtocolError(
                    "the listing goes in circles, or not in the order of its keys",
                    operation="s3.ListObjectsV2",
                )
            furthest = found.key
            if after is None or found.key > after:  # some servers begin at the beginning all the same
                yield found
        if page.next_token is None:
            return
        if page.next_token == token or empty > MAX_EMPTY_PAGES:
            raise ProtocolError("the listing goes in circles", operation="s3.ListObjectsV2")
        token = page.next_token


class S3Reader:
    """One worker's connection to a source.

    Args:
        client: For objects.
        aside: For what is asked while a body is being read; it dials when that is needed.
    """

    def __init__(self, client: Client, aside: Client) -> None:
        self._client = client
        self._aside = aside
        self._versions = Versions(aside, client.place.version_id)
        self._tag_versions = Versions(aside, client.place.version_id)

    def stat(self, info: ObjectInfo) -> ObjectInfo:
        """HEAD, attributes and stored checksum included; of the planned version, if it is still there."""
        try:
            return self._versions.read(info, self._head)
        except SourceChangedError:
            return head(self._client, info)

    def open(self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None) -> ReplyBody:
        """GET a range of the version that ``info`` names; the reply is compared with what was asked.

        Raises:
            SourceChangedError: Another version answers.
            WrongRangeError: Another range answers.
        """
        return self._versions.read(info, lambda it: self._open(it, offset_bytes, length_bytes))

    def _head(self, info: ObjectInfo) -> ObjectInfo:
        found = head(self._client, info)
        if None not in {info.validator, found.validator} and info.validator != found.validator:
            raise SourceChangedError(
                f"{self._client.where(info.key)}: another ETag", operation="s3.HeadObject"
            )
        return found

    def _open(self, info: ObjectInfo, offset_bytes: int, length_bytes: int | None) -> ReplyBody:
        asked = _Asked.of(info, offset_bytes, length_bytes)
        headers = dict(_CHECKSUM_MODE) if asked.range_header is None else {"Range": asked.range_header}
        if info.validator is not None:
            headers["If-Match"] = f'"{info.validator}"'
        query = version_query(info.version_id)
        response = self._client.open("s3.GetObject", key=info.key, query=query, headers=headers)
        try:
            described_as, length = asked.compare(self._client.where(info.key), response)
        except BaseException:
            response.close()
            self._client.drop()
            raise
        return ReplyBody(response, described_as, length, operation="s3.GetObject", drop=self._client.drop)

    def tags(self, info: ObjectInfo) -> tuple[tuple[str, str], ...]:
        """GetObjectTagging of the version that ``info`` names.

        Raises:
            AccessDeniedError: Those of the version may not be asked for, and another one is current now.
            ProtocolError: More than an object can have.
        """
        operation = "s3.GetObjectTagging"

        def ask(it: ObjectInfo) -> tuple[tuple[str, str], ...]:
            query = [("tagging", ""), *version_query(it.version_id)]
            reply = self._aside.call(operation, "GET", key=it.key, query=query)
            answers = _version(reply.headers.get("x-amz-version-id"))
            if None not in {answers, info.version_id} and answers != info.version_id:
                raise AccessDeniedError(
                    f"{self._client.where(it.key)}: the tags of another version answer", operation=operation
                )
            return replies.tags(reply.xml(operation))

        return self._tag_versions.read(info, ask)

    def abort(self) -> None:
        """Shut the connections. Any thread."""
        self._client.abort()
        self._aside.abort()

    def close(self) -> None:
        """Close the connections."""
        self._client.drop()
        self._aside.drop()


class _Asked(AskedRange):
    """What was asked for, to compare the reply with."""

    __slots__ = ()

    def compare(self, where: str, response: PinnedResponse) -> tuple[ObjectInfo, int | None]:
        """Compare a reply with what was asked; return the object it describes and the body's length.

        Raises:
            SourceChangedError: Another ETag, version or total size.
            WrongRangeError: Another status, range or length.
        """
        operation = "s3.GetObject"
        length = replies.content_length(response.headers)
        content_range = response.headers.first.get("content-range")
        if self.range_header is None:
            total = length
            if response.status != http.HTTPStatus.OK or content_range is not None:
                raise WrongRangeError(
                    f"{where}: a range answers a request for the whole", operation=operation
                )
        else:
            total = self._compare_range(where, content_range, length)
        found = described(self.info, response.headers, size_bytes=total)
        was = self.info
        if was.validator is not None and found.validator != was.validator:
            raise SourceChangedError(
                f"{where}: the ETag is another one than when it began", operation=operation
            )
        if was.version_id and found.version_id and found.version_id != was.version_id:
            raise SourceChangedError(f"{where}: another version answers", operation=operation)
        if was.size_bytes is not None and total is not None and total != was.size_bytes:
            raise SourceChangedError(
                f"{where}: it has {total} bytes now and had {was.size_bytes}", operation=operation
            )
        return found, length

    def _compare_range(self, where: str, content_range: str | None, length: int | None) -> int | None:
        """Compare a ranged reply; return the object's total size.

        A status of 200 with the right ``Content-Range`` is let pass: rclone's server answers so.
        """
        operation = "s3.GetObject"
        match = _CONTENT_RANGE.fullmatch(content_range or "")
        if match is None:
            raise WrongRangeError(f"{where}: the server ignored the range asked for", operation=operation)
        first, last = int(match[1]), int(match[2])
        end_is_right = self.end_bytes is None or last == self.end_bytes - 1
        if first != self.offset_bytes or not end_is_right or length != last - first + 1:
            raise WrongRangeError(
                f"{where}: asked for {self.range_header}, got {content_range} with {length} bytes",
                operation=operation,
            )
        return None if match[3] == "*" else int(match[3])
