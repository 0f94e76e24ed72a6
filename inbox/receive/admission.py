"""The admission control of the receiver: how many requests it works on, and how many bytes of bodies it keeps.

A request that finds no room is refused at once, so memory use stays bounded. What no secret has proved yet gets a part
of the room only, and addresses share that part: a body that still arrives is taken back when others need its room.
"""

from collections.abc import Callable
from threading import Condition, Lock

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import StoreUnavailable
from inbox.verify.event_key import network

PROVEN_FREE = 2
"""What no secret has proved uses one part in so many of the room at most."""

PROBE = 65_536
"""Bytes of the body for which `/readyz` asks for room."""

LARGE = 32_768
"""Bytes; a larger body is verified and parsed in a thread, when its turn comes: it takes longer than others should have
to wait."""

PARSED_AT_ONCE = 4 * 2**20
"""Bytes of large bodies that are parsed at the same time: as objects they can take 26 times as much memory."""


TAKEN_BACK = "the room of this body, which was still arriving, was needed for others"


class Reservation:
    """One request's place in the room. `remote` is the client's address.

    `interrupt` ends the wait for the rest of a body that was taken back. A thread that reads cannot be interrupted: its
    next `grow` fails.
    """

    __slots__ = ("_remote", "_room", "inside", "interrupt", "parsing", "proven", "share", "size", "taken_back")

    def __init__(self, room: "AdmissionControl", remote: str) -> None:
        self._room = room
        self._remote = remote
        self.size = self.inside = self.parsing = 0
        self.proven = self.taken_back = False
        self.share: _Share | None = None
        self.interrupt: Callable[[], None] | None = None

    @property
    def address(self) -> str:
        """Return the address whose share of the room the request uses."""
        return network(self._remote)

    def grow(self, size: int, *, more: bool) -> None:
        """Count so many more bytes of the body; `more` of it may follow. Raises StoreUnavailable."""
        self._room.grow(self, size, more)

    def enter(self, *, proven: bool) -> None:
        """Count the request as one that is worked on. Raises StoreUnavailable."""
        self._room.enter(self, proven)

    def parse(self) -> None:
        """Wait until a large body may be parsed."""
        if self.size > LARGE:
            self._room.parse(self)

    def parsed(self) -> None:
        """Let others parse."""
        if self.parsing:
            self._room.parsed(self)

    def end(self) -> None:
        """Leave, whether the request entered or not."""
        if self.parsing:
            self._room.parsed(self)
        self._room.leave(self)


class _Share:
    """The unproven bodies of one address that still arrive, oldest first, and their bytes."""

    __slots__ = ("address", "size", "stays")

    def __init__(self, address: str) -> None:
        self.address = address
        self.size = 0
        self.stays: dict[Reservation, None] = {}


class AdmissionControl:
    """Has place for `max_in_flight` requests and `max_in_flight_bytes` of bodies; one body alone may have more.

    A body that arrives counts with the bytes that have come, so a sender that announces much or sends slowly blocks
    nobody. Any thread may call; an `interrupt` runs in the thread that needs the room.
    """

    def __init__(self, server: ServerSettings) -> None:
        self._most, self._most_bytes = server.max_in_flight, server.max_in_flight_bytes
        self._part_bytes = server.max_in_flight_bytes // PROVEN_FREE
        self._mutex = Lock()
        self._requests = self._bytes = 0
        self._unproven_requests = self._unproven_bytes = 0
        self._shares: dict[str, _Share] = {}
        self._parsing = 0
        self._parsed = Condition()

    def grow(self, stay: Reservation, size: int, more: bool) -> None:
        """See Reservation. Takes room back from unproven bodies that still arrive, if that helps."""
        with self._mutex:
            if stay.taken_back:
                raise StoreUnavailable(TAKEN_BACK)
            if self._bytes + size > self._part_bytes and (problem := self._lacks(size, stay.size, stay.proven)):
                self._make_room(stay, size, problem)
            stay.size += size
            self._bytes += size
            if not stay.proven:
                self._unproven_bytes += size
                if stay.share is not None:
                    stay.share.size += size
                if more != (stay.share is not None):
                    self._join(stay) if more else self._part(stay)

    def enter(self, stay: Reservation, proven: bool) -> None:
        """See Reservation."""
        with self._mutex:
            if problem := self._crowded(proven):
                raise StoreUnavailable(problem)
            if stay.share is not None:
                self._part(stay)
            if proven and not stay.proven:
                self._unproven_bytes -= stay.size
            stay.proven, stay.inside = proven, 1
            self._requests += 1
            self._unproven_requests += not proven

    def leave(self, stay: Reservation) -> None:
        """See Reservation."""
        with self._mutex:
            self._empty(stay)
            self._requests -= stay.inside
            self._unproven_requests -= 0 if stay.proven else stay.inside
            stay.inside = 0

    def check(self) -> None:
        """Raise StoreUnavailable if a sender that proves itself with its body would be refused now."""
        with self._mutex:
            to_take = sum(share.size for share in self._shares.values())
            problem = self._crowded(proven=True) or self._lacks(PROBE, to_take, proven=False, freed=to_take)
        if problem:
            raise StoreUnavailable(problem)

    def parse(self, stay: Reservation) -> None:
        """See Reservation."""
        with self._parsed:
            self._parsed.wait_for(lambda: not self._parsing or self._parsing + stay.size <= PARSED_AT_ONCE)
            stay.parsing = stay.size
            self._parsing += stay.parsing

    def parsed(self, stay: Reservation) -> None:
        """See Reservation."""
        with self._parsed:
            self._parsing -= stay.parsing
            stay.parsing = 0
            self._parsed.notify_all()

    def _lacks(self, size: int, own: int, proven: bool, freed: int = 0) -> str:
        """Return what is in the way of so many bytes beside the `own` ones, "" if nothing is."""
        if size and self._bytes > own and self._bytes + size - freed > self._most_bytes:
            return f"requests with {self._bytes} bytes are being worked on"
        mine = self._unproven_bytes + size - freed
        if size and not proven and self._unproven_bytes > own and mine > self._part_bytes:
            return f"requests with {self._unproven_bytes} bytes that prove nothing yet are being worked on"
        return ""

    def _crowded(self, proven: bool) -> str:
        if self._requests >= self._most:
            return f"{self._requests} requests are being worked on"
        if not proven and self._unproven_requests >= max(1, self._most // PROVEN_FREE):
            return f"{self._unproven_requests} requests that prove nothing are being worked on"
        return ""

    def _make_room(self, stay: Reservation, size: int, problem: str) -> None:
        """Take bodies back until the bytes fit. Raises StoreUnavailable, and takes none back if that would not help."""
        others = sum(share.size for share in self._shares.values()) - (stay.size if stay.share is not None else 0)
        if self._lacks(size, stay.size + others, stay.proven, freed=others):
            raise StoreUnavailable(problem)
        while self._lacks(size, stay.size, stay.proven):
            victim = self._victim(stay, size)
            if victim is None:
                raise StoreUnavailable(problem)
            self._take_back(victim)

    def _victim(self, stay: Reservation, size: int) -> Reservation | None:
        """Return the oldest arriving body of the address that has most; None if that would be this one."""
        if not self._shares:
            return None
        share = max(self._shares.values(), key=lambda share: share.size)
        if not stay.proven and stay.address != share.address:
            own = self._shares.get(stay.address)
            beside = 0 if stay.share is not None else stay.size
            if (own.size if own is not None else 0) + beside + size > share.size:
                if own is None:
                    return None
                share = own
        oldest = next(iter(share.stays))
        return None if oldest is stay else oldest

    def _take_back(self, stay: Reservation) -> None:
        self._empty(stay)
        stay.taken_back = True
        if stay.interrupt is not None:
            stay.interrupt()

    def _empty(self, stay: Reservation) -> None:
        if stay.share is not None:
            self._part(stay)
        self._bytes -= stay.size
        self._unproven_bytes -= 0 if stay.proven else stay.size
        stay.size = 0

    def _join(self, stay: Reservation) -> None:
        address = stay.address
        share = stay.share = self._shares.setdefault(address, _Share(address))
        share.stays[stay] = None
        share.size += stay.size

    def _part(self, stay: Reservation) -> None:
        share, stay.share = stay.share, None
        assert share is not None
        del share.stays[stay]
        share.size -= stay.size
        if not share.stays:
            del self._shares[share.address]
