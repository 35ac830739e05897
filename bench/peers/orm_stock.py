"""Stock reservation with a row lock by the ORM: each caller locks the product's row, checks, writes and commits.

The tables are the minimum: product with stock, reservation, and ledger entry. Portico additionally writes an item of
the reservation, a stock level and an event. Run by `bench/stock.py`; the database's address is in `DATABASE_URL`.
"""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "orm_stock"

    id: Mapped[str] = mapped_column(primary_key=True)
    on_hand: Mapped[int]
    reserved: Mapped[int]


class Reservation(Base):
    __tablename__ = "orm_reservations"

    id: Mapped[str] = mapped_column(primary_key=True)
    product_id: Mapped[str] = mapped_column(index=True)
    quantity: Mapped[int]
    status: Mapped[str]
    expires_at: Mapped[datetime]


class Movement(Base):
    __tablename__ = "orm_movements"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[str] = mapped_column(index=True)
    quantity: Mapped[int]
    kind: Mapped[str]
    reference: Mapped[str]
    created_at: Mapped[datetime]


class Wanted(BaseModel):
    product_id: str
    quantity: int = Field(ge=1)


class ReservationRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    product_id: str
    quantity: int
    status: str
    expires_at: datetime


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _taken(product: Product | None, reservation_id: str, wanted: Wanted) -> tuple[Reservation, Movement]:
    if product is None or product.on_hand - product.reserved < wanted.quantity:
        raise HTTPException(409, "not enough in stock")
    product.reserved += wanted.quantity
    reservation = Reservation(
        id=reservation_id,
        product_id=wanted.product_id,
        quantity=wanted.quantity,
        status="reserved",
        expires_at=_now() + timedelta(minutes=15),
    )
    movement = Movement(
        product_id=wanted.product_id,
        quantity=wanted.quantity,
        kind="reservation",
        reference=reservation_id,
        created_at=_now(),
    )
    return reservation, movement


def reserve(session: Session, reservation_id: str, wanted: Wanted) -> Reservation:
    product = session.get(Product, wanted.product_id, with_for_update=True)
    reservation, movement = _taken(product, reservation_id, wanted)
    session.add_all([reservation, movement])
    session.commit()
    return reservation


async def reserve_async(session: AsyncSession, reservation_id: str, wanted: Wanted) -> Reservation:
    product = await session.get(Product, wanted.product_id, with_for_update=True)
    reservation, movement = _taken(product, reservation_id, wanted)
    session.add_all([reservation, movement])
    await session.commit()
    return reservation


def make_tables(url: str, product_id: str, quantity: int) -> None:
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(id=product_id, on_hand=quantity, reserved=0))
        session.commit()
    engine.dispose()


def application() -> FastAPI:
    sessions = sessionmaker(create_engine(os.environ["DATABASE_URL"], pool_size=20), expire_on_commit=False)

    def session() -> Iterator[Session]:
        with sessions() as opened:
            yield opened

    app = FastAPI()

    @app.put("/inventory/reservations/{reservation_id}", status_code=201)
    def put_reservation(
        reservation_id: str, wanted: Wanted, opened: Annotated[Session, Depends(session)]
    ) -> ReservationRead:
        return ReservationRead.model_validate(reserve(opened, reservation_id, wanted))

    @app.get("/health")
    async def health() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"status": "healthy"}

    return app
