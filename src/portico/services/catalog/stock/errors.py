from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import Conflict, NotFound, Schema, Unprocessable


class Shortage(Schema):
    """What is asked for of a product, and what there is of it."""

    product_id: ProductId
    requested: int
    available: int


class InsufficientStock(Conflict):
    code = "insufficient_stock"
    detail = "There is not enough in stock; `items` names each product that is short, and what is available of it."

    items: list[Shortage]


class TooMuchStock(Conflict):
    code = "too_much_stock"
    detail = "There would be more than {limit} of the product {product_id}, which is more than can be counted here."

    product_id: ProductId
    limit: int


class ReservationNotFound(NotFound):
    code = "reservation_not_found"
    detail = "There is no reservation {reservation_id}."

    reservation_id: ReservationId


class ReservationDiffers(Conflict):
    code = "reservation_differs"
    detail = "The reservation {reservation_id} is of other items. Reserve these under an id of their own."

    reservation_id: ReservationId


class ReservationReleased(Conflict):
    code = "reservation_released"
    detail = "The reservation {reservation_id} was released, and stays so. Reserve under a new id."

    reservation_id: ReservationId


class ReservationExpired(Conflict):
    code = "reservation_expired"
    detail = (
        "The reservation {reservation_id} expired, and not enough is left to renew it; `items` names what is short."
    )

    reservation_id: ReservationId
    items: list[Shortage]


class ReservationNotConfirmed(Conflict):
    code = "reservation_not_confirmed"
    detail = "The reservation {reservation_id} is not confirmed. Confirm it before it is shipped."

    reservation_id: ReservationId


class ReservationNotShipped(Conflict):
    code = "reservation_not_shipped"
    detail = "The reservation {reservation_id} was not shipped; there is nothing to return. Release it instead."

    reservation_id: ReservationId


class ReservationShipped(Conflict):
    code = "reservation_shipped"
    detail = "The reservation {reservation_id} was shipped. What comes back is returned, not released."

    reservation_id: ReservationId


class MomentNotPast(Unprocessable):
    code = "moment_not_past"
    detail = "`at` is a moment of the past; what will be in stock is not known. Leave it out for what there is now."
    location = ("query", "at")
