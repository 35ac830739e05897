"""What a proxy in front may pass on, compiled from the table that the gateway's own policy goes by.

The proxy keeps out what nobody outside may reach, and leaves the rest to the gateway, which decides again: who calls,
how often, and which methods a path has.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from portico.gateway.export.route_classes import ForwardLimits, Shape
from portico.gateway.pages import INTERNAL
from portico.gateway.policy import Policy
from portico.gateway.routes import WEBSOCKET

ANY_METHOD = frozenset[str]()
"""stands for every method in a Rule"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of the list of what is kept back: the first that fits the method and the path counts."""

    methods: frozenset[str]
    shape: Shape
    kept_back: bool


class Surface:
    """What there is from outside, and how it is carried.

    Args:
        shapes: All shapes of paths, in the order in which they count.
        usual: How a path is carried where nothing else is said.
    """

    def __init__(self, shapes: Sequence[Shape], usual: ForwardLimits) -> None:
        self.shapes = tuple(shapes)
        self.usual = usual

    @classmethod
    def of(cls, policy: Policy, internal: Collection[str] = INTERNAL) -> "Surface":
        """What `policy` lets pass, without those of the gateway's own pages that are `internal`."""
        limits = policy.limits
        pages = [Shape(path, page=True, internal=path in internal) for path in policy.own]
        routed = [Shape.of(methods, limits) for methods in policy.table.entries()]
        reachable = [shape for shape in routed if shape.template not in policy.own]
        return cls([*pages, *reachable], ForwardLimits(limits.body_limit, limits.timeout))

    @property
    def known(self) -> list[Shape]:
        """The shapes that have anything for outside."""
        return [shape for shape in self.shapes if shape.is_known]

    @property
    def unusual(self) -> list[Shape]:
        """Those that are carried in another way, with those that would be taken for one of them, in order."""
        chosen: list[Shape] = []
        for shape in reversed(self.known):
            if self.carriage(shape) != self.usual or any(shape.meets(other) for other in chosen):
                chosen.insert(0, shape)
        return chosen

    @property
    def rules(self) -> list[Rule]:
        """Which methods are kept back of the paths that are known."""
        return [rule for shape in self.shapes for rule in self._rules(shape)]

    def carriage(self, shape: Shape) -> ForwardLimits:
        """How paths of `shape` are carried, whichever the method: as all that it may lead to needs.

        A proxy chooses by the path alone. What is narrower for one of its methods, the gateway holds.
        """
        if shape.page:
            return self.usual
        needed = list(shape.routes.values())
        for later in self._later(shape):
            needed += [carriage for method, carriage in later.routes.items() if method not in shape.routes]
        return reduce(ForwardLimits.widened, needed)

    def _rules(self, shape: Shape) -> Iterator[Rule]:
        """What `shape` keeps back, and before it what it lets pass although a later one keeps it back."""
        later = list(self._later(shape))
        kept_later = frozenset(method for other in later for method in other.services_only)
        met = [other for other in self.known if other.meets(shape)]
        if shape.page:
            if met and (shape.internal or kept_later):
                yield Rule(ANY_METHOD, shape, shape.internal)
            return
        if passed := frozenset(filter(shape.has, kept_later)):
            yield Rule(passed, shape, kept_back=False)
        kept = shape.services_only
        if any(WEBSOCKET in other.routes for other in met):
            kept -= {"GET"}  # a handshake is a GET: the gateway tells them apart
        if met and kept:
            yield Rule(kept, shape, kept_back=True)

    def _later(self, shape: Shape) -> Iterator[Shape]:
        """Those that a path of `shape` may lead to as well, and that count less."""
        return (other for other in self.shapes[self.shapes.index(shape) + 1 :] if other.meets(shape))
