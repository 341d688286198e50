"""How places in S3 are written, and what they are once read.

``s3://bucket[/key]`` is plain text: every character of the key is itself. ``http(s)://host/bucket[/key]``
is a URL: the key is percent-decoded, and queries and fragments are refused. ``?versionId=ID`` at the end of
the former, and of a path in a location, names a version. A path that is empty or ends in ``/``, or came as
``objectPrefix``, is a prefix; else it is one object.

``.`` and ``..`` as segments of a key are refused everywhere: S3 takes them as plain characters, but many
servers and proxies normalise them away, and then the bytes would land elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import unquote, urlsplit

from dataferry.domain.errors import AddressError
from dataferry.domain.location import Provenance
from dataferry.mechanisms.s3.attributes import Storing
from dataferry.mechanisms.s3.signing import Credentials, encode_path
from dataferry.net.connections import DEFAULT_PORTS
from dataferry.net.routes import USUAL, Route

DEFAULT_REGION = "us-east-1"
MAX_KEY_BYTES = 1024  # Source: Amazon S3 User Guide, "Naming Amazon S3 objects"
ADDRESSING_STYLES = ("auto", "path", "virtual")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_SUFFIX = re.compile(r"\?versionId=([^/]*)\Z")
_VERSION = re.compile(r"[A-Za-z0-9._~+=-]{1,1024}")
_DOTS = frozenset({".", ".."})
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An S3 endpoint: where requests go, and how the bucket is named in them."""

    scheme: str
    host: str
    port: int
    base_path: str = ""
    region: str = DEFAULT_REGION
    virtual: bool = False

    @property
    def url(self) -> str:
        """The endpoint as it is configured, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if DEFAULT_PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.base_path}"

    @classmethod
    def of(cls, url: str | None, *, region: str | None, style: str = "auto", bucket: str = "") -> Server:
        """Read an endpoint URL; None is Amazon's of the region.

        Raises:
            AddressError: It is not ``http(s)://host[:port][/path]``, or the region or style is none.
        """
        region = region or DEFAULT_REGION
        if not _REGION.fullmatch(region):
            raise AddressError("the region has characters that no region has")
        if style not in ADDRESSING_STYLES:
            raise AddressError(f"addressing_style is one of {', '.join(ADDRESSING_STYLES)}")
        virtual = style == "virtual" or (style == "auto" and url is None and "." not in bucket)
        scheme, host, port, path = split_url(url or f"https://s3.{region}.amazonaws.com")
        return cls(
            scheme=scheme, host=host, port=port, base_path=path.rstrip("/"), region=region, virtual=virtual
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An endpoint of this mechanism: server, bucket, and a key or prefix.

    Attributes:
        path: The key or the prefix; empty is the whole bucket.
        server_side_copy: The store may be asked to copy by itself.
        version_id: The one version that is meant; None is the current one.
        exact_keys: The server keeps ``a//b`` and ``a/b`` apart, as Amazon does; said by the operator.
        credentials: Gives those of the moment; ambient ones renew themselves.
        storing: How objects written there are kept.
        tags: Whether tags are asked for and sent.
        route: What the operator says about the way there.
        share: What a grant hands out, where no token service makes it; None if the location names nothing.
        sts: The token service that makes what a grant hands out; None if there is none.
        expires_at: When the credentials end, where the address says so; UTC.
    """

    server: Server
    bucket: str
    path: str
    is_single: bool
    provenance: Provenance
    credentials: Callable[[], Credentials] = field(repr=False, compare=False)
    version_id: str | None = None
    payload_signing: bool = False
    exclusive: bool = False
    exact_keys: bool = False
    server_side_copy: bool = True
    storing: Storing = field(default_factory=Storing)
    tags: bool = True
    route: Route = field(default=USUAL, compare=False)
    share: Share | None = field(default=None, repr=False)
    sts: TokenService | None = field(default=None, repr=False, compare=False)
    expires_at: datetime | None = field(default=None, compare=False)
    mechanism: str = "s3"

    @property
    def root_identity(self) -> str:
        """Endpoint and bucket: equal for the same bucket, however it is addressed."""
        return f"s3+{self.server.url}/{self.bucket}"

    @property
    def identity(self) -> str:
        """Endpoint, bucket, path and version, without credentials."""
        return f"{self.root_identity}/{self.path}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return "" if self.version_id is None else f"?versionId={self.version_id}"

    @property
    def root(self) -> str:
        """What is cut off keys to make names: the prefix up to its last ``/``."""
        return self.path[: self.path.rfind("/") + 1]

    def has_expired(self, now: datetime) -> bool:
        """Return whether the credentials have ended by now; False if nobody said when they do."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def keeps_empty_segments(self) -> bool:
        """True if ``a//b`` is surely another object than ``a/b``."""
        return self.exact_keys or self.server.host.endswith(_AMAZON)

    @property
    def host(self) -> str:
        """The host to dial, the bucket's own where it is addressed so."""
        return f"{self.bucket}.{self.server.host}" if self.server.virtual else self.server.host

    def request_path(self, key: str) -> str:
        """Return the encoded path of the bucket (empty key) or of an object."""
        bucket = "" if self.server.virtual else f"/{self.bucket}"
        return encode_path(
            f"{self.server.base_path}{bucket}/{key}"
            if key or not bucket
            else f"{self.server.base_path}{bucket}"
        )

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.path}{self._suffix} at {self.server.url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the operator named for sharing: credentials, and the endpoint that the other side dials."""

    credentials: Credentials = field(repr=False)
    endpoint_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenService:
    """What gives temporary credentials (AssumeRole), as the location names it.

    Attributes:
        server: Where it is asked, and the region of the signature.
        role_arn: The role to assume; None where the service knows none: then they are of who asks.
        external_id: What the role's trust wants to hear.
        kms_key_arn: The key that seals the objects, which holders of a grant may use by way of the store.
        endpoint_url: Where those who hold a grant find the store.
    """

    server: Server
    role_arn: str | None
    external_id: str | None
    kms_key_arn: str | None
    endpoint_url: str


def split_url(url: str) -> tuple[str, str, int, str]:
    """Part ``http(s)://host[:port]/path`` into scheme, host, port and undecoded path.

    Raises:
        AddressError: It is another kind of URL, or has a user, query or fragment.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise AddressError("the endpoint is not a URL") from exc
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise AddressError("the endpoint must be http(s)://host[:port]/...")
    if not _HOST.fullmatch(parts.hostname):
        raise AddressError("the endpoint's host is not a host name (write international names in punycode)")
    if parts.username is not None or parts.query or parts.fragment or "?" in url or "#" in url:
        raise AddressError("the endpoint must have no user, query or fragment (write ? in a key as %3F)")
    return parts.scheme, parts.hostname.rstrip("."), port or DEFAULT_PORTS[parts.scheme], parts.path


def checked_bucket(bucket: str) -> str:
    """Return a bucket's name.

    Raises:
        AddressError: It can't be one.
    """
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise AddressError(f"{bucket[:80]!r} can't be a bucket: 3 or more letters, digits, dots and dashes")
    return bucket


def checked_key(key: str) -> str:
    """Return a key or prefix.

    Raises:
        AddressError: It has ``.`` or ``..`` as a segment, NUL, or is longer than 1,024 bytes of UTF-8.
    """
    try:
        length = len(key.encode())
    except UnicodeEncodeError as exc:
        raise AddressError("the key is not valid Unicode") from exc
    if length > MAX_KEY_BYTES:
        raise AddressError(f"the key is {length} bytes long; S3 takes {MAX_KEY_BYTES}")
    if "\0" in key:
        raise AddressError("the key has a NUL character")
    if not _DOTS.isdisjoint(key.split("/")):
        raise AddressError(
            f"the key {key[:200]!r} has '.' or '..' as a segment, which servers resolve differently"
        )
    return key


def distinct_key(place: Place, key: str) -> str:
    """Return a key to write, if no other key can be the same object at that server.

    Raises:
        AddressError: It has an empty segment, and servers that store files take ``a//b`` for ``a/b``.
    """
    if "//" in f"/{key}" and not place.keeps_empty_segments:
        raise AddressError(
            f"the key {key[:200]!r} has an empty segment, and this server may take a//b for a/b: "
            "set exact_keys = true on its location if it does not"
        )
    return key


def is_version(text: str) -> bool:
    """Say if a text can be a version's id."""
    return _VERSION.fullmatch(text) is not None


def split_version(path: str) -> tuple[str, str | None]:
    """Part ``key?versionId=ID`` into key and version; without the suffix all is key.

    Raises:
        AddressError: The suffix is there, and its id can't be one.
    """
    found = _SUFFIX.search(path)
    if found is None:
        return path, None
    return path[: found.start()], checked_version(found[1])


def checked_version(version_id: str) -> str:
    """Return a version's id.

    Raises:
        AddressError: It can't be one.
    """
    if not is_version(version_id):
        raise AddressError("versionId has characters that no version's id has, or none at all")
    return version_id


def is_prefix(path: str) -> bool:
    """Say if a path, as written, names a prefix."""
    return not path or path.endswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A bucket and path as an address wrote them; ``endpoint_url`` where the address named one."""

    bucket: str
    path: str
    is_single: bool
    endpoint_url: str | None = None
    version_id: str | None = None

    @classmethod
    def plain(cls, bucket: str, path: str) -> Written:
        """Take bucket and path as they are.

        Raises:
            AddressError: They can't be ones.
        """
        return cls(bucket=checked_bucket(bucket), path=checked_key(path), is_single=not is_prefix(path))

    @classmethod
    def versioned(cls, bucket: str, path: str) -> Written:
        """Take a bucket and a path that may end in ``?versionId=ID``.

        Raises:
            AddressError: They can't be ones.
        """
        key, version_id = split_version(path)
        return replace(cls.plain(bucket, key), version_id=version_id).checked()

    def checked(self) -> Written:
        """Return it.

        Raises:
            AddressError: It is a version of more than one object.
        """
        if self.version_id is not None and not self.is_single:
            raise AddressError("versionId names a version of one object, and the path is a prefix")
        return self


def parse_s3_url(url: str) -> Written:
    """Read ``s3://bucket[/key[?versionId=ID]]``; all else is plain text.

    Raises:
        AddressError: It is none.
    """
    scheme, separator, rest = url.partition("://")
    if scheme.lower() != "s3" or not separator:
        raise AddressError("the address must be s3://bucket[/key]")
    bucket, _, path = rest.partition("/")
    return Written.versioned(bucket, path)


def parse_http_url(url: str, bucket: str | None) -> Written:
    """Read ``http(s)://host/bucket[/key]``; with ``bucket`` known, also the bare ``http(s)://host``.

    Raises:
        AddressError: It is none, or names another bucket.
    """
    scheme, host, port, path = split_url(url)
    server = Server(scheme=scheme, host=host, port=port)
    first, _, key = (
        unquote(path, errors="strict").removeprefix("/").partition("/") if _decodes(path) else ("", "", "")
    )
    if bucket is not None and first not in {"", bucket}:
        raise AddressError(f"the endpoint's path and bucketName name different buckets: {bucket[:80]!r}")
    return Written(
        bucket=checked_bucket(bucket or first),
        path=checked_key(key),
        is_single=not is_prefix(key),
        endpoint_url=server.url,
    )


def _decodes(path: str) -> bool:
    """Return True if a path's percent-escapes are UTF-8.

    Raises:
        AddressError: They are not.
    """
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError as exc:
        raise AddressError("the endpoint's path is not percent-encoded UTF-8") from exc
    return True
