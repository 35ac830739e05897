"""Progress bars, and many calls at the same time under one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")


def progress_bar(console: Console, below: Callable[[], RenderableType] | None = None) -> Progress:
    """Return a progress bar that disappears at the end, with what `below` returns under it."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        TimeElapsedColumn(),
    )
    if below is None:
        return Progress(*columns, console=console, transient=True)
    return _ProgressWithPicture(*columns, console=console, transient=True, below=below)


class _ProgressWithPicture(Progress):
    def __init__(self, *columns: ProgressColumn, below: Callable[[], RenderableType], **options: Any) -> None:
        self._below = below
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield self._below()


async def run_concurrently(
    console: Console,
    what: str,
    inputs: Sequence[T],
    act: Callable[[T], Awaitable[None]],
    *,
    limit: int,
    below: Callable[[], RenderableType] | None = None,
) -> None:
    """Call `act` for each input, up to `limit` at a time. The first error cancels the other calls, and is raised.

    Args:
        console: where the progress is shown.
        what: what is done to an input, in the past: "checked in".
        inputs: the inputs.
        act: is called with each.
        limit: concurrent calls.
        below: returns a picture that is shown under the progress bar.
    """
    slots = asyncio.Semaphore(limit)
    with progress_bar(console, below) as progress:
        task = progress.add_task(what, total=len(inputs))

        async def act_in_slot(each: T) -> None:
            async with slots:
                await act(each)
            progress.advance(task)

        with raise_first_error():
            async with asyncio.TaskGroup() as group:
                for each in inputs:
                    group.create_task(act_in_slot(each))


@asynccontextmanager
async def run_beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while the block runs, and cancel it at the end. An error of `work` ends the block and is raised."""
    with raise_first_error():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            yield
            task.cancel()


@contextmanager
def raise_first_error() -> Iterator[None]:
    """Raise the first error of a task group instead of the group."""
    try:
        yield
    except ExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
