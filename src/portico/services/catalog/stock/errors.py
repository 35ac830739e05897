from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import Conflict, NotFound, Schema, Unprocessable


class Shortage(Schema):
    """A product with too little stock: the requested and the available quantity."""

    product_id: ProductId
    requested: int
    available: int


class InsufficientStock(Conflict):
    detail = "Insufficient stock. `items` lists each product with the requested and the available quantity."

    items: list[Shortage]


class TooMuchStock(Conflict):
    detail = "The stock of product {product_id} would exceed the limit of {limit}."

    product_id: ProductId
    limit: int


class ReservationNotFound(NotFound):
    detail = "Reservation {reservation_id} not found."

    reservation_id: ReservationId


class ReservationDiffers(Conflict):
    detail = "Reservation {reservation_id} holds other items. Use another id."

    reservation_id: ReservationId


class ReservationReleased(Conflict):
    detail = "Reservation {reservation_id} was released and cannot be used again. Use a new id."

    reservation_id: ReservationId


class ReservationExpired(Conflict):
    detail = "Reservation {reservation_id} expired, and the stock is insufficient to renew it. `items` lists what is missing."

    reservation_id: ReservationId
    items: list[Shortage]


class ReservationNotConfirmed(Conflict):
    detail = "Reservation {reservation_id} is not confirmed. Confirm it before shipping."

    reservation_id: ReservationId


class ReservationNotShipped(Conflict):
    detail = "Reservation {reservation_id} was not shipped and cannot be returned. Release it instead."

    reservation_id: ReservationId


class ReservationShipped(Conflict):
    detail = "Reservation {reservation_id} was shipped and cannot be released. Return it instead."

    reservation_id: ReservationId


class MomentNotPast(Unprocessable):
    detail = "`at` must be in the past. Omit it for the current stock."
    location = ("query", "at")
