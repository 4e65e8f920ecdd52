"""Results show themselves in a notebook: how, a family says in its ``views``; results know nothing of pictures."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from xvcore.errors import XvError
from xvcore.registry import Registry


@runtime_checkable
class Drawing(Protocol):
    """What is shown: see :class:`xvcore.notebook.figure.Figure`."""

    def _repr_html_(self) -> str: ...

    def plot(self) -> Any:
        """Draw it with matplotlib."""


views: Registry[Callable[..., Drawing]] = Registry("view of a result", "xvcore.*.views")
"""Draws a result, by the name of its class with its module."""


def view(result: type) -> Callable[[Callable[..., Drawing]], Callable[..., Drawing]]:
    """Return a decorator that files a function as what draws results of a class, and of those derived from it."""
    return views.register(_name(result))


class Shown:
    """A result that shows itself: at the end of a cell, by :meth:`figure`, or with matplotlib by :meth:`plot`."""

    __slots__ = ()

    def figure(self, images: Any = None, **options: Any) -> Drawing:
        """Return the picture of the result: self-contained HTML in a notebook.

        Parameters
        ----------
        images : what it is drawn over, RGB in [0, 1], batch × 3 × height × width; None: those it was made of, where it
            knows them
        **options : ``first``, how many images are shown; further ones are named by the family's ``views``
        """
        for each in type(self).__mro__:
            draw = views.get(_name(each))
            if draw is not None:
                return draw(self, images, **options)
        raise XvError(f"{type(self).__name__} has no view: a result is drawn by what its family registers in 'views'")

    def plot(self, images: Any = None, **options: Any) -> Any:
        """Draw the result with matplotlib (``pip install 'xv[notebook]'``) and return the axes, one a picture.

        Raises
        ------
        XvError
            matplotlib is not installed.
        """
        return self.figure(images, **options).plot()

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def _name(result: type) -> str:
    return f"{result.__module__}.{result.__qualname__}"
