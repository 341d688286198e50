"""Results of other threads reach those who wait in the event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from dataferry.api.orchestration.handover import Handover


def test_each_gets_its_own_result_or_error() -> None:
    """Hundreds that come at once, in any order; who has given up is left out."""

    async def wait() -> list[int | BaseException]:
        handover = Handover()
        awaited: list[Future[int]] = [Future() for _ in range(300)]
        waiting = [asyncio.ensure_future(handover.result(future)) for future in awaited]
        await asyncio.sleep(0)
        waiting[7].cancel()

        def finish() -> None:
            for number, future in reversed(list(enumerate(awaited))):
                if number == 5:
                    future.set_exception(ValueError("five"))
                else:
                    future.set_result(number)

        thread = threading.Thread(target=finish)
        thread.start()
        found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)
        thread.join()
        return found

    found = asyncio.run(wait())
    assert isinstance(found[5], ValueError)
    assert isinstance(found[7], asyncio.CancelledError)
    assert [number for number in range(300) if number not in {5, 7}] == [
        one for one in found if isinstance(one, int)
    ]


def test_what_is_done_already_is_handed_over() -> None:
    """Also an error."""

    async def wait() -> int:
        handover = Handover()
        done: Future[int] = Future()
        done.set_result(1)
        failed: Future[int] = Future()
        failed.set_exception(KeyError("x"))
        with pytest.raises(KeyError):
            await handover.result(failed)
        return await handover.result(done)

    assert asyncio.run(wait()) == 1
