"""Attributes whose assignments are counted, so that what follows from them is worked out once for each change."""

from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")


class Changing(Protocol):
    changes: int


class Counted(Generic[T]):
    """`era = Counted[Era]()` in a class with `changes: int`: each assignment of `era` adds one to it."""

    __slots__ = ("_key",)

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = f"{name} (counted)"

    @overload
    def __get__(self, instance: None, owner: Any = None) -> "Counted[T]": ...
    @overload
    def __get__(self, instance: Changing, owner: Any = None) -> T: ...
    def __get__(self, instance: Changing | None, owner: Any = None) -> "Counted[T] | T":
        if instance is None:
            return self
        value: T = instance.__dict__[self._key]
        return value

    def __set__(self, instance: Changing, value: T) -> None:
        instance.__dict__[self._key] = value
        instance.changes += 1
