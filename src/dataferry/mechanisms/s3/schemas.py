"""What can be written about S3 places, as JSON Schemas (draft 2020-12)."""

from __future__ import annotations

from typing import Any

from dataferry.mechanisms.routes import ROUTE_DEPENDENCIES, ROUTE_PROPERTIES

STORAGE_CLASS = "^[A-Z][A-Z0-9_]{0,63}$"
KEY_ID = "^[A-Za-z0-9:/_+=,.@-]{1,2048}$"
# Source: AWS STS API Reference, "AssumeRole"; IAM User Guide, "IAM identifiers".
ROLE_ARN = "^arn:[a-z0-9-]{3,20}:iam::[0-9]{0,12}:role/[!-~]{1,512}$"
EXTERNAL_ID = "^[A-Za-z0-9_+=,.@:/-]{2,1224}$"
KMS_KEY_ARN = "^arn:[a-z0-9-]{3,20}:kms:[a-z0-9-]{1,64}:[0-9]{12}:key/[A-Za-z0-9-]{1,128}$"
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "description": description, **more}


def _secret(description: str) -> dict[str, Any]:
    return _text(description, writeOnly=True)


LOCATION_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "S3 location",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "endpoint_url": _text(
            "http(s)://host[:port][/path]; Amazon's of the region if absent.", pattern="^https?://"
        ),
        "region": _text("Region of the signatures.", default="us-east-1"),
        "access_key_id": _secret("Access key; the machine's ambient AWS credentials if absent."),
        "secret_access_key": _secret("Its secret."),
        "session_token": _secret("Of temporary credentials."),
        "addressing_style": {
            "enum": ["auto", "path", "virtual"],
            "default": "auto",
            "description": "Bucket in the path or in the host name; auto is virtual at Amazon, else path.",
        },
        "payload_signing": {
            "type": "boolean",
            "default": False,
            "description": "Sign bodies too: costs CPU, and holds a part per worker in memory.",
        },
        "exclusive": {
            "type": "boolean",
            "default": False,
            "description": "Nobody else uploads there: unknown uploads of our keys may be aborted.",
        },
        "exact_keys": {
            "type": "boolean",
            "default": False,
            "description": "The server keeps a//b and a/b apart, as Amazon does: then such keys are written.",
        },
        "server_side_copy": {
            "type": "boolean",
            "default": True,
            "description": "The store may copy objects by itself; false where its copies are broken.",
        },
        "storage_class": _text(
            "Of objects written there, e.g. STANDARD_IA; the bucket's own if absent.",
            pattern=STORAGE_CLASS,
        ),
        "server_side_encryption": {
            "enum": list(ENCRYPTIONS),
            "description": "AES256, aws:kms or aws:kms:dsse for objects written there; as the bucket says if"
            " absent.",
        },
        "sse_kms_key_id": _text("Key of aws:kms; the account's own if absent.", pattern=KEY_ID),
        "bucket_key_enabled": {
            "type": "boolean",
            "description": "Fewer calls to the key service with aws:kms; as the bucket says if absent.",
        },
        "tags": {
            "type": "boolean",
            "default": True,
            "description": "Objects keep their tags; false neither asks for them nor sends any.",
        },
        "share_access_key_id": _secret("Access key that grants hand out."),
        "share_secret_access_key": _secret("Its secret."),
        "share_session_token": _secret("Of temporary credentials."),
        "sts_endpoint_url": _text(
            "http(s)://host[:port][/path] of the token service that makes grants; Amazon's of the region if"
            " only sts_role_arn is given.",
            pattern="^https?://",
        ),
        "sts_role_arn": _text("Role that grants assume; MinIO and its like need none.", pattern=ROLE_ARN),
        "sts_external_id": _text("What the role's trust policy wants to hear.", pattern=EXTERNAL_ID),
        "sts_kms_key_arn": _text(
            "Key that seals the objects: a grant may use it, by way of the store only.", pattern=KMS_KEY_ARN
        ),
        "share_endpoint_url": _text(
            "What the other side dials; endpoint_url if absent.", pattern="^https?://"
        ),
        **ROUTE_PROPERTIES,
    },
    "dependentRequired": {
        "access_key_id": ["secret_access_key"],
        "secret_access_key": ["access_key_id"],
        "session_token": ["access_key_id"],
        "sse_kms_key_id": ["server_side_encryption"],
        "bucket_key_enabled": ["server_side_encryption"],
        "share_access_key_id": ["share_secret_access_key"],
        "share_secret_access_key": ["share_access_key_id"],
        "share_session_token": ["share_access_key_id"],
        "sts_external_id": ["sts_role_arn"],
        **ROUTE_DEPENDENCIES,
    },
    "allOf": [
        {
            "if": {"anyOf": [{"required": [name]} for name in ("sse_kms_key_id", "bucket_key_enabled")]},
            "then": {"properties": {"server_side_encryption": {"pattern": "^aws:"}}},
        }
    ],
}

ADDRESS_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "S3 DataAddress",
    "type": "object",
    "required": ["accessKeyId", "secretAccessKey"],
    "properties": {
        "endpointType": _text("The profile's URL, or AmazonS3."),
        "endpoint": {"type": "string", "description": "s3://bucket[/key] or http(s)://host/bucket[/key]."},
        "region": _text("Region of the signatures."),
        "endpointOverride": _text("http(s)://host[:port] of the server."),
        "bucketName": _text("The bucket, where endpoint does not name it."),
        "objectName": _text("The key, where endpoint does not name it."),
        "objectPrefix": _text("A prefix: all objects whose key begins with it."),
        "folderName": _text("Goes before objectName."),
        "versionId": _text("The version of one object that is to be read; the current one if absent."),
        "accessKeyId": _secret("Access key."),
        "secretAccessKey": _secret("Its secret."),
        "sessionToken": _secret("Of temporary credentials; token is the same."),
        "token": _secret("Of temporary credentials."),
        "expiration": _text("When the credentials end, ISO 8601."),
        "exclusive": {"enum": ["true", "false"], "description": "Nobody else uploads there."},
        "exact_keys": {"enum": ["true", "false"], "description": "The server keeps a//b and a/b apart."},
        "addressing_style": {"enum": ["auto", "path", "virtual"]},
        "storage_class": _text("Of objects written there.", pattern=STORAGE_CLASS),
        "server_side_encryption": {"enum": list(ENCRYPTIONS), "description": "Of objects written there."},
        "sse_kms_key_id": _text("Key of aws:kms.", pattern=KEY_ID),
        "bucket_key_enabled": {"enum": ["true", "false"], "description": "Fewer calls to the key service."},
    },
    "anyOf": [{"required": ["endpoint"]}, {"required": ["bucketName"]}],
}

_DATA_ADDRESS = {"type": "object", "description": "A DataAddress with credentials of its own."}
METADATA_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "S3 metadata",
    "type": "object",
    "properties": {
        "sourceBucket": _text("Bucket to read."),
        "sourceKey": {"type": "string", "description": "Key, or prefix ending in /."},
        "destinationBucket": _text("Bucket to write."),
        "destinationKey": {"type": "string", "description": "Key, or prefix ending in /."},
        "sourceDataAddress": _DATA_ADDRESS,
        "destinationDataAddress": _DATA_ADDRESS,
        "endpointProperties": {
            "type": ["object", "array"],
            "description": "region, endpointOverride and credentials for the buckets named.",
        },
    },
}
