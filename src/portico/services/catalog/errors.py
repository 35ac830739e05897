from portico.contracts.catalog import ProductId
from portico.kit import Conflict, NotFound, Unprocessable


class ProductNotFound(NotFound):
    detail = "Product {product_id} not found."

    product_id: ProductId


class SkuTaken(Conflict):
    detail = "Another product has the SKU '{sku}'. Use another SKU, or change that product."

    sku: str


class TooManyWords(Unprocessable):
    detail = "A search may contain at most {limit} different words."
    location = ("query", "search")

    limit: int
