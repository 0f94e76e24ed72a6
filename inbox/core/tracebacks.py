"""What handler code raised → plain text. Neither the exception nor its text can be trusted: either may raise again."""

import asyncio
import importlib
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType

LONGEST = 8000
"""Characters that are kept: the last ones."""

_OURS = (*(str(Path(module.__file__ or "").parent) for module in (asyncio, importlib)), str(Path(__file__).parents[1]))


def described(error: BaseException) -> str:
    """Return the traceback from the handler's own code on, at most LONGEST characters of it.

    Runs code of the handler (`__str__`, `__notes__`), so it belongs inside the handler's time-out. Whatever that code
    raises becomes text.
    """
    frames, text = None, ""
    try:
        frames = _from_handler(error.__traceback__)
        text = "".join(traceback.format_exception(type(error), error, frames))
    except BaseException as problem:
        with suppress(BaseException):
            text = "".join(traceback.format_tb(frames))
        text += f"{type.__repr__(type(error))}, whose text cannot be made: {type.__repr__(type(problem))}\n"
    return text[-LONGEST:]


def _from_handler(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames that led to the handler: ours, asyncio's and those of the import system."""
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith((*_OURS, "<frozen importlib")):
        frames = frames.tb_next
    return frames
