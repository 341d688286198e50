"""Objects behind ``http(s)`` URLs: read with GET, written with PUT or POST.

A URL is one object. Nothing lists what lies behind a server, so a source is never more than one.
"""

from dataferry.mechanisms.http.mechanism import MECHANISM

__all__ = ["MECHANISM"]
