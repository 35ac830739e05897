from portico.contracts.catalog import ProductId
from portico.kit import Conflict, NotFound, Unprocessable


class ProductNotFound(NotFound):
    code = "product_not_found"
    detail = "Product {product_id} not found."

    product_id: ProductId


class SkuTaken(Conflict):
    code = "sku_taken"
    detail = "Another product has the SKU '{sku}'. Use another SKU, or change that product."

    sku: str


class TooManyWords(Unprocessable):
    code = "too_many_words"
    detail = "A search may contain at most {limit} different words."
    location = ("query", "search")

    limit: int
