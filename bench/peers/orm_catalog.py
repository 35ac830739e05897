"""The list of products by FastAPI and the ORM, with a synchronous SQLAlchemy session for each request.

Run by `bench/catalog.py`; the database's address is in `DATABASE_URL`.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, Numeric, Select, create_engine, func, or_, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"], pool_size=20)
sessions = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "orm_products"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    description: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2), index=True)
    currency: Mapped[str]
    category: Mapped[str] = mapped_column(index=True)
    sku: Mapped[str] = mapped_column(unique=True)
    stock_quantity: Mapped[int]
    attributes: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]


class ProductRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    description: str
    price: float
    currency: str
    category: str
    sku: str
    stock_quantity: int
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


def session() -> Iterator[Session]:
    with sessions() as opened:
        yield opened


Base.metadata.create_all(engine)
app = FastAPI()


@app.get("/products")
def products(
    response: Response,
    db: Annotated[Session, Depends(session)],
    category: str | None = None,
    search: str | None = None,
    min_price: Decimal | None = None,
    max_price: Decimal | None = None,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    counting: bool = True,  # noqa: FBT001, FBT002  a query parameter
) -> list[ProductRead]:
    wanted: Select[Any] = select(Product)
    if category is not None:
        wanted = wanted.where(Product.category == category)
    if search is not None:
        wanted = wanted.where(or_(Product.name.ilike(f"%{search}%"), Product.description.ilike(f"%{search}%")))
    if min_price is not None:
        wanted = wanted.where(Product.price >= min_price)
    if max_price is not None:
        wanted = wanted.where(Product.price <= max_price)
    if counting:
        total = db.scalar(select(func.count()).select_from(wanted.subquery()))
        response.headers["x-total-count"] = str(total)
    found = db.scalars(wanted.order_by(Product.created_at.desc()).offset(skip).limit(limit))
    return [ProductRead.model_validate(product) for product in found]
