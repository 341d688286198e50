"""The proxies that a user's environment names, for ``dataferry copy``; the service takes none from there."""

from __future__ import annotations

from collections.abc import Mapping

from dataferry.domain.errors import ConfigError
from dataferry.net.egress import HostPatterns
from dataferry.net.routes import Proxies, Proxy


def environment_proxies(environ: Mapping[str, str]) -> Proxies:
    """Read ``https_proxy``, ``http_proxy``, ``all_proxy`` and ``no_proxy``, in either case, as curl does.

    ``HTTP_PROXY`` is not read where the program answers web requests (``REQUEST_METHOD``): there a ``Proxy``
    header of the request would set it.
    """

    def value(name: str) -> str | None:
        if name == "http_proxy" and "REQUEST_METHOD" in environ:
            return environ.get(name) or None
        return environ.get(name) or environ.get(name.upper()) or None

    try:
        return Proxies(
            https=_proxy(value("https_proxy") or value("all_proxy")),
            http=_proxy(value("http_proxy") or value("all_proxy")),
            direct=_direct(value("no_proxy") or ""),
        )
    except ConfigError as error:
        return Proxies(
            fault=ConfigError(f"the environment names a proxy that can't be used: {error.message}")
        )


def _proxy(url: str | None) -> Proxy | None:
    return None if url is None else Proxy.of_environment(url)


def _direct(text: str) -> HostPatterns:
    """Read ``no_proxy``: a name stands for its subdomains too, ``*`` for everything; ports are left out."""
    patterns: list[str] = []
    for entry in text.replace(",", " ").split():
        name = entry if entry.startswith("[") or entry.count(":") > 1 else entry.partition(":")[0]
        name = name.strip("[]")
        stem = name.removeprefix("*").removeprefix(".")
        if name == "*" or not stem or "/" in name or ":" in name:
            patterns += [name] if name else []
        else:
            patterns += [stem, f"*.{stem}"]
    return HostPatterns(patterns)
