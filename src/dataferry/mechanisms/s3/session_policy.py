"""What temporary credentials may do: the session policy of a grant, narrowed to its bucket, key or prefix.

A session policy can only take away: what holds is what the role, or the user, may do *and* the policy allows.
So an action that is missing here is refused, whatever the role may.

Source: IAM User Guide, "Session policies", "IAM JSON policy elements: Resource", "Wildcards in resource
ARNs"; Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3".
"""

from __future__ import annotations

import json
from typing import Any

from dataferry.domain.errors import UnsupportedError
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3.address import Place

MAX_POLICY_CHARS = 2048  # Source: AWS STS API Reference, "AssumeRole", parameter Policy
# They mean something in a policy. What writes them as themselves (``${*}``) is Amazon's alone: other stores
# take it for a pattern, and would open more than was granted.
_MEANINGFUL = ("*", "?", "${")
_VERSION = "2012-10-17"


def session_policy(place: Place, mode: GrantMode) -> str:
    """Return the policy that lets the other side do what a flow needs there, and nothing else.

    Raises:
        UnsupportedError: The path has characters that a policy can't hold as themselves, or it is too long.
    """
    _refuse_patterns(place)
    statements = _reading(place) if mode is GrantMode.READ else _writing(place)
    text = json.dumps({"Version": _VERSION, "Statement": statements}, separators=(",", ":"))
    if len(text) > MAX_POLICY_CHARS:
        raise UnsupportedError(
            f"the path is too long for a session policy ({len(text)} characters; {MAX_POLICY_CHARS} are"
            " allowed): grant a shorter prefix, or offer it by http-pull",
            operation="s3.grant",
        )
    return text


def _refuse_patterns(place: Place) -> None:
    found = [text for text in _MEANINGFUL if text in place.path]
    if found:
        raise UnsupportedError(
            f"the path has {' and '.join(found)}, which a session policy takes for a pattern, so that the"
            " grant would open other objects too: grant another path, or offer it by http-pull",
            operation="s3.grant",
        )


def _reading(place: Place) -> list[dict[str, Any]]:
    """One object, one version of one, or all below a prefix and their listing."""
    version = place.version_id
    actions = ["s3:GetObjectVersion"] if version else ["s3:GetObject", "s3:GetObjectVersion"]
    if place.tags:
        actions += ["s3:GetObjectVersionTagging"] if version else ["s3:GetObjectTagging"]
    statements = [_objects(place, actions)]
    if version:
        statements[0]["Condition"] = {"StringEquals": {"s3:versionid": version}}
    if not place.is_single:
        statements.append(_bucket(place, "s3:ListBucket"))
    return statements + _key(place, ["kms:Decrypt"])


def _writing(place: Place) -> list[dict[str, Any]]:
    """Objects and their parts; nothing that is there can be read, listed or deleted.

    Open uploads can't be listed below a prefix only: Amazon knows no such condition, MinIO refuses it. So
    only who is granted the whole bucket may list them; the names of others' uploads are none of theirs.
    """
    actions = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    if place.tags:
        actions.append("s3:PutObjectTagging")
    statements = [_objects(place, actions)]
    if not place.path:
        statements.append(_bucket(place, "s3:ListBucketMultipartUploads"))
    return statements + _key(place, ["kms:GenerateDataKey", "kms:Decrypt"])


def _objects(place: Place, actions: list[str]) -> dict[str, Any]:
    resource = f"{_arn(place)}/{_pattern(place)}"
    return {"Effect": "Allow", "Action": actions, "Resource": [resource]}


def _bucket(place: Place, action: str) -> dict[str, Any]:
    """Something that is asked of the bucket: only for keys that begin like the place's."""
    statement = {"Effect": "Allow", "Action": [action], "Resource": [_arn(place)]}
    if not place.path:
        return statement
    return {**statement, "Condition": {"StringLike": {"s3:prefix": [_pattern(place)]}}}


def _key(place: Place, actions: list[str]) -> list[dict[str, Any]]:
    """Use of the key that seals the objects, only in the store's hands."""
    arn = None if place.sts is None else place.sts.kms_key_arn
    if arn is None:
        return []
    via = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
    return [{"Effect": "Allow", "Action": actions, "Resource": [arn], "Condition": via}]


def _pattern(place: Place) -> str:
    return place.path if place.is_single else f"{place.path}*"


def _arn(place: Place) -> str:
    """Name the bucket, in the partition of its region."""
    region = place.server.region
    partition = (
        "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    )
    return f"arn:{partition}:s3:::{place.bucket}"
