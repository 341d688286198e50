"""Socket calls that return at once, and keep the interpreter meanwhile.

Python's own give it up around each call. Where the kernel only has to take some bytes, or to say that there
are none, another thread has it by then, and the caller stands in line to have it back: for small objects that
takes longer than the call.

Linux and macOS; TLS has buffers of its own and goes without.
"""

from __future__ import annotations

import ctypes
import errno
import socket

# More would keep others from the interpreter for as long as they are copied.
MAX_BYTES = 64 * 1024
_SEND_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
_PEEK_FLAGS = socket.MSG_DONTWAIT | socket.MSG_PEEK
_NOTHING = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})
_library = ctypes.PyDLL(None, use_errno=True)
_send, _recv = _library.send, _library.recv
for _function in (_send, _recv):
    _function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    _function.restype = ctypes.c_ssize_t
_room = ctypes.create_string_buffer(1)


def send(sock: socket.socket, data: bytes) -> int:
    """Return how many bytes the kernel took; 0 also where the ordinary call has to say what is wrong."""
    return max(0, int(_send(sock.fileno(), data, len(data), _SEND_FLAGS)))


def has_news(sock: socket.socket) -> bool:
    """Return True if there is something to read, or the other side has closed, or the connection is lost."""
    if _recv(sock.fileno(), _room, 1, _PEEK_FLAGS) >= 0:
        return True
    return ctypes.get_errno() not in _NOTHING
